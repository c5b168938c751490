//! The face towards nginx: the module's tables, and all of the unsafe code.

use core::ptr;

use nginx_sys::{
    ngx_conf_t, ngx_http_module_t, ngx_int_t, ngx_module_t, ngx_uint_t, NGX_HTTP_MODULE,
};
use ngx::core::Status;
use ngx::http::{HttpModule, HttpModuleLocationConf, HttpModuleMainConf, HttpModuleServerConf};

mod array;
mod bio;
mod callbacks;
mod cf;
mod clock;
mod conf;
mod connection;
mod ended;
mod expiry;
mod growing;
mod headers;
mod keepalive;
mod log;
mod original;
mod peer;
mod peers;
mod process;
mod receiving;
mod record;
mod request;
mod sending;
mod shared;
mod slab;
mod slots;
mod status;
mod tries;
mod upstream;
mod variables;
mod worker;
mod workers;
mod zone;

/// The module, as ngx's traits see it.
struct IdleTimeoutModule;

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
    init_module: Some(zone::init_module),
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
