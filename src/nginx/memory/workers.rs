//! The worker processes that share a zone, by their numbers.

use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::io;

use ngx::core::slab::LockedSlabPool;

use super::slab::{Growing, NoMemory};

const NONE: usize = usize::MAX;

/// The number that this process has in its zone.
static NUMBER: AtomicUsize = AtomicUsize::new(NONE);

/// A number that no value has, if this process has none.
pub fn number() -> usize {
    NUMBER.load(Ordering::Relaxed)
}

pub fn has_number() -> bool {
    number() != NONE
}

/// The processes that have a number. All is done under the lock of the zone.
#[derive(Default)]
pub struct Workers(Growing<AtomicI32, 16>);

impl Workers {
    pub fn size_of_missing(&self, n: usize) -> usize {
        self.0.size_of_missing(n)
    }

    /// Gives this process a number.
    pub fn enter(&self, pool: &LockedSlabPool) -> Result<(), NoMemory> {
        let is_free = |worker: &AtomicI32| worker.load(Ordering::Relaxed) == 0;
        let number = self.0.iter().position(is_free).unwrap_or_else(|| self.0.iter().count());

        self.0.get_or_add(pool, number)?.store(process_id(), Ordering::Relaxed);
        NUMBER.store(number, Ordering::Relaxed);

        Ok(())
    }

    /// Takes the number back from this process.
    pub fn leave(&self, forget: impl FnOnce(usize)) {
        let number = NUMBER.swap(NONE, Ordering::Relaxed);

        if let Some(worker) = self.0.get(number) {
            forget(number);
            worker.store(0, Ordering::Relaxed);
        }
    }

    /// Takes the numbers back from processes that were killed.
    pub fn forget_dead(&self, forget: impl Fn(usize)) {
        // one that has the process id of a killed one
        let before = (!has_number()).then(process_id);

        for (number, worker) in self.0.iter().enumerate() {
            let pid = worker.load(Ordering::Relaxed);

            if pid != 0 && (Some(pid) == before || !is_alive(pid)) {
                forget(number);
                worker.store(0, Ordering::Relaxed);
            }
        }
    }
}

fn process_id() -> i32 {
    // SAFETY: the call has no precondition.
    unsafe { libc::getpid() }
}

fn is_alive(pid: i32) -> bool {
    // SAFETY: signal 0 is not sent.
    let rc = unsafe { libc::kill(pid, 0) };

    rc == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}
