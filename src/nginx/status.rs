//! The status handler, and its directive.

use core::ffi::{c_char, c_void};
use core::fmt::{self, Write};
use core::ptr::{self, NonNull};
use core::slice;
use std::vec::Vec;

use libc::off_t;
use nginx_sys::{
    ngx_alloc_chain_link, ngx_buf_t, ngx_chain_t, ngx_command_t, ngx_conf_t, ngx_create_temp_buf,
    ngx_http_discard_request_body, ngx_http_output_filter, ngx_http_request_t,
    ngx_http_send_header, ngx_int_t, ngx_pnalloc, ngx_pool_t, ngx_str_t, ngx_uint_t, NGX_ERROR,
    NGX_HTTP_GET, NGX_HTTP_HEAD, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_NOT_ALLOWED, NGX_HTTP_OK,
    NGX_LOG_EMERG, NGX_OK,
};
use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};
use ngx::http::{
    HttpModuleLocationConf, HttpModuleMainConf, Merge, MergeConfigError, NgxHttpCoreModule,
};

use crate::figures::status::{Format, Peer, Upstream};
use crate::nginx::api::{cf, clock, request};
use crate::nginx::memory::zone::MainConf;
use crate::nginx::module::IdleTimeoutModule;

const DIRECTIVE: &str = "upstream_idle_status";

/// How much of the status goes to one buffer.
const BUFFER_SIZE: usize = 16 * 1024;

/// The configuration of a location.
#[derive(Default)]
pub struct LocationConf {
    format: Option<Format>,
}

impl Merge for LocationConf {
    /// A block `if` in the location has a configuration of its own, and the same handler.
    fn merge(&mut self, prev: &Self) -> Result<(), MergeConfigError> {
        self.format = self.format.or(prev.format);

        Ok(())
    }
}

/// The body of a response, in as many buffers as it takes.
struct Body {
    pool: *mut ngx_pool_t,
    first: *mut ngx_chain_t,
    last: Option<NonNull<ngx_chain_t>>,
    len: usize,
}

impl Body {
    fn new(pool: *mut ngx_pool_t) -> Self {
        Self { pool, first: ptr::null_mut(), last: None, len: 0 }
    }

    /// The buffer that is written to; a new one when there is no room in it.
    fn buffer(&mut self) -> Option<&mut ngx_buf_t> {
        // SAFETY: the links and their buffers are in the pool of the request, for this body alone.
        if let Some(buffer) = self.last.and_then(|link| unsafe { link.as_ref().buf.as_mut() }) {
            if buffer.last < buffer.end {
                return Some(buffer);
            }
        }

        // SAFETY: the pool is that of the request.
        let mut link = NonNull::new(unsafe { ngx_alloc_chain_link(self.pool) })?;
        // SAFETY: as above.
        let mut buffer = NonNull::new(unsafe { ngx_create_temp_buf(self.pool, BUFFER_SIZE) })?;

        // SAFETY: nginx has just made the link.
        *unsafe { link.as_mut() } = ngx_chain_t { buf: buffer.as_ptr(), next: ptr::null_mut() };

        match self.last.replace(link) {
            // SAFETY: the links and their buffers are in the pool of the request, for this body alone.
            Some(mut last) => unsafe { last.as_mut() }.next = link.as_ptr(),
            None => self.first = link.as_ptr(),
        }

        // SAFETY: nginx has just made the buffer.
        Some(unsafe { buffer.as_mut() })
    }

    /// The chain of buffers, ready to be sent; none of them is empty. A subrequest does not end the response.
    fn finish(self, is_main: bool) -> Option<&'static mut ngx_chain_t> {
        // SAFETY: the links and their buffers are in the pool of the request, for this body alone.
        let buffer = unsafe { self.last?.as_ref().buf.as_mut() }?;

        buffer.set_last_buf(is_main.into());
        buffer.set_last_in_chain(1);

        // SAFETY: the links are in the pool of the request.
        unsafe { self.first.as_mut() }
    }
}

impl Write for Body {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let mut rest = s.as_bytes();

        while !rest.is_empty() {
            let buffer = self.buffer().ok_or(fmt::Error)?;
            let room = (buffer.end as usize).saturating_sub(buffer.last as usize);
            let (now, later) = rest.split_at(rest.len().min(room));

            // SAFETY: there is room for as many bytes, in memory of this body alone.
            unsafe { ptr::copy_nonoverlapping(now.as_ptr(), buffer.last, now.len()) };
            // SAFETY: as above.
            buffer.last = unsafe { buffer.last.add(now.len()) };

            rest = later;
        }

        self.len = self.len.saturating_add(s.len());

        Ok(())
    }
}

