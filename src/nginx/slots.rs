//! Memory for what is kept with each request: it is taken from a list of free slots, and goes back there when the
//! request is over. A worker that has seen its busiest moment allocates no more, and the request's pool does not grow.

use core::cell::Cell;
use core::ffi::c_void;
use core::mem::{self, MaybeUninit};
use core::ptr::{self, NonNull};

use nginx_sys::{ngx_calloc, ngx_pool_cleanup_t, ngx_pool_t};

/// The free slots of a worker.
pub struct Slots<T> {
    free: Cell<*mut Slot<T>>,
}

/// A value that is cleaned up with a pool.
#[repr(C)]
struct Slot<T> {
    value: MaybeUninit<T>,
    cleanup: ngx_pool_cleanup_t,
    next: *mut Slot<T>,
}

// SAFETY: a worker has one thread that handles requests.
unsafe impl<T> Sync for Slots<T> {}

impl<T> Slots<T> {
    pub const fn new() -> Self {
        Self { free: Cell::new(ptr::null_mut()) }
    }

    /// Puts the value into a slot. nginx calls the handler with it when it destroys the pool.
    pub fn put(
        &self,
        pool: &mut ngx_pool_t,
        value: T,
        handler: unsafe extern "C" fn(*mut c_void),
    ) -> Option<NonNull<T>> {
        // SAFETY: null, or a slot that is not in use.
        let slot = unsafe { self.take(pool).as_mut() }?;
        let value = NonNull::from(slot.value.write(value));

        slot.cleanup = ngx_pool_cleanup_t {
            handler: Some(handler),
            data: value.as_ptr().cast(),
            next: pool.cleanup,
        };

        pool.cleanup = &mut slot.cleanup;

        Some(value)
    }

    fn take(&self, pool: &ngx_pool_t) -> *mut Slot<T> {
        let slot = self.free.get();

        // SAFETY: null, or a free slot.
        match unsafe { slot.as_ref() } {
            Some(free) => {
                self.free.set(free.next);
                slot
            }
            // SAFETY: a pool has a log.
            None => unsafe { ngx_calloc(mem::size_of::<Slot<T>>(), pool.log) }.cast(),
        }
    }

    /// Takes the slot of a value back.
    ///
    /// # Safety
    ///
    /// `value` came from `put`, and the handler that was given there is the caller. The value is not used again.
    pub unsafe fn give_back(&self, value: *mut T) {
        // the value is what a slot begins with
        let slot = value.cast::<Slot<T>>();

        // SAFETY: the caller's promise. nginx has yet to read what comes after this cleanup, and so the slot has a link
        // of its own.
        unsafe { (*slot).next = self.free.get() };
        self.free.set(slot);
    }

    /// Frees the slots that are free: the worker ends.
    pub fn clear(&self) {
        let mut slot = self.free.replace(ptr::null_mut());

        // SAFETY: null, or a free slot.
        while let Some(free) = unsafe { slot.as_ref() } {
            let next = free.next;

            // SAFETY: `take` allocated it, and nothing refers to it.
            unsafe { libc::free(slot.cast()) };
            slot = next;
        }
    }
}
