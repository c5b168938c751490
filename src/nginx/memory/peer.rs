//! A peer in shared memory.
//!
//! A peer that no configuration names any more gives its place to another one when there is no other room: its figures
//! are added to those of the others, under the zone's lock. So whoever counts has it pinned, by a gauge of the worker.

use core::fmt;
use core::ops::Deref;
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use ngx::core::slab::LockedSlabPool;

use super::slab::{self, Growing, NoMemory, Shared};
use super::workers;
use crate::figures::counters::{Counters, Snapshot};
use crate::rules::learned::Learned;
use crate::rules::outcome::Close;

/// The name of what is counted once the table of peers is full.
pub const OTHER: &[u8] = b"other";

/// A peer. Its memory stays that of a peer for ever.
pub struct Peer {
    pub upstream: &'static [u8],
    name: Name,
    pub counters: Counters,
    /// What is seen of its idle timeout.
    pub learned: Learned,
    /// The last configuration of the upstream that named it.
    named: AtomicU32,
    gauges: Growing<Gauges, 16>,
}

/// What a worker has to do with a peer. No other process writes to it while the worker is alive, or it has the lock.
#[derive(Default)]
struct Gauges {
    /// Idle connections; not more than there are pins.
    idle: AtomicU32,
    pins: AtomicU32,
}

// SAFETY: it is made of atomics.
unsafe impl Shared for Gauges {}

/// A peer that stays what it is for as long as there is this.
pub struct Pinned {
    peer: &'static Peer,
    /// None where there was no memory for it: then idle connections are not counted.
    gauges: Option<&'static Gauges>,
}

/// A name that changes under the lock, when nobody has the peer pinned.
struct Name {
    bytes: AtomicPtr<u8>,
    len: AtomicUsize,
}

impl Name {
    fn new(name: &'static [u8]) -> Self {
        Self { bytes: AtomicPtr::new(name.as_ptr().cast_mut()), len: AtomicUsize::new(name.len()) }
    }

    fn get(&self) -> &[u8] {
        let bytes = self.bytes.load(Ordering::Relaxed);

        // SAFETY: these are bytes in the zone, which are freed only when nobody has the peer pinned, nor the lock.
        unsafe { slice::from_raw_parts(bytes, self.len.load(Ordering::Relaxed)) }
    }

    fn set(&self, name: &'static [u8]) {
        self.bytes.store(name.as_ptr().cast_mut(), Ordering::Relaxed);
        self.len.store(name.len(), Ordering::Relaxed);
    }
}

// SAFETY: it refers to names in the zone, and is made of atomics.
unsafe impl Shared for Peer {}

impl Peer {
    pub fn new(
        pool: &LockedSlabPool,
        upstream: &'static [u8],
        name: &[u8],
    ) -> Result<&'static Self, NoMemory> {
        let name = slab::alloc_bytes(pool, name)?;

        let peer = Self {
            upstream,
            name: Name::new(name),
            counters: Counters::default(),
            learned: Learned::default(),
            named: AtomicU32::new(0),
            gauges: Growing::default(),
        };

