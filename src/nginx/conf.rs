//! The directive, and what is made of it once the whole configuration is read.

use core::ffi::{c_char, c_void};
use core::fmt;
use core::ptr::{self, NonNull};
use std::vec::Vec;

use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_int_t,
    ngx_parse_time, ngx_str_t, ngx_uint_t, NGX_CONF_1MORE, NGX_CONF_NOARGS, NGX_CONF_TAKE1,
    NGX_ERROR, NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_SRV_CONF,
    NGX_HTTP_SRV_CONF_OFFSET, NGX_HTTP_UPS_CONF, NGX_LOG_EMERG, NGX_LOG_WARN,
};
use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};
use ngx::http::{HttpModule, HttpModuleMainConf, HttpModuleServerConf, NgxHttpUpstreamModule};
use ngx::ngx_string;

use crate::nginx::api::cf::{self, Failed};
use crate::nginx::api::{array, log};
use crate::nginx::keepalive::{self, KeepaliveModule};
use crate::nginx::memory::wrapped::Wrapped;
use crate::nginx::memory::zone::MainConf;
use crate::nginx::module::{main_conf, IdleTimeoutModule};
use crate::nginx::request::callbacks;
use crate::nginx::request::seams::headers;
use crate::nginx::status;
use crate::rules::directive;
use crate::rules::policy::{Msec, Policy};

const DIRECTIVE: &str = "upstream_idle_timeout";

pub static mut COMMANDS: [ngx_command_t; 3] = [
    ngx_command_t {
        name: ngx_string!("upstream_idle_timeout"),
        type_: (NGX_HTTP_MAIN_CONF | NGX_HTTP_UPS_CONF | NGX_CONF_1MORE) as ngx_uint_t,
        set: Some(cmd_upstream_idle_timeout),
        conf: NGX_HTTP_SRV_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t {
        name: ngx_string!("upstream_idle_status"),
        type_: (NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS | NGX_CONF_TAKE1)
            as ngx_uint_t,
        set: Some(status::cmd_upstream_idle_status),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    },
    ngx_command_t::empty(),
];

/// The configuration of http{} or of an upstream{}.
#[derive(Default)]
pub struct ServerConf {
    directive: Option<Directive>,
    /// Set when the module looks after the upstream.
    pub wrapped: Option<Wrapped>,
}

/// The directive as it stands in the configuration.
#[derive(Clone, Copy)]
struct Directive {
    /// None for `off`.
    policy: Option<Policy>,
    file: ngx_str_t,
    line: ngx_uint_t,
}

fn parse_time(value: &[u8]) -> Option<Msec> {
    let mut value = ngx_str_t { len: value.len(), data: value.as_ptr().cast_mut() };

    // SAFETY: nginx reads the value, and no further than its length.
    let msec = unsafe { ngx_parse_time(&mut value, 0) };

    Msec::try_from(msec).ok()
}

/// Wraps `peer.init` of every upstream that has a policy, its own or that of http{}, and keeps connections.
pub fn wrap_upstreams(cf: &mut ngx_conf_t) -> Result<(), Failed> {
    let main = IdleTimeoutModule::main_conf_mut(cf).ok_or(Failed)?;
    let inherited = IdleTimeoutModule::server_conf(cf).and_then(|conf| conf.directive);
    let module = KeepaliveModule::find(cf);

    for upstream in explicit_upstreams(cf) {
        let Some(conf) = IdleTimeoutModule::server_conf_mut(upstream) else {
            continue;
        };

        let Some(directive) = conf.directive.or(inherited) else {
            continue;
        };

        let Some(mut policy) = directive.policy else {
            continue;
        };

        let Some((timeout, max_cached)) = module.and_then(|module| module.settings(upstream))
        else {
            if conf.directive.is_none() {
                continue;
            }

            return Err(directive.fail_without_keepalive(cf, upstream));
        };

        policy.keepalive_timeout = timeout;
        let limit = policy.limit(policy.timeout);

        if timeout < limit && timeout != keepalive::DEFAULT_TIMEOUT {
            directive.warn_of_keepalive_timeout(cf, upstream, timeout, limit);
        }

        let wrapped = Wrapped::wrap(upstream, policy, max_cached, Some(init_peer));
        let wrapped = conf.wrapped.insert(wrapped);

        let limit = limit.min(timeout);
        ::log::info!("upstream \"{}\": idle connections are let go after {limit} ms", wrapped.name);

        main.upstreams.push(wrapped);
    }

    if !main.upstreams.is_empty() {
        headers::wrap(cf)?;
    }

    let module = IdleTimeoutModule::module();

    main.add_zone(cf, module, previous_conf(cf))
}

/// The configuration before the one that nginx reads.
fn previous_conf(cf: &ngx_conf_t) -> Option<&'static MainConf> {
    // SAFETY: nginx reads a configuration for a cycle, and keeps the one before until it is done.
    main_conf(unsafe { cf.cycle.as_ref()?.old_cycle.as_ref() }?)
}

