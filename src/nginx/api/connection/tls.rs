//! How much TLS has written to a connection, as OpenSSL's BIO counts it.
//!
//! The functions are looked up in the process when the worker begins: an nginx may have no TLS, or another library's. Where
//! they are missing, or the kernel does the encryption and OpenSSL does not see what goes out, there is no count.

use core::cell::Cell;
use core::ffi::{c_int, c_long, c_void, CStr};
use core::mem;
use core::ptr;

use super::Connection;
use crate::nginx::api::worker::Worker;

type GetWriteBio = unsafe extern "C" fn(ssl: *const c_void) -> *mut c_void;
type NumberWritten = unsafe extern "C" fn(bio: *mut c_void) -> u64;
type Control =
    unsafe extern "C" fn(bio: *mut c_void, cmd: c_int, i: c_long, p: *mut c_void) -> c_long;

/// openssl/bio.h
const BIO_CTRL_GET_KTLS_SEND: c_int = 73;

/// What is asked of OpenSSL.
#[derive(Clone, Copy)]
struct Functions {
    get_write_bio: GetWriteBio,
    number_written: NumberWritten,
    control: Control,
}

static FUNCTIONS: Worker<Cell<Option<Functions>>> = Worker::new(Cell::new(None));

/// Looks the functions up.
pub fn init() {
    FUNCTIONS.set(find());
}

fn find() -> Option<Functions> {
    // SAFETY: OpenSSL's functions of these names have these types, and are never unloaded.
    unsafe {
        Some(Functions {
            get_write_bio: mem::transmute::<*mut c_void, GetWriteBio>(symbol(c"SSL_get_wbio")?),
            number_written: mem::transmute::<*mut c_void, NumberWritten>(symbol(
                c"BIO_number_written",
            )?),
            control: mem::transmute::<*mut c_void, Control>(symbol(c"BIO_ctrl")?),
        })
    }
}

fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name is a C string.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };

    (!symbol.is_null()).then_some(symbol)
}

/// How many bytes TLS has written to the connection, for a difference of two such figures.
pub fn written(connection: Connection) -> Option<u64> {
    let (functions, bio) = write_bio(connection)?;

    // SAFETY: it is the BIO of an open connection.
    Some(unsafe { (functions.number_written)(bio) })
}

/// Whether that figure is the number of bytes that the connection was given.
pub fn counts_all(connection: Connection) -> bool {
    write_bio(connection).is_some_and(|(functions, bio)| {
        // SAFETY: it is the BIO of an open connection.
        unsafe { (functions.control)(bio, BIO_CTRL_GET_KTLS_SEND, 0, ptr::null_mut()) <= 0 }
    })
}

fn write_bio(connection: Connection) -> Option<(Functions, *mut c_void)> {
    let functions = FUNCTIONS.get()?;
    let ssl = connection.ssl()?;

    // SAFETY: nginx has made it a TLS connection, which is open.
    let bio = unsafe { (functions.get_write_bio)(ssl) };

    (!bio.is_null()).then_some((functions, bio))
}
