//! What can be seen of a connection: whether it is alive, and what became of what was sent.

use core::ptr;
use std::io;

use libc::c_int;

use super::{tls, Connection};
use crate::nginx::api::clock;
use crate::rules::evidence::{Held, Seen, State, Tcp};
use crate::rules::policy::Msec;
use crate::rules::protocol::tls_record;
use crate::rules::repeat::Wait;

/// The kernel's names of states.
const TCP_CLOSE: u8 = 7;
const TCP_CLOSE_WAIT: u8 = 8;

/// What the peer has done to an idle connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing that is seen.
    None,
    /// It has ended its side, at that time.
    Fin(Msec),
    /// It has closed or reset it; when is not known.
    Gone,
}

impl Connection {
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

    /// What the peer has done to an idle connection, and the round trip in microseconds, 0 where it is not known.
    pub fn idle_end(self) -> (End, u32) {
        let Some(info) = self.tcp_info() else {
            let is_unix = self.socket_option(libc::SOL_SOCKET, libc::SO_PROTOCOL) == Some(0);
            let end = if self.is_dead() { End::Gone } else { End::None };

            return (end, is_unix.into());
        };

        let end = match info.tcpi_state {
            TCP_CLOSE => End::Gone,
            // the last segment with an ACK was the FIN, if it is nothing that waits to be read
            TCP_CLOSE_WAIT => {
                End::Fin(clock::now().saturating_sub(Msec::from(info.tcpi_last_ack_recv)))
            }
            _ => End::None,
        };

        (end, info.tcpi_rtt.max(1))
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
            let written = tls::written(self).filter(|_| tls::counts_all(self))?;
            return Some(written.saturating_sub(tls_before?));
        }

        u64::try_from(self.get().sent).ok()
    }

    /// How many bytes TLS has written to the connection, ever.
    pub fn tls_written(self) -> Option<u64> {
        if self.is_tls() {
            tls::written(self)
        } else {
            None
        }
    }

    /// What is left to see of a connection on which a try has failed.
    pub fn seen(self, written: Option<u64>) -> Seen {
        let (read, write) = (self.event(self.get().read), self.event(self.get().write));

        Seen {
            timed_out: read.timedout() != 0 || write.timedout() != 0,
            eof: read.eof() != 0,
            read_error: read.error() != 0,
            write_error: write.error() != 0,
            goaway: false,
            held: Held::default(),
            answered: false,
            tls: self.is_tls(),
            written,
            tcp: self.tcp(),
        }
    }

    fn tcp(self) -> Option<Tcp> {
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
            wait: Wait::new(info.tcpi_rtt, info.tcpi_rttvar),
        })
    }

    /// How many bytes the kernel has that the peer's has not acknowledged.
    fn unacknowledged(self) -> Option<u64> {
        let mut n: c_int = 0;

        // SAFETY: the kernel writes to the integer alone.
        let rc = unsafe { libc::ioctl(self.get().fd, libc::TIOCOUTQ, ptr::addr_of_mut!(n)) };

        (rc == 0).then_some(u64::try_from(n).ok()).flatten()
    }

    /// What the kernel tells of a TCP connection; of MPTCP, whose parts are several, it tells nothing that holds.
    fn tcp_info(self) -> Option<libc::tcp_info> {
        if self.socket_option(libc::SOL_SOCKET, libc::SO_PROTOCOL) != Some(libc::IPPROTO_TCP) {
            return None;
        }

        self.socket_option(libc::IPPROTO_TCP, libc::TCP_INFO)
    }
}
