//! nginx's keepalive module: the cache that the connections live in.

use core::ffi::CStr;

use nginx_sys::{ngx_conf_t, ngx_http_upstream_srv_conf_t, ngx_module_t};

use crate::nginx::api::array;
use crate::rules::policy::Msec;

#[allow(missing_docs, non_camel_case_types)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/keepalive.rs"));
}

use bindings::ngx_http_upstream_keepalive_srv_conf_t;

/// The `keepalive_timeout` of an upstream that has none of its own: by its value alone it is known not to be meant.
pub const DEFAULT_TIMEOUT: Msec = 60_000;

const MODULE_NAME: &CStr = c"ngx_http_upstream_keepalive_module";

/// The keepalive module of the nginx that runs.
#[derive(Clone, Copy)]
pub struct KeepaliveModule {
    ctx_index: usize,
}

impl KeepaliveModule {
    /// Finds the module by its name; an nginx can be built without it.
    pub fn find(cf: &ngx_conf_t) -> Option<Self> {
        // SAFETY: nginx passes a configuration that belongs to a cycle.
        let cycle = unsafe { cf.cycle.as_ref() }?;
        // SAFETY: the cycle has as many modules as it says.
        let modules = unsafe { array::from_raw(cycle.modules, cycle.modules_n) };

        modules.iter().find_map(|module| {
            // SAFETY: every entry points to the static table of a module.
            let module: &ngx_module_t = unsafe { module.as_ref() }?;
            // SAFETY: nginx sets the name of every module, a C string, before it reads the configuration.
            let name = unsafe { CStr::from_ptr(module.name) };

            (name == MODULE_NAME).then_some(Self { ctx_index: module.ctx_index })
        })
    }

    /// The keepalive_timeout of the upstream, and how many connections it keeps, unless it keeps none.
    pub fn settings(self, upstream: &ngx_http_upstream_srv_conf_t) -> Option<(Msec, usize)> {
        // SAFETY: an explicit upstream has the configuration of each module at the module's index.
        let conf = unsafe { *upstream.srv_conf.add(self.ctx_index) };
        // SAFETY: the leading fields of the module's private structure are declared alike; it is filled in by now.
        let conf = unsafe { conf.cast::<ngx_http_upstream_keepalive_srv_conf_t>().as_ref() }?;

        (conf.max_cached != 0).then_some((conf.timeout as Msec, conf.max_cached))
    }
}
