//! What a worker process has for itself.

use core::ops::Deref;

use nginx_sys::{ngx_cycle, ngx_event_flags, NGX_USE_LEVEL_EVENT};

/// A static variable of the process, of a type that is not for several threads.
pub struct Worker<T>(T);

// SAFETY: nginx runs all callbacks of a process in one thread; its thread pools are not for modules such as this.
unsafe impl<T> Sync for Worker<T> {}

impl<T> Worker<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Worker<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Whether the worker hears of an event once, as with epoll, and not for as long as there is something to read.
pub fn hears_once() -> bool {
    // SAFETY: nginx sets it when the process begins.
    let flags = unsafe { ngx_event_flags };

    flags & NGX_USE_LEVEL_EVENT as usize == 0
}

/// Whether the worker has connections for more than its requests: a quarter of them are free.
pub fn has_spare_connections() -> bool {
    // SAFETY: nginx sets the cycle before it handles events, and replaces it between two callbacks only.
    unsafe { ngx_cycle.as_ref() }
        .is_some_and(|cycle| cycle.free_connection_n.saturating_mul(4) >= cycle.connection_n)
}
