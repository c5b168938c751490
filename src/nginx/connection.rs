//! An upstream connection, and what the module remembers about it from one request to the next.

use core::cell::Cell;
use core::ffi::{c_int, c_void};
use core::mem;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};
use std::io;

use nginx_sys::{
    ngx_close_connection, ngx_connection_t, ngx_del_timer, ngx_destroy_pool, ngx_event_t,
    ngx_pool_cleanup_add, NGX_LOG_INFO,
};

use super::shared::Peer;
use super::{clock, log};
use crate::outcome::{Close, Seen};
use crate::policy::{Idle, Msec};

/// The connection that nginx may be moving to the cache; another one that is closed meanwhile had to make room.
static RELEASED: AtomicPtr<ngx_connection_t> = AtomicPtr::new(ptr::null_mut());

/// An open connection of nginx's.
#[derive(Clone, Copy)]
pub struct Connection(NonNull<ngx_connection_t>);

/// What is remembered about a connection; lives in the connection's pool.
pub struct Record {
    connection: Connection,
    peer: &'static Peer,
    idle: Cell<Idle>,
    /// Whether the connection is counted as idle.
    cached: Cell<bool>,
    /// Why the timer will close it.
    timer: Cell<Close>,
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

    /// Whether the connection is a TLS one, or is becoming one.
    pub fn is_tls(self) -> bool {
        #[cfg(ngx_feature = "http_ssl")]
        return !self.get().ssl.is_null();

        #[cfg(not(ngx_feature = "http_ssl"))]
        return false;
    }

    /// How long ago the last byte arrived at the most, where the kernel tells: it does for TCP.
    pub fn last_data(self) -> Option<Msec> {
        let info = self.tcp_info()?;

        // a difference of ticks may be short by one
        Some(Msec::from(info.tcpi_last_data_recv).saturating_add(clock::tick()))
    }

    /// Whether a connection that should be quiet is not: the peer has closed it, or sent what nobody had asked for.
    pub fn is_dead(self) -> bool {
        let mut byte = 0_u8;
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;

        // SAFETY: the kernel writes no more than a byte.
        let n = unsafe { libc::recv(self.get().fd, ptr::addr_of_mut!(byte).cast(), 1, flags) };

        n != -1 || io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock
    }

    /// Makes nginx's keepalive module refuse the connection, whatever it sees of it.
    pub fn refuse(self) {
        // SAFETY: nginx gives every connection its events; this one is not run meanwhile.
        unsafe { &mut *self.get().read }.set_error(1);
    }

    /// What is left to see of a connection that failed.
    pub fn seen(self) -> Seen {
        const TCP_CLOSE: u8 = 7;

        let (read, write) = (self.event(self.get().read), self.event(self.get().write));
        let error: Option<c_int> = self.socket_option(libc::SOL_SOCKET, libc::SO_ERROR);

        Seen {
            timed_out: read.timedout() != 0 || write.timedout() != 0,
            eof: read.eof() != 0,
            read_error: read.error() != 0,
            write_error: write.error() != 0,
            tls: self.is_tls(),
            closed: self.tcp_info().map(|info| info.tcpi_state == TCP_CLOSE),
            broken_pipe: error == Some(libc::EPIPE),
        }
    }

    /// What is remembered about the connection, known by the address of the cleanup handler.
    pub fn record(&self) -> Option<&Record> {
        // SAFETY: `from_raw` saw a pool, which lives as long as the connection.
        let mut next = unsafe { (*self.get().pool).cleanup };

        // SAFETY: the pool's list of cleanups is valid, and ends with null.
        while let Some(cleanup) = unsafe { next.as_ref() } {
            if cleanup.handler.is_some_and(|handler| ptr::fn_addr_eq(handler, CLEANUP)) {
                // SAFETY: `attach` wrote a record there, which lives as long as the pool.
                return unsafe { cleanup.data.cast::<Record>().as_ref() };
            }

            next = cleanup.next;
        }

        None
    }

    /// Remembers a connection to the peer; none when there is no memory for it.
    pub fn attach(&self, peer: &'static Peer, idle: Idle) -> Option<&Record> {
        // SAFETY: the connection's pool is valid.
        let cleanup = unsafe { ngx_pool_cleanup_add(self.get().pool, mem::size_of::<Record>()) };
        // SAFETY: nginx returns null, or a cleanup in the pool.
        let cleanup = unsafe { cleanup.as_mut() }?;
        let memory = cleanup.data.cast::<Record>();

        let record = Record {
            connection: *self,
            peer,
            idle: Cell::new(idle),
            cached: Cell::new(false),
            timer: Cell::new(Close::Keepalive),
            closed: Cell::new(ptr::null()),
        };

        // SAFETY: there is as much memory as was asked for, aligned as every allocation in a pool.
        unsafe { memory.write(record) };
        cleanup.handler = Some(CLEANUP);

        // SAFETY: as above; it lives as long as the pool.
        unsafe { memory.as_ref() }
    }

