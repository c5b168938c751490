//! An upstream connection, and what the module remembers about it while it is idle.

use core::cell::Cell;
use core::ffi::c_void;
use core::mem;
use core::ptr::{self, NonNull};

use nginx_sys::{
    ngx_add_timer, ngx_close_connection, ngx_connection_t, ngx_del_timer, ngx_destroy_pool,
    ngx_msec_t, ngx_pool_cleanup_add,
};

use super::clock;
use crate::policy::{Idle, Msec};

/// An open connection of nginx's.
#[derive(Clone, Copy)]
pub struct Connection(NonNull<ngx_connection_t>);

/// What is remembered about a connection between two requests; lives in the connection's pool.
struct Record {
    idle: Cell<Idle>,
    /// While `outlives` runs: where to note that the connection was closed.
    closed: Cell<*const Cell<bool>>,
}

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

    /// Whether the connection is in the cache.
    pub fn is_idle(self) -> bool {
        self.get().idle() != 0
    }

    /// How long ago the last byte arrived at the most, where the kernel tells: it does for TCP.
    pub fn last_data(self) -> Option<Msec> {
        // SAFETY: the structure is made of integers, for which zero is a value.
        let mut info: libc::tcp_info = unsafe { mem::zeroed() };
        let mut len = mem::size_of_val(&info) as libc::socklen_t;

        let fd = self.get().fd;
        let value = ptr::addr_of_mut!(info).cast();

        // SAFETY: the kernel writes no more than `len` bytes to `info`.
        let rc =
            unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, value, &mut len) };

        // a difference of ticks may be short by one
        (rc == 0).then(|| Msec::from(info.tcpi_last_data_recv).saturating_add(clock::tick()))
    }

    /// What is remembered about the connection.
    pub fn idle(self) -> Option<Idle> {
        // SAFETY: the record is valid as long as the connection's pool.
        self.record().map(|record| unsafe { record.as_ref() }.idle.get())
    }

    /// Remembers that the connection is idle; false when there is no memory for it.
    pub fn remember(self, idle: Idle) -> bool {
        match self.record() {
            Some(record) => {
                // SAFETY: the record is valid as long as the connection's pool.
                unsafe { record.as_ref() }.idle.set(idle);
                true
            }
            None => self.attach(Record { idle: Cell::new(idle), closed: Cell::new(ptr::null()) }),
        }
    }

    /// Runs `call`, and tells whether the connection is still open after it. It must be remembered.
    pub fn outlives(self, call: impl FnOnce()) -> bool {
        let closed = Cell::new(false);

        if let Some(record) = self.record() {
            // SAFETY: the record is valid as long as the connection's pool.
            unsafe { record.as_ref() }.closed.set(&closed);
        }

        call();

        if closed.get() {
            return false;
        }

        if let Some(record) = self.record() {
            // SAFETY: the connection was not closed, and its pool neither destroyed.
            unsafe { record.as_ref() }.closed.set(ptr::null());
        }

        true
    }

    /// Makes the keepalive module close the idle connection in `msec`, unless it does so earlier anyway.
    pub fn close_within(self, msec: Msec) {
        // SAFETY: nginx gives every connection its events; this one is not run meanwhile.
        let event = unsafe { &mut *self.get().read };

        // a timer counts from nginx's time, which is behind in a long batch of events
        let delay = msec.saturating_add(clock::lag(clock::now()));

        if event.timer_set() != 0 {
            let left = (event.timer.key as Msec).saturating_sub(clock::nginx());

            if left <= delay {
                return;
            }

            // nginx keeps a timer that is less than 300 ms off: it has to go first
            // SAFETY: the event's timer is set.
            unsafe { ngx_del_timer(event) };
        }

        // SAFETY: the keepalive module has set the event's handler.
        unsafe { ngx_add_timer(event, delay as ngx_msec_t) };
    }

    /// Closes the connection without a word to the peer, as the keepalive module does.
    pub fn close(self) {
        self.close_tls();

        // SAFETY: the connection is open, and known to the caller alone: it has left the cache.
        unsafe { ngx_destroy_pool(self.get().pool) };
        // SAFETY: as above; nginx destroys the pool first, too.
        unsafe { ngx_close_connection(self.0.as_ptr()) };
    }

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

    fn get(&self) -> &ngx_connection_t {
        // SAFETY: the promise of `from_raw`; nginx is not called while the reference lives.
        unsafe { self.0.as_ref() }
    }

    /// The record that `attach` left, known by the address of its cleanup handler.
    fn record(self) -> Option<NonNull<Record>> {
        // SAFETY: `from_raw` saw a pool, which lives as long as the connection.
        let mut next = unsafe { (*self.get().pool).cleanup };

        // SAFETY: the pool's list of cleanups is valid, and ends with null.
        while let Some(cleanup) = unsafe { next.as_ref() } {
            if cleanup.handler.is_some_and(|handler| ptr::fn_addr_eq(handler, CLEANUP)) {
                return NonNull::new(cleanup.data.cast());
            }

            next = cleanup.next;
        }

        None
    }

    fn attach(self, record: Record) -> bool {
        // SAFETY: the connection's pool is valid.
        let cleanup = unsafe { ngx_pool_cleanup_add(self.get().pool, mem::size_of::<Record>()) };

        // SAFETY: nginx returns null, or a cleanup in the pool.
        let Some(cleanup) = (unsafe { cleanup.as_mut() }) else {
            return false;
        };

        // SAFETY: `data` is as much memory as was asked for, aligned as every allocation in a pool.
        unsafe { cleanup.data.cast::<Record>().write(record) };
        cleanup.handler = Some(CLEANUP);

        true
    }
}

const CLEANUP: unsafe extern "C" fn(*mut c_void) = connection_closed;

/// nginx destroys the pool of a connection that it closes.
unsafe extern "C" fn connection_closed(data: *mut c_void) {
    // SAFETY: nginx passes the data of the cleanup, which is the record that `attach` wrote.
    let record = unsafe { &*data.cast::<Record>() };

    // SAFETY: the pointer is null, or to a variable of `outlives`, which is running.
    if let Some(closed) = unsafe { record.closed.get().as_ref() } {
        closed.set(true);
    }
}
