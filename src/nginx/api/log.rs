//! Messages to nginx's error log.

use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_cycle, ngx_log_t, ngx_uint_t, NGX_LOG_DEBUG, NGX_LOG_ERR, NGX_LOG_INFO, NGX_LOG_WARN,
};
use ngx::log::{log_error, write_fmt, LOG_BUFFER_SIZE};

/// Writes a message to `log` if its level lets it.
///
/// # Safety
///
/// `log` is valid, as every log that hangs on a live nginx object is.
pub unsafe fn write(level: u32, log: NonNull<ngx_log_t>, message: fmt::Arguments<'_>) {
    let level = level as ngx_uint_t;

    // SAFETY: the caller's promise.
    if level > unsafe { log.as_ref() }.log_level {
        return;
    }

    let mut buf = [const { MaybeUninit::uninit() }; LOG_BUFFER_SIZE];
    let message = write_fmt(&mut buf, message);

    // SAFETY: the caller's promise.
    unsafe { log_error(level, log.as_ptr(), 0, message) };
}

/// The log of nginx's cycle, for what belongs to no request and no connection.
pub fn cycle() -> Option<NonNull<ngx_log_t>> {
    // SAFETY: nginx sets the cycle before it loads a module, and replaces it between two callbacks only.
    let cycle = unsafe { ngx_cycle.as_ref() }?;

    NonNull::new(cycle.log)
}

/// The backend of the `log` crate.
struct CycleLog;

impl log::Log for CycleLog {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if let Some(log) = cycle() {
            // SAFETY: the cycle's log is valid as long as the cycle.
            unsafe { write(level(record.level()), log, *record.args()) };
        }
    }

    fn flush(&self) {}
}

fn level(level: log::Level) -> u32 {
    match level {
        log::Level::Error => NGX_LOG_ERR,
        log::Level::Warn => NGX_LOG_WARN,
        log::Level::Info => NGX_LOG_INFO,
        log::Level::Debug | log::Level::Trace => NGX_LOG_DEBUG,
    }
}

/// Sends the messages of the `log` crate to the cycle's log; at a reload it does already.
pub fn install() {
    if log::set_logger(&CycleLog).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}