        // SAFETY: the name has just been allocated.
        slab::alloc(pool, peer).inspect_err(|_| unsafe { slab::free(pool, name) })
    }

    /// The memory that a peer takes for so many workers.
    pub fn size_of(workers: usize) -> usize {
        // a name, whose length is not known yet, is that of a unix socket at the most
        slab::size_of::<Self>(1)
            .saturating_add(slab::size_of::<u8>(128))
            .saturating_add(Growing::<Gauges, 16>::default().size_of_missing(workers))
    }

    pub fn size_of_missing(&self, workers: usize) -> usize {
        self.gauges.size_of_missing(workers)
    }

    /// The caller has the peer pinned, or the zone's lock.
    pub fn name(&self) -> &[u8] {
        self.name.get()
    }

    /// The last configuration of the upstream that named it.
    pub(super) fn named(&self) -> u32 {
        self.named.load(Ordering::Relaxed)
    }

    pub fn set_named(&self, generation: u32) {
        self.named.store(generation, Ordering::Relaxed);
    }

    /// None when this worker has no gauges here yet.
    pub fn pin(&'static self) -> Option<Pinned> {
        let gauges = self.gauges.get(workers::number())?;
        let pins = gauges.pins.load(Ordering::Relaxed).wrapping_add(1);

        // before the caller looks whether the peer is still in its place, as `take` looks for pins after it is not
        gauges.pins.store(pins, Ordering::SeqCst);

        Some(Pinned { peer: self, gauges: Some(gauges) })
    }

    pub fn pin_locked(&'static self, pool: &LockedSlabPool) -> Result<Pinned, NoMemory> {
        self.gauges.get_or_add(pool, workers::number())?;
        self.pin().ok_or(NoMemory)
    }

    /// The peer, where nothing is kept of who has it: for one that is never given up.
    pub fn unpinned(&'static self) -> Pinned {
        Pinned { peer: self, gauges: None }
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.gauges.iter().any(|gauges| gauges.pins.load(Ordering::SeqCst) != 0)
    }

    pub fn snapshot(&self) -> Snapshot {
        let idle = |gauges: &Gauges| u64::from(gauges.idle.load(Ordering::Acquire));

        self.counters.snapshot(self.gauges.iter().map(idle).sum())
    }

    /// What a worker that is no more has left.
    pub fn forget(&self, worker: usize) {
        let Some(gauges) = self.gauges.get(worker) else {
            return;
        };

        let idle = gauges.idle.swap(0, Ordering::AcqRel);

        if idle > 0 {
            self.counters.close_many(Close::Shutdown, idle.into());
        }

        gauges.pins.store(0, Ordering::Release);
    }

    /// Whether it is one peer, of which something can be learned, and not what is left of many.
    pub fn is_one(&self) -> bool {
        self.name() != OTHER
    }

    /// Adds what was counted of a peer in a zone whose workers are about to end.
    pub fn absorb(&self, before: &Snapshot) {
        self.counters.absorb(before);
        self.counters.close_many(Close::Shutdown, before.connections);
    }

    /// Begins anew with another name. The caller has the lock, and nobody else has the peer.
    pub(super) fn become_another(&self, pool: &LockedSlabPool, name: &'static [u8], others: &Self) {
        let old: *const [u8] = self.name();

        others.absorb(&self.snapshot());

        // SAFETY: these are atomics in shared memory, which nobody else uses at this time.
        unsafe { ptr::from_ref(&self.counters).cast_mut().write(Counters::default()) };

        self.learned.absorb(&Learned::default());

        self.name.set(name);

        // SAFETY: the name was allocated with the peer, or put in the place of that one here.
        unsafe { slab::free(pool, old) };
    }
}

impl Pinned {
    /// A connection has come to the cache of this process.
    pub fn enter_cache(&self) {
        self.count_idle(|idle| idle.wrapping_add(1));
    }

    /// A connection has left the cache of this process.
    pub fn leave_cache(&self) {
        self.count_idle(|idle| idle.wrapping_sub(1));
    }

    fn count_idle(&self, change: impl FnOnce(u32) -> u32) {
        if let Some(gauges) = self.gauges {
            gauges.idle.store(change(gauges.idle.load(Ordering::Relaxed)), Ordering::Release);
        }
    }
}

impl Deref for Pinned {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        self.peer
    }
}

impl Clone for Pinned {
    fn clone(&self) -> Self {
        self.peer.pin().unwrap_or_else(|| self.peer.unpinned())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(gauges) = self.gauges {
            let pins = gauges.pins.load(Ordering::Relaxed).wrapping_sub(1);

            // after all that was counted
            gauges.pins.store(pins, Ordering::Release);
        }
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, upstream) = (self.name().escape_ascii(), self.upstream.escape_ascii());

        write!(f, "{address} of upstream \"{upstream}\"")
    }
}