/// Takes the figures of all upstreams; none when there is no memory for them. A peer may get another name meanwhile, so
/// the names are copied.
fn snapshot<'a>(conf: &MainConf, r: &'a ngx_http_request_t) -> Option<Vec<Upstream<'a>>> {
    let mut upstreams = Vec::new();

    upstreams.try_reserve_exact(conf.upstreams.len()).ok()?;

    if let Some(header) = conf.header() {
        header.forget_dead_workers();
    }

    for wrapped in &conf.upstreams {
        let mut peers = Vec::new();

        if let Some(upstream) = wrapped.shared.get() {
            upstream.each_peer(|peer| {
                let (figures, learned) = (peer.snapshot(), peer.learned.shown(clock::now()));

                peers.try_reserve(1).ok()?;
                peers.push(Peer { address: copy(r, peer.name())?, figures, learned });

                Some(())
            })?;
        }

        upstreams.push(Upstream {
            name: wrapped.name.as_bytes(),
            timeout: wrapped.policy.timeout,
            margin: wrapped.policy.margin(),
            peers,
        });
    }

    Some(upstreams)
}

/// A copy in the pool of the request.
fn copy<'a>(r: &'a ngx_http_request_t, bytes: &[u8]) -> Option<&'a [u8]> {
    // SAFETY: the pool is that of the request.
    let memory = unsafe { ngx_pnalloc(r.pool, bytes.len()) }.cast::<u8>();

    if memory.is_null() {
        return None;
    }

    // SAFETY: nginx has just allocated as many bytes.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), memory, bytes.len()) };
    // SAFETY: as above; they live as long as the request.
    Some(unsafe { slice::from_raw_parts(memory, bytes.len()) })
}

/// Answers a request for the status; an error is the status code of another response.
fn respond(r: &mut ngx_http_request_t) -> Result<ngx_int_t, u32> {
    const OK: ngx_int_t = NGX_OK as ngx_int_t;
    const ERROR: ngx_int_t = NGX_ERROR as ngx_int_t;

    if r.method & (NGX_HTTP_GET | NGX_HTTP_HEAD) as ngx_uint_t == 0 {
        return Err(NGX_HTTP_NOT_ALLOWED);
    }

    // SAFETY: nginx passes the request to its content handler.
    let rc = unsafe { ngx_http_discard_request_body(r) };

    if rc != OK {
        return Ok(rc);
    }

    let (format, len, chain) = body(r).ok_or(NGX_HTTP_INTERNAL_SERVER_ERROR)?;

    r.headers_out.status = NGX_HTTP_OK as ngx_uint_t;
    r.headers_out.content_length_n =
        off_t::try_from(len).or(Err(NGX_HTTP_INTERNAL_SERVER_ERROR))?;
    set_content_type(r, format);

    // SAFETY: as above.
    let rc = unsafe { ngx_http_send_header(r) };

    // NGX_AGAIN: the header waits for the client, and the body joins it
    if rc == ERROR || rc > OK || request::is_header_only(r) {
        return Ok(rc);
    }

    // SAFETY: as above; the chain is in the pool of the request.
    Ok(unsafe { ngx_http_output_filter(r, chain) })
}

fn body(r: &ngx_http_request_t) -> Option<(Format, usize, &'static mut ngx_chain_t)> {
    let format = IdleTimeoutModule::location_conf(r)?.format?;
    let upstreams = snapshot(IdleTimeoutModule::main_conf(r)?, r)?;
    let mut body = Body::new(r.pool);

    format.write(&mut body, &upstreams).ok()?;

    Some((format, body.len, body.finish(ptr::eq(r, r.main))?))
}

/// Sets the type as nginx does for a response of an upstream: its length is without parameters, for such as
/// `gzip_types`, and the charset tells what not to recode. A response that led to this one may have left others.
fn set_content_type(r: &mut ngx_http_request_t, format: Format) {
    let text = format.content_type();
    let (name, _) = text.split_once(';').unwrap_or((text, ""));
    let (_, charset) = text.split_once("charset=").unwrap_or((text, ""));

    r.headers_out.content_type = ngx_str(text);
    r.headers_out.content_type_len = name.len();
    r.headers_out.content_type_lowcase = ptr::null_mut();
    r.headers_out.charset = ngx_str(charset);
}

fn ngx_str(text: &'static str) -> ngx_str_t {
    ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() }
}

unsafe extern "C" fn handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes the request to its content handler.
    match respond(unsafe { &mut *r }) {
        Ok(rc) => rc,
        Err(status) => status as ngx_int_t,
    }
}

/// Handles the directive `upstream_idle_status`.
pub unsafe extern "C" fn cmd_upstream_idle_status(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads.
    let cf = unsafe { &mut *cf };
    // SAFETY: `create_loc_conf` made the configuration of this level.
    let conf = unsafe { &mut *conf.cast::<LocationConf>() };

    if conf.format.is_some() {
        return c"is duplicate".as_ptr().cast_mut();
    }

    conf.format = match cf::arguments(cf) {
        [] => Some(Format::Json),
        [value] if value.as_bytes() == b"json" => Some(Format::Json),
        [value] if value.as_bytes() == b"prometheus" => Some(Format::Prometheus),
        [value, ..] => {
            let message = format_args!("invalid value \"{value}\" in \"{DIRECTIVE}\" directive");
            cf::log(NGX_LOG_EMERG, cf, message);

            return NGX_CONF_ERROR;
        }
    };

    if let Some(location) = NgxHttpCoreModule::location_conf_mut(cf) {
        location.handler = Some(handler);
    }

    NGX_CONF_OK
}
