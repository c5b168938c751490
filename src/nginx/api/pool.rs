//! nginx's pools, and the values that the module has put into them.
//!
//! nginx keeps no place for a module in a connection, and only one, by configuration, in a request. So such a value is found
//! by its cleanup, in the pool that it lives and dies with: see `ngx_pool_cleanup_add()` and `ngx_destroy_pool()` in nginx's
//! src/core/ngx_palloc.c. The type of a pool tells what it belongs to, and a value is looked for in its own kind alone.

use core::ffi::c_void;
use core::iter;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use nginx_sys::{
    ngx_connection_t, ngx_http_request_t, ngx_pool_cleanup_add, ngx_pool_cleanup_t, ngx_pool_t,
};

/// A pool that is destroyed with a request; a subrequest has that of its main request.
pub enum OfRequest {}

/// A pool that is destroyed with a connection.
pub enum OfConnection {}

/// A pool of nginx's, and what it belongs to.
pub struct Pool<'a, Owner> {
    pool: NonNull<ngx_pool_t>,
    owner: PhantomData<(&'a ngx_pool_t, Owner)>,
}

/// A value that lives in pools of one kind.
///
/// # Safety
///
/// `CLEANUP` is the handler of values of this type in such pools, and of nothing else.
pub unsafe trait LivesIn<Owner>: Sized {
    /// What nginx calls with the value when it destroys the pool.
    const CLEANUP: unsafe extern "C" fn(*mut c_void);
}

impl<'a> Pool<'a, OfRequest> {
    pub fn of_request(r: &'a ngx_http_request_t) -> Option<Self> {
        // INVARIANT: a request's pool is destroyed last, when nothing refers to the request any more.
        NonNull::new(r.pool).map(Self::from_raw)
    }
}

impl<'a> Pool<'a, OfConnection> {
    pub fn of_connection(c: &'a ngx_connection_t) -> Option<Self> {
        // INVARIANT: nginx destroys the pool of an upstream connection just before it closes that.
        NonNull::new(c.pool).map(Self::from_raw)
    }
}

impl<'a, Owner> Pool<'a, Owner> {
    fn from_raw(pool: NonNull<ngx_pool_t>) -> Self {
        Self { pool, owner: PhantomData }
    }

    pub fn as_ptr(&self) -> *mut ngx_pool_t {
        self.pool.as_ptr()
    }

    /// Puts a value into the pool; none when there is no memory for it.
    pub fn put<T: LivesIn<Owner>>(&self, value: T) -> Option<&'a T> {
        // SAFETY: the pool is valid for 'a.
        let cleanup = unsafe { ngx_pool_cleanup_add(self.as_ptr(), size_of::<T>()) };
        // SAFETY: nginx returns null, or a cleanup in the pool.
        let cleanup = unsafe { cleanup.as_mut() }?;
        let memory = cleanup.data.cast::<T>();

        // SAFETY: there is as much memory as was asked for, aligned as every allocation in a pool.
        unsafe { memory.write(value) };

        // INVARIANT: whatever has this handler is a T, in a pool of this kind.
        cleanup.handler = Some(T::CLEANUP);

        // SAFETY: as above; it stays where it is until the pool is destroyed.
        unsafe { memory.as_ref() }
    }

    /// Takes over a cleanup whose memory is elsewhere.
    ///
    /// # Safety
    ///
    /// The data of the cleanup is a T. Both stay until nginx calls the handler, which is when the pool is destroyed.
    pub unsafe fn adopt<T: LivesIn<Owner>>(&self, cleanup: NonNull<ngx_pool_cleanup_t>) {
        // SAFETY: the caller's promise, and the pool is valid.
        unsafe {
            // INVARIANT: whatever has this handler is a T, in a pool of this kind.
            (*cleanup.as_ptr()).handler = Some(T::CLEANUP);
            (*cleanup.as_ptr()).next = (*self.as_ptr()).cleanup;
            (*self.as_ptr()).cleanup = cleanup.as_ptr();
        }
    }

    /// The values of a type in the pool, the last one first.
    pub fn values<T: LivesIn<Owner> + 'a>(&self) -> impl Iterator<Item = &'a T> {
        // SAFETY: the pool is valid for 'a; the list of cleanups ends with null.
        let first = unsafe { self.pool.as_ref().cleanup.as_ref() };
        // SAFETY: as above.
        let cleanups = iter::successors(first, |cleanup: &&ngx_pool_cleanup_t| unsafe {
            cleanup.next.as_ref()
        });

        cleanups
            .filter(|cleanup| {
                cleanup.handler.is_some_and(|handler| ptr::fn_addr_eq(handler, T::CLEANUP))
            })
            // SAFETY: the invariant of `put` and `adopt`.
            .filter_map(|cleanup| unsafe { cleanup.data.cast::<T>().as_ref() })
    }
}

/// A value in a pool, by the pointer to it that nginx was given.
///
/// # Safety
///
/// The pointer was made from a reference to a T in a pool of this kind, which lives for 'a.
pub unsafe fn value_at<'a, Owner, T: LivesIn<Owner>>(data: *const c_void) -> &'a T {
    // SAFETY: the caller's promise.
    unsafe { &*data.cast::<T>() }
}