/// Stands in for the `peer.init` of an upstream that the module looks after.
unsafe extern "C" fn init_peer(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: nginx passes the upstream, whose configuration lives as long as the worker.
    let conf = unsafe { us.as_ref() }.and_then(IdleTimeoutModule::server_conf);

    match conf.and_then(|conf| conf.wrapped.as_ref()) {
        // SAFETY: nginx passes the arguments, and it is the configuration of this upstream.
        Some(wrapped) => unsafe { callbacks::init_peer(wrapped, r, us) },
        None => NGX_ERROR as ngx_int_t,
    }
}

/// The upstream{} blocks of the configuration.
fn explicit_upstreams(
    cf: &ngx_conf_t,
) -> impl Iterator<Item = &'static mut ngx_http_upstream_srv_conf_t> {
    let array = NgxHttpUpstreamModule::main_conf(cf).map(|conf| &conf.upstreams);
    // SAFETY: it is nginx's array of pointers to upstreams, which lives as long as the configuration.
    let upstreams: &[*mut ngx_http_upstream_srv_conf_t] =
        array.map_or(&[], |array| unsafe { array::elements(array) });

    upstreams
        .iter()
        // SAFETY: each points to an upstream of its own, which lives as long as the configuration.
        .filter_map(|upstream| unsafe { upstream.as_mut() })
        .filter(|upstream| !upstream.srv_conf.is_null())
}

impl Directive {
    /// The directive that nginx is reading.
    fn here(cf: &ngx_conf_t, policy: Option<Policy>) -> Self {
        // SAFETY: nginx sets the file that it reads, for as long as it reads.
        match unsafe { cf.conf_file.as_ref() } {
            Some(file) => Self { policy, file: file.file.name, line: file.line },
            None => Self { policy, file: ngx_str_t::empty(), line: 0 },
        }
    }

    fn fail_without_keepalive(
        &self,
        cf: &ngx_conf_t,
        upstream: &ngx_http_upstream_srv_conf_t,
    ) -> Failed {
        let message = format_args!(
            "\"{DIRECTIVE}\" directive requires \"keepalive\" in upstream \"{}\"",
            upstream.host
        );
        self.log(NGX_LOG_EMERG, cf, message);

        Failed
    }

    fn warn_of_keepalive_timeout(
        &self,
        cf: &ngx_conf_t,
        upstream: &ngx_http_upstream_srv_conf_t,
        timeout: Msec,
        limit: Msec,
    ) {
        let message = format_args!(
            "\"keepalive_timeout\" of {timeout} ms in upstream \"{}\" \
             is shorter than the {limit} ms of \"{DIRECTIVE}\" directive",
            upstream.host
        );
        self.log(NGX_LOG_WARN, cf, message);
    }

    /// Logs a message about the place of the directive, which nginx has long passed by.
    fn log(&self, level: u32, cf: &ngx_conf_t, message: fmt::Arguments<'_>) {
        if let Some(log) = NonNull::new(cf.log) {
            // SAFETY: nginx sets the log of the configuration that it reads.
            unsafe {
                log::write(level, log, format_args!("{message} in {}:{}", self.file, self.line))
            };
        }
    }
}

/// Handles the directive.
unsafe extern "C" fn cmd_upstream_idle_timeout(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads.
    let cf = unsafe { &mut *cf };
    // SAFETY: `create_srv_conf` made the configuration of this level.
    let conf = unsafe { &mut *conf.cast::<ServerConf>() };

    match conf.set(cf) {
        Ok(()) => NGX_CONF_OK,
        Err(message) => message,
    }
}

impl ServerConf {
    /// Takes the directive that nginx has read; an error is what its handler returns.
    fn set(&mut self, cf: &mut ngx_conf_t) -> Result<(), *mut c_char> {
        if self.directive.is_some() {
            return Err(c"is duplicate".as_ptr().cast_mut());
        }

        let arguments: Vec<&[u8]> = cf::arguments(cf).iter().map(ngx_str_t::as_bytes).collect();

        match directive::parse(&arguments, parse_time) {
            Ok(policy) => {
                self.directive = Some(Directive::here(cf, policy));
                Ok(())
            }
            Err(error) => {
                let message = format_args!("{error} in \"{DIRECTIVE}\" directive");
                cf::log(NGX_LOG_EMERG, cf, message);
                Err(NGX_CONF_ERROR)
            }
        }
    }
}
