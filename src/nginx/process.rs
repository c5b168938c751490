//! The acceptance of a configuration, and the beginning and the end of a worker process.

use nginx_sys::{
    ngx_cycle_t, ngx_int_t, ngx_process, ngx_uint_t, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER,
};
use ngx::core::Status;

use crate::nginx::api::connection::tls;
use crate::nginx::idle::{expiry, record};
use crate::nginx::memory::zone::MainConf;
use crate::nginx::module::main_conf;
use crate::nginx::request::callbacks;

/// nginx has accepted a configuration.
pub unsafe extern "C" fn init_module(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: nginx passes its cycle.
    if let Some(conf) = unsafe { cycle.as_ref() }.and_then(main_conf) {
        conf.accept();
    }

    Status::NGX_OK.into()
}

/// A process of nginx begins.
pub unsafe extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: nginx passes its cycle.
    let Some(cycle) = (unsafe { cycle.as_ref() }).filter(|_| handles_requests()) else {
        return Status::NGX_OK.into();
    };

    tls::init();
    expiry::init(record::take_turn);

    if let Some(header) = main_conf(cycle).and_then(MainConf::header) {
        if header.enter().is_err() {
            ::log::error!(
                "no memory in shared memory zone \"upstream_idle_timeout\", \
                 what this worker does is counted as of other peers, and its idle connections are not shown"
            );
        }
    }

    Status::NGX_OK.into()
}

/// A process of nginx ends.
pub unsafe extern "C" fn exit_process(cycle: *mut ngx_cycle_t) {
    // SAFETY: nginx passes its cycle.
    let Some(cycle) = (unsafe { cycle.as_ref() }).filter(|_| handles_requests()) else {
        return;
    };

    if let Some(header) = main_conf(cycle).and_then(MainConf::header) {
        header.leave();
    }

    callbacks::SLOTS.clear();
}

/// Whether this process is a worker, and not one that manages a cache.
fn handles_requests() -> bool {
    // SAFETY: nginx sets the variable when the process starts.
    let process = unsafe { ngx_process };

    process == NGX_PROCESS_WORKER as ngx_uint_t || process == NGX_PROCESS_SINGLE as ngx_uint_t
}
