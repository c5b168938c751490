//! nginx's arrays, as slices.

use core::slice;

use nginx_sys::ngx_array_t;

/// The elements of an array; none of null.
///
/// # Safety
///
/// The pointer is null, or to an array of values of type T that lives for 'a.
pub unsafe fn elements<'a, T>(array: *const ngx_array_t) -> &'a [T] {
    // SAFETY: the caller's promise.
    match unsafe { array.as_ref() } {
        // SAFETY: an array holds as many elements as it says.
        Some(array) => unsafe { from_raw(array.elts.cast(), array.nelts) },
        None => &[],
    }
}

/// So many values from there on.
///
/// # Safety
///
/// There are `len` values that live for 'a; when there are none, any pointer will do.
pub unsafe fn from_raw<'a, T>(first: *const T, len: usize) -> &'a [T] {
    match len {
        0 => &[],
        // SAFETY: the caller's promise.
        _ => unsafe { slice::from_raw_parts(first, len) },
    }
}
