//! The options of a connection's socket.

use core::mem;
use core::ptr;

use libc::c_int;

use super::Connection;

impl Connection {
    /// A socket option, if the kernel tells as much of it as is wanted.
    pub(super) fn socket_option<T: SocketOption>(self, level: c_int, name: c_int) -> Option<T> {
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
pub(super) unsafe trait SocketOption {
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
    const WANTED: usize = mem::offset_of!(libc::tcp_info, tcpi_snd_ssthresh);
}
