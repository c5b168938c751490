//! nginx's arrays and buffers, as slices.

use core::slice;

use nginx_sys::{ngx_array_t, u_char};

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

/// The bytes from one place to another in the memory of a buffer.
///
/// # Safety
///
/// Both are in the same buffer, whose memory lives for 'a and is in nobody else's use; or both are null.
pub unsafe fn between<'a>(first: *mut u_char, end: *mut u_char) -> &'a mut [u8] {
    match (end as usize).saturating_sub(first as usize) {
        0 => &mut [],
        // SAFETY: the caller's promise.
        len => unsafe { slice::from_raw_parts_mut(first, len) },
    }
}
