//! An upstream connection, and how it is closed. What the kernel tells of it stands in [`seen`].

use core::ffi::c_void;
use core::ptr::NonNull;

use nginx_sys::{ngx_close_connection, ngx_connection_t, ngx_destroy_pool, ngx_event_t, ngx_log_t};

use crate::nginx::api::pool::{OfConnection, Pool};

pub mod seen;
mod socket;
pub mod tls;
mod watch;

/// An open connection of nginx's.
#[derive(Clone, Copy)]
pub struct Connection(NonNull<ngx_connection_t>);

impl Connection {
    /// The connection behind a pointer; none for null, or when it has no pool yet.
    ///
    /// # Safety
    ///
    /// `c` is null or points to an open connection, which the value must not outlive.
    pub unsafe fn from_raw(c: *mut ngx_connection_t) -> Option<Self> {
        // SAFETY: the caller's promise.
        let pool = unsafe { c.as_ref() }?.pool;

        if pool.is_null() {
            return None;
        }

        NonNull::new(c).map(Self)
    }

    pub fn as_ptr(self) -> *mut ngx_connection_t {
        self.0.as_ptr()
    }

    pub fn pool(&self) -> Option<Pool<'_, OfConnection>> {
        Pool::of_connection(self.get())
    }

    pub fn log(self) -> *mut ngx_log_t {
        self.get().log
    }

    /// Whether the connection is in the cache.
    pub fn is_idle(self) -> bool {
        self.get().idle() != 0
    }

    /// Whether nginx's timer has gone off while it was there.
    pub fn has_timed_out(self) -> bool {
        self.event(self.get().read).timedout() != 0
    }

    /// Whether nginx wants it to be closed, since the worker ends.
    pub fn is_told_to_close(self) -> bool {
        self.get().close() != 0
    }

    /// Whether the connection is a TLS one, or is becoming one.
    pub fn is_tls(self) -> bool {
        #[cfg(ngx_feature = "http_ssl")]
        return !self.get().ssl.is_null();

        #[cfg(not(ngx_feature = "http_ssl"))]
        return false;
    }

    /// OpenSSL's object of a TLS connection.
    pub fn ssl(self) -> Option<*const c_void> {
        #[cfg(ngx_feature = "http_ssl")]
        // SAFETY: nginx sets `ssl` for a TLS connection, to what lives in the connection's pool.
        return unsafe { self.get().ssl.as_ref() }.map(|ssl| ssl.connection.cast_const().cast());

        #[cfg(not(ngx_feature = "http_ssl"))]
        return None;
    }

    /// Makes nginx's keepalive module refuse the connection, whatever it sees of it.
    pub fn refuse(self) {
        // SAFETY: nginx gives every connection its events; this one is not run meanwhile.
        unsafe { &mut *self.get().read }.set_error(1);
    }

    /// Takes back that nginx has read the end of the stream: it is to be told later.
    pub fn hold_back_end(self) {
        // SAFETY: nginx gives every connection its events; this one is not run meanwhile.
        let read = unsafe { &mut *self.get().read };

        read.set_eof(0);
        read.set_ready(0);
    }

    /// Has nginx read from the connection.
    pub fn wake(self) {
        let read = self.get().read;

        // SAFETY: nginx gives every connection its events.
        unsafe { (*read).set_ready(1) };

        // SAFETY: as above.
        if let Some(handler) = unsafe { (*read).handler } {
            // SAFETY: the handler is called as nginx would; it may close the connection.
            unsafe { handler(read) };
        }
    }

    /// Lets nginx's handler believe that the timer of the connection has gone off.
    pub fn time_out(self) {
        let read = self.get().read;

        // SAFETY: nginx gives every connection its events.
        let event = unsafe { &mut *read };

        event.set_timedout(1);

        if let Some(handler) = event.handler {
            // SAFETY: the handler is called as nginx would; it may close the connection.
            unsafe { handler(read) };
        }
    }

    /// Closes a connection that was taken out of the cache.
    pub fn close(self) {
        self.close_tls();

        // SAFETY: the connection is open, and known to the caller alone: it has left the cache.
        unsafe { ngx_destroy_pool(self.get().pool) };
        // SAFETY: as above; nginx destroys the pool first, too.
        unsafe { ngx_close_connection(self.0.as_ptr()) };
    }

    /// Ends TLS without a word to the peer, as the keepalive module does.
    #[cfg(ngx_feature = "http_ssl")]
    fn close_tls(self) {
        // SAFETY: nginx sets `ssl` for a TLS connection, to what lives in the connection's pool.
        if let Some(ssl) = unsafe { self.get().ssl.as_mut() } {
            ssl.set_no_wait_shutdown(1);
            ssl.set_no_send_shutdown(1);

            // SAFETY: this is an open TLS connection; with these flags nothing is sent, and nothing left to do later.
            unsafe { nginx_sys::ngx_ssl_shutdown(self.0.as_ptr()) };
        }
    }

    #[cfg(not(ngx_feature = "http_ssl"))]
    fn close_tls(self) {}

    pub(super) fn get(&self) -> &ngx_connection_t {
        // SAFETY: the promise of `from_raw`; nginx is not called while the reference lives.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn event(&self, event: *mut ngx_event_t) -> &ngx_event_t {
        // SAFETY: nginx gives every connection its events, for as long as it is open.
        unsafe { &*event }
    }
}
