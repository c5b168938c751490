//! What a worker process has for itself.

use core::ops::Deref;

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