    /// Takes the timer off that the request has left. nginx would keep it if it were less than 300 ms from the one that
    /// the keepalive module is about to set.
    pub fn delete_timer(self) {
        // SAFETY: nginx gives every connection its events; this one is not run meanwhile.
        let event = unsafe { &mut *self.get().read };

        if event.timer_set() != 0 {
            // SAFETY: the event's timer is set.
            unsafe { ngx_del_timer(event) };
        }
    }

    /// Closes a connection that was taken out of the cache, and says why.
    pub fn close(self, reason: Close) {
        if let Some(record) = self.record() {
            record.leave_cache();
            record.count_close(reason);
        }

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

    fn get(&self) -> &ngx_connection_t {
        // SAFETY: the promise of `from_raw`; nginx is not called while the reference lives.
        unsafe { self.0.as_ref() }
    }

    fn event(&self, event: *mut ngx_event_t) -> &ngx_event_t {
        // SAFETY: nginx gives every connection its events, for as long as it is open.
        unsafe { &*event }
    }

    fn tcp_info(self) -> Option<libc::tcp_info> {
        self.socket_option(libc::IPPROTO_TCP, libc::TCP_INFO)
    }

    /// A socket option of type T, which is made of integers.
    fn socket_option<T>(self, level: c_int, name: c_int) -> Option<T> {
        // SAFETY: zero is a value of every integer.
        let mut value: T = unsafe { mem::zeroed() };
        let mut len = mem::size_of::<T>() as libc::socklen_t;

        let fd = self.get().fd;
        let p = ptr::addr_of_mut!(value).cast();

        // SAFETY: the kernel writes no more than `len` bytes to the value.
        let rc = unsafe { libc::getsockopt(fd, level, name, p, &mut len) };

        (rc == 0).then_some(value)
    }
}

impl Record {
    pub fn connection(&self) -> Connection {
        self.connection
    }

    /// The peer that the connection leads to.
    pub fn peer(&self) -> &'static Peer {
        self.peer
    }

    pub fn idle(&self) -> Idle {
        self.idle.get()
    }

    pub fn set_idle(&self, idle: Idle) {
        self.idle.set(idle);
    }

    /// Runs `call`, which hands the connection back to nginx, and tells whether it is still open after that. If it is
    /// not, there is no record any more.
    pub fn outlives(&self, call: impl FnOnce()) -> bool {
        let this = ptr::from_ref(self);
        let closed = Cell::new(false);

        self.closed.set(&closed);

        RELEASED.store(self.connection.0.as_ptr(), Ordering::Relaxed);
        call();
        RELEASED.store(ptr::null_mut(), Ordering::Relaxed);

        if closed.get() {
            return false;
        }

        // SAFETY: the connection was not closed, and its pool neither destroyed.
        unsafe { &*this }.closed.set(ptr::null());

        true
    }

    /// Counts the connection as idle; the reason is why its timer will close it.
    pub fn enter_cache(&self, timer: Close) {
        self.timer.set(timer);
        self.cached.set(true);
        self.peer.enter_cache();
    }

    /// Counts the connection as idle no more.
    pub fn leave_cache(&self) {
        if self.cached.replace(false) {
            self.peer.leave_cache();
        }
    }

    fn count_close(&self, reason: Close) {
        let age = self.idle.get().age(clock::now());

        self.peer.counters.close(reason, age);

        let log = self.connection.get().log;

        // SAFETY: nginx sets the log of a connection to one that lives as long.
        if let Some(log) = NonNull::new(log) {
            let message = format_args!(
                "idle connection to {} closed after {age} ms: {}",
                self.peer,
                reason.name()
            );

            // SAFETY: as above.
            unsafe { log::write(NGX_LOG_INFO, log, message) };
        }
    }

    /// Why nginx is closing the idle connection.
    fn reason(&self) -> Close {
        let released = RELEASED.load(Ordering::Relaxed);
        let c = self.connection.get();

        if !released.is_null() && released != self.connection.0.as_ptr() {
            Close::Evicted
        } else if self.connection.event(c.read).timedout() != 0 {
            self.timer.get()
        } else if c.close() != 0 {
            Close::Shutdown
        } else {
            Close::Peer
        }
    }
}

const CLEANUP: unsafe extern "C" fn(*mut c_void) = connection_closed;

/// nginx destroys the pool of a connection that it closes, and has not closed it yet.
unsafe extern "C" fn connection_closed(data: *mut c_void) {
    // SAFETY: nginx passes the data of the cleanup, which is the record that `attach` wrote.
    let record = unsafe { &*data.cast::<Record>() };

    if record.connection.is_idle() {
        record.leave_cache();
        record.count_close(record.reason());
    }

    // SAFETY: the pointer is null, or to a variable of `outlives`, which is running.
    if let Some(closed) = unsafe { record.closed.get().as_ref() } {
        closed.set(true);
    }
}
