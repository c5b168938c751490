//! An upstream connection: what can be seen of it, and how it is closed.

use core::ffi::{c_int, c_void};
use core::mem;
use core::ptr::{self, NonNull};
use std::io;

use nginx_sys::{
    ngx_close_connection, ngx_connection_t, ngx_destroy_pool, ngx_event_t, ngx_log_t, ngx_pool_t,
};

use super::{bio, clock};
use crate::evidence::{Seen, State, Tcp};
use crate::policy::Msec;
use crate::tls_record;

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

    pub fn pool(self) -> *mut ngx_pool_t {
        self.get().pool
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

    /// When the last byte arrived at the earliest, where the kernel tells: it does for TCP.
    pub fn last_data(self) -> Option<Msec> {
        // where it is not TCP, the option fails
        let info: libc::tcp_info = self.socket_option(libc::IPPROTO_TCP, libc::TCP_INFO)?;

        // a difference of ticks may be short by one
        let ago = Msec::from(info.tcpi_last_data_recv).saturating_add(clock::tick());

        Some(clock::now().saturating_sub(ago))
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

    /// Whether the peer has sent something to an idle connection, and has not merely closed it.
    pub fn has_unasked(self, tls: bool) -> bool {
        let mut bytes = [0_u8; tls_record::LEN];
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        let p = bytes.as_mut_ptr().cast();

        // SAFETY: the kernel writes no more than the bytes that there are.
        let n = unsafe { libc::recv(self.get().fd, p, tls_record::LEN, flags) };

        n > 0 && !(tls && tls_record::is_alert(bytes))
    }

    /// How many bytes the kernel has taken since the connection was reused, but those that TLS had written by then;
    /// none where that can't be told.
    pub fn written(self, tls_before: Option<u64>) -> Option<u64> {
        if self.is_tls() {
            let written = bio::written(self).filter(|_| bio::counts_all(self))?;
            return Some(written.saturating_sub(tls_before?));
        }

        u64::try_from(self.get().sent).ok()
    }

    /// How many bytes TLS has written to the connection, ever.
    pub fn tls_written(self) -> Option<u64> {
        if self.is_tls() {
            bio::written(self)
        } else {
            None
        }
    }

    /// What is left to see of a connection on which a try has failed.
    pub fn seen(self, written: Option<u64>, goaway: bool) -> Seen {
        let (read, write) = (self.event(self.get().read), self.event(self.get().write));

        Seen {
            timed_out: read.timedout() != 0 || write.timedout() != 0,
            eof: read.eof() != 0,
            read_error: read.error() != 0,
            write_error: write.error() != 0,
            goaway,
            tls: self.is_tls(),
            written,
            tcp: self.tcp(),
        }
    }

    fn tcp(self) -> Option<Tcp> {
        const TCP_CLOSE: u8 = 7;
        const TCP_CLOSE_WAIT: u8 = 8;

        // the questions are in the order of the fields: what happens between two of them can't make a request seem refused
        // that was not
        let info = self.tcp_info()?;

        Some(Tcp {
            state: match info.tcpi_state {
                TCP_CLOSE => State::Close,
                TCP_CLOSE_WAIT => State::CloseWait,
                _ => State::Open,
            },
            segment: info.tcpi_snd_mss.into(),
            broken_pipe: self.socket_option(libc::SOL_SOCKET, libc::SO_ERROR) == Some(libc::EPIPE),
            unacknowledged: self.unacknowledged()?,
        })
    }

    /// How many bytes the kernel has that the peer's has not acknowledged.
    fn unacknowledged(self) -> Option<u64> {
        let mut n: c_int = 0;

        // SAFETY: the kernel writes to the integer alone.
        let rc = unsafe { libc::ioctl(self.get().fd, libc::TIOCOUTQ, ptr::addr_of_mut!(n)) };

        (rc == 0).then_some(u64::try_from(n).ok()).flatten()
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

    fn get(&self) -> &ngx_connection_t {
        // SAFETY: the promise of `from_raw`; nginx is not called while the reference lives.
        unsafe { self.0.as_ref() }
    }

    fn event(&self, event: *mut ngx_event_t) -> &ngx_event_t {
        // SAFETY: nginx gives every connection its events, for as long as it is open.
        unsafe { &*event }
    }

    /// What the kernel tells of a TCP connection; of MPTCP, whose parts are several, it tells nothing that holds.
    fn tcp_info(self) -> Option<libc::tcp_info> {
        if self.socket_option(libc::SOL_SOCKET, libc::SO_PROTOCOL) != Some(libc::IPPROTO_TCP) {
            return None;
        }

        self.socket_option(libc::IPPROTO_TCP, libc::TCP_INFO)
    }

    /// A socket option, if the kernel tells as much of it as is wanted.
    fn socket_option<T: SocketOption>(self, level: c_int, name: c_int) -> Option<T> {
        // SAFETY: the trait's promise: zeros are a value.
        let mut value: T = unsafe { mem::zeroed() };
        let mut len = mem::size_of::<T>() as libc::socklen_t;

        let fd = self.get().fd;
        let p = ptr::addr_of_mut!(value).cast();

        // SAFETY: the kernel writes no more than `len` bytes to the value; by the trait's promise any will do.
        let rc = unsafe { libc::getsockopt(fd, level, name, p, &mut len) };

        (rc == 0 && len as usize >= T::WANTED).then_some(value)
    }
}

/// # Safety
///
/// Of the type any bytes are a value: it is made of integers.
unsafe trait SocketOption {
    /// How much of the value the kernel has to fill in.
    const WANTED: usize;
}

// SAFETY: it is an integer.
unsafe impl SocketOption for c_int {
    const WANTED: usize = mem::size_of::<Self>();
}

// SAFETY: it is made of integers.
unsafe impl SocketOption for libc::tcp_info {
    // what an older kernel knows of it is shorter, and has all that is read here
    const WANTED: usize = mem::offset_of!(libc::tcp_info, tcpi_last_ack_recv);
}
