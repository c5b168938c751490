//! The module's tables, by which nginx knows it.

use core::ptr;

use nginx_sys::{
    ngx_conf_t, ngx_cycle_t, ngx_http_module_t, ngx_int_t, ngx_module_t, ngx_uint_t,
    NGX_HTTP_MODULE,
};
use ngx::core::Status;
use ngx::http::{HttpModule, HttpModuleLocationConf, HttpModuleMainConf, HttpModuleServerConf};

use crate::nginx::api::{array, cf, log};
use crate::nginx::memory::zone;
use crate::nginx::request::variables;
use crate::nginx::{conf, process, status};

/// The module, as ngx's traits see it.
pub struct IdleTimeoutModule;

static NGX_HTTP_UPSTREAM_IDLE_TIMEOUT_MODULE_CTX: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(IdleTimeoutModule::preconfiguration),
    postconfiguration: Some(IdleTimeoutModule::postconfiguration),
    create_main_conf: Some(IdleTimeoutModule::create_main_conf),
    init_main_conf: None,
    create_srv_conf: Some(IdleTimeoutModule::create_srv_conf),
    merge_srv_conf: None,
    create_loc_conf: Some(IdleTimeoutModule::create_loc_conf),
    merge_loc_conf: Some(IdleTimeoutModule::merge_loc_conf),
};

// the table that nginx reads from a dynamic module
ngx::ngx_modules!(ngx_http_upstream_idle_timeout_module);

#[allow(non_upper_case_globals)]
static mut ngx_http_upstream_idle_timeout_module: ngx_module_t = ngx_module_t {
    ctx: ptr::addr_of!(NGX_HTTP_UPSTREAM_IDLE_TIMEOUT_MODULE_CTX).cast_mut().cast(),
    commands: ptr::addr_of_mut!(conf::COMMANDS).cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    init_module: Some(process::init_module),
    init_process: Some(process::init_process),
    exit_process: Some(process::exit_process),
    ..ngx_module_t::default()
};

// SAFETY: `create_main_conf` of the trait makes a value of this type.
unsafe impl HttpModuleMainConf for IdleTimeoutModule {
    type MainConf = zone::MainConf;
}

// SAFETY: `create_srv_conf` of the trait makes a value of this type.
unsafe impl HttpModuleServerConf for IdleTimeoutModule {
    type ServerConf = conf::ServerConf;
}

// SAFETY: `create_loc_conf` of the trait makes a value of this type.
unsafe impl HttpModuleLocationConf for IdleTimeoutModule {
    type LocationConf = status::LocationConf;
}

impl HttpModule for IdleTimeoutModule {
    fn module() -> &'static ngx_module_t {
        // SAFETY: nginx writes to the table while it loads modules, before any callback of the module.
        unsafe { &*ptr::addr_of!(ngx_http_upstream_idle_timeout_module) }
    }

    unsafe extern "C" fn preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
        log::install();

        // SAFETY: nginx passes the configuration that it is reading.
        match variables::add(unsafe { &mut *cf }) {
            Ok(()) => Status::NGX_OK.into(),
            Err(cf::Failed) => Status::NGX_ERROR.into(),
        }
    }

    unsafe extern "C" fn postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
        // SAFETY: nginx passes the configuration that it is reading.
        let cf = unsafe { &mut *cf };

        match conf::wrap_upstreams(cf) {
            Ok(()) => Status::NGX_OK.into(),
            Err(cf::Failed) => Status::NGX_ERROR.into(),
        }
    }
}

/// The module's configuration of a cycle, which may be one without the module, or with another copy of it, or none at all
/// as the first one that nginx begins with: the module's index is for cycles alone that have this copy.
pub fn main_conf(cycle: &ngx_cycle_t) -> Option<&'static zone::MainConf> {
    // SAFETY: nginx has made the array for as long as the cycle lives; in the first one there are none.
    let modules: &[*mut ngx_module_t] = unsafe { array::from_raw(cycle.modules, cycle.modules_n) };

    modules
        .iter()
        .any(|module| ptr::eq(*module, IdleTimeoutModule::module()))
        .then(|| IdleTimeoutModule::main_conf(cycle))?
}
