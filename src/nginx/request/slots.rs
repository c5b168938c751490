//! Memory for what is kept with each request: it is taken from a list of free slots, and goes back there when the
//! request is over. So a worker seldom allocates any, and the request's pool does not grow.

use core::cell::Cell;
use core::mem::{self, MaybeUninit};
use core::ptr::{self, NonNull};

use nginx_sys::{ngx_calloc, ngx_pool_cleanup_t};

use crate::nginx::api::pool::{LivesIn, OfRequest, Pool};

/// How many free slots a worker keeps; what a burst of more requests has needed is freed after it.
const MAX_FREE: usize = 256;

/// The free slots of a worker.
pub struct Slots<T> {
    free: Cell<*mut Slot<T>>,
    n: Cell<usize>,
}

/// A value that is cleaned up with a pool.
#[repr(C)]
struct Slot<T> {
    value: MaybeUninit<T>,
    cleanup: ngx_pool_cleanup_t,
    next: *mut Slot<T>,
}

impl<T: LivesIn<OfRequest>> Slots<T> {
    pub const fn new() -> Self {
        Self { free: Cell::new(ptr::null_mut()), n: Cell::new(0) }
    }

    /// Puts the value into a slot, for as long as the pool is there.
    pub fn put(&self, pool: &Pool<'_, OfRequest>, value: impl FnOnce() -> T) -> Option<NonNull<T>> {
        let slot = self.take(pool)?;

        // SAFETY: the slot is in nobody else's use.
        unsafe {
            (*slot.as_ptr()).value.write(value());
            (*slot.as_ptr()).cleanup.data = slot.as_ptr().cast();
        }

        // SAFETY: the value is what a slot begins with. `give_back`, which the handler calls, is what ends its use.
        unsafe {
            pool.adopt::<T>(NonNull::new_unchecked(ptr::addr_of_mut!((*slot.as_ptr()).cleanup)))
        };

        // the value is what a slot begins with
        Some(slot.cast())
    }

    fn take(&self, pool: &Pool<'_, OfRequest>) -> Option<NonNull<Slot<T>>> {
        // SAFETY: a pool has a log.
        let new = || unsafe { ngx_calloc(mem::size_of::<Slot<T>>(), (*pool.as_ptr()).log) };

        self.pop().or_else(|| NonNull::new(new().cast()))
    }

    /// Takes the slot of a value back.
    ///
    /// # Safety
    ///
    /// `value` came from `put`, and the handler that was given there is the caller. The value is not used again.
    pub unsafe fn give_back(&self, value: NonNull<T>) {
        let slot = value.cast::<Slot<T>>();

        // nginx goes through the cleanups of a pool once, and has yet to read what comes after this one: so it is one of
        // the slots before that goes
        if self.n.get() == MAX_FREE {
            self.drop_one();
        }

        // SAFETY: the caller's promise.
        unsafe { (*slot.as_ptr()).next = self.free.replace(slot.as_ptr()) };
        self.n.set(self.n.get().wrapping_add(1));
    }

    /// Frees the slots that are free: the worker ends.
    pub fn clear(&self) {
        while self.n.get() > 0 {
            self.drop_one();
        }
    }

    fn drop_one(&self) {
        if let Some(slot) = self.pop() {
            // SAFETY: `take` allocated it, and nothing refers to it.
            unsafe { libc::free(slot.as_ptr().cast()) };
        }
    }

    fn pop(&self) -> Option<NonNull<Slot<T>>> {
        let slot = NonNull::new(self.free.get())?;

        // SAFETY: it is a free slot.
        self.free.set(unsafe { slot.as_ref() }.next);
        self.n.set(self.n.get().wrapping_sub(1));

        Some(slot)
    }
}
