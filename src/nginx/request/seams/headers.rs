//! The headers of a response that are about its connection, read as nginx comes to them.
//!
//! nginx looks up what to do with a header in a table of its own, `headers_in_hash` of the upstream module, which belongs to
//! a configuration. There the module's handlers stand around nginx's. Later it is too late: where the response turns out
//! to be a 304, or an error for which nginx has a stale response in its cache, nginx puts the cached headers in place of
//! those that came.

use core::ffi::c_void;
use core::ptr;

use nginx_sys::{
    ngx_conf_t, ngx_hash_elt_t, ngx_hash_t, ngx_http_header_handler_pt, ngx_http_request_t,
    ngx_http_upstream_header_t, ngx_int_t, ngx_palloc, ngx_table_elt_t, ngx_uint_t, u_char,
};
use ngx::core::Status;
use ngx::http::{HttpModuleMainConf, NgxHttpUpstreamModule};

use crate::nginx::api::cf::Failed;
use crate::nginx::api::{array, request};
use crate::nginx::request::callbacks;
use crate::rules::protocol::keep_alive::KeepAlive;

/// A header in the table, with the handler that was there.
#[repr(C)]
struct Wrapped {
    header: ngx_http_upstream_header_t,
    handler: ngx_http_header_handler_pt,
    offset: ngx_uint_t,
}

const HEADERS: [(&[u8], ngx_http_header_handler_pt); 2] =
    [(b"keep-alive", Some(handle_keep_alive)), (b"connection", Some(handle_connection))];

/// Puts the module's handlers in their places.
pub fn wrap(cf: &mut ngx_conf_t) -> Result<(), Failed> {
    let conf = NgxHttpUpstreamModule::main_conf(cf).ok_or(Failed)?;

    for (name, handler) in HEADERS {
        // SAFETY: nginx has filled the table by now.
        let place = unsafe { find(&conf.headers_in_hash, name) }.ok_or(Failed)?;

        // SAFETY: the configuration's pool is valid.
        let wrapped = unsafe { ngx_palloc(cf.pool, size_of::<Wrapped>()) }.cast::<Wrapped>();

        if wrapped.is_null() {
            return Err(Failed);
        }

        // SAFETY: the place is in the table, whose values are headers; there is memory for the new one, which lives as
        // long as the table.
        unsafe {
            let mut header = *(*place).cast::<ngx_http_upstream_header_t>();
            let (handler, offset) = (
                core::mem::replace(&mut header.handler, handler),
                core::mem::replace(&mut header.offset, wrapped as ngx_uint_t),
            );

            wrapped.write(Wrapped { header, handler, offset });
            *place = wrapped.cast();
        }
    }

    Ok(())
}

/// The place of a value in a table; what nginx's `ngx_hash_find()` does, which tells the value alone.
///
/// # Safety
///
/// nginx has made the table.
unsafe fn find(table: &ngx_hash_t, name: &[u8]) -> Option<*mut *mut c_void> {
    let bucket = hash(name).checked_rem(table.size)?;

    // SAFETY: there are so many buckets. A bucket is null, or a list of elements that ends with a null value, each of
    // which is as long as its name says, and aligned as a pointer.
    unsafe {
        let mut element: *mut ngx_hash_elt_t = *table.buckets.add(bucket);

        while !element.is_null() && !(*element).value.is_null() {
            let key = ptr::addr_of!((*element).name).cast::<u_char>();
            let len = usize::from((*element).len);

            if array::from_raw(key, len) == name {
                return Some(ptr::addr_of_mut!((*element).value));
            }

            let next = key.add(len);
            element = next.add(next.align_offset(align_of::<*mut c_void>())).cast_mut().cast();
        }
    }

    None
}

/// nginx's hash of the name of a header.
fn hash(name: &[u8]) -> ngx_uint_t {
    name.iter().fold(0, |hash: ngx_uint_t, byte| {
        hash.wrapping_mul(31).wrapping_add(ngx_uint_t::from(*byte))
    })
}

unsafe extern "C" fn handle_keep_alive(
    r: *mut ngx_http_request_t,
    header: *mut ngx_table_elt_t,
    offset: ngx_uint_t,
) -> ngx_int_t {
    // SAFETY: nginx passes what belongs to the header that `wrap` has put into the table.
    unsafe { handle(r, header, offset, KeepAlive::read_usual, KeepAlive::read) }
}

unsafe extern "C" fn handle_connection(
    r: *mut ngx_http_request_t,
    header: *mut ngx_table_elt_t,
    offset: ngx_uint_t,
) -> ngx_int_t {
    // SAFETY: nginx passes what belongs to the header that `wrap` has put into the table.
    unsafe {
        handle(r, header, offset, KeepAlive::read_usual_connection, KeepAlive::read_connection)
    }
}

/// Takes in the header where that takes no more than a look, which is so for nearly all responses.
///
/// # Safety
///
/// The arguments are those of a handler, and the offset is that of a header in the table that `wrap` made.
#[inline(always)]
unsafe fn handle(
    r: *mut ngx_http_request_t,
    header: *mut ngx_table_elt_t,
    offset: ngx_uint_t,
    read_usual: impl Fn(&mut KeepAlive, &[u8]) -> bool,
    read: fn(&mut KeepAlive, &[u8]),
) -> ngx_int_t {
    // SAFETY: the caller's promise; nginx passes a request, and a header that lives as long.
    let (request, value) = unsafe { (&*r, (*header).value.as_bytes()) };

    let data = callbacks::data_at_hand(request).filter(|_| !request::has_cache(request));

    if data.is_some_and(|data| data.is_http() && data.tell(value, read_usual)) {
        // SAFETY: the caller's promise.
        return unsafe { pass_on(r, header, offset) };
    }

    // SAFETY: the caller's promise.
    unsafe { handle_any(r, header, offset, read) }
}

/// # Safety
///
/// That of `handle`.
#[cold]
unsafe fn handle_any(
    r: *mut ngx_http_request_t,
    header: *mut ngx_table_elt_t,
    offset: ngx_uint_t,
    read: fn(&mut KeepAlive, &[u8]),
) -> ngx_int_t {
    // SAFETY: the caller's promise; nginx passes a request, and a header that lives as long.
    let (request, value) = unsafe { (&*r, (*header).value.as_bytes()) };

    // the headers of a response in the cache are old ones; those of other protocols are about no connection
    if let Some(data) = callbacks::data_of(request) {
        if data.is_http() && !request::is_cached(request) {
            data.tell(value, read);
        }
    }

    // SAFETY: the caller's promise.
    unsafe { pass_on(r, header, offset) }
}

/// Calls the handler that was there.
///
/// # Safety
///
/// That of `handle`.
unsafe fn pass_on(
    r: *mut ngx_http_request_t,
    header: *mut ngx_table_elt_t,
    offset: ngx_uint_t,
) -> ngx_int_t {
    // SAFETY: the caller's promise.
    let wrapped = unsafe { &*(offset as *const Wrapped) };

    match wrapped.handler {
        // SAFETY: the handler is called as nginx would.
        Some(handler) => unsafe { handler(r, header, wrapped.offset) },
        None => Status::NGX_OK.into(),
    }
}
