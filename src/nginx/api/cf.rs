//! The configuration that nginx is reading.

use core::ffi::c_char;
use core::fmt;
use core::mem::MaybeUninit;

use nginx_sys::{ngx_conf_log_error, ngx_conf_t, ngx_str_t, ngx_uint_t};
use ngx::log::{write_fmt, LOG_BUFFER_SIZE};

use super::array;

/// The configuration is wrong, and the log says why.
pub struct Failed;

/// The arguments of the directive that nginx is reading.
pub fn arguments(cf: &ngx_conf_t) -> &'static [ngx_str_t] {
    // SAFETY: nginx has put the words of the directive into an array, which is part of the configuration.
    let words: &[ngx_str_t] = unsafe { array::elements(cf.args) };

    words.get(1..).unwrap_or_default()
}

/// Writes a message about the place in the configuration that nginx is reading.
pub fn log(level: u32, cf: &mut ngx_conf_t, message: fmt::Arguments<'_>) {
    const FORMAT: *const c_char = c"%*s".as_ptr();

    let mut buf = [const { MaybeUninit::uninit() }; LOG_BUFFER_SIZE];
    let message = write_fmt(&mut buf, message);

    // SAFETY: the arguments are those of the format: a length, and as many bytes.
    unsafe {
        ngx_conf_log_error(level as ngx_uint_t, cf, 0, FORMAT, message.len(), message.as_ptr());
    }
}
