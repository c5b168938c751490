//! The moment at which a request goes out on a fresh connection.
//!
//! nginx tells nobody. So the filter that sends a request stands behind one of the module's until it is first used: see
//! `ngx_http_upstream_send_request_body()` in nginx's src/http/ngx_http_upstream.c.

use core::cell::Cell;
use core::ffi::c_void;
use core::ptr;

use nginx_sys::{
    ngx_chain_t, ngx_int_t, ngx_output_chain_ctx_t, ngx_output_chain_filter_pt, NGX_ERROR,
};

use crate::nginx::api::pool::{value_at, OfRequest};
use crate::nginx::request::peer::PeerData;

/// The filter that is wrapped, with its context; no filter when none is.
pub struct Sending {
    filter: Cell<ngx_output_chain_filter_pt>,
    context: Cell<*mut c_void>,
}

impl Sending {
    pub fn none() -> Self {
        Self { filter: Cell::new(None), context: Cell::new(ptr::null_mut()) }
    }

    /// Has `PeerData::sends` called when the request goes out.
    pub fn begin(&self, data: &PeerData) {
        let output = data.output();

        // SAFETY: nginx does not send while it chooses a peer.
        unsafe {
            if (*output).output_filter.is_none() || self.filter.get().is_some() {
                return;
            }

            self.filter.set((*output).output_filter.replace(send));
            self.context.set((*output).filter_ctx);
            (*output).filter_ctx = ptr::from_ref(data).cast_mut().cast();
        }
    }

    /// Puts nginx's filter in its place again.
    pub fn end(&self, output: *mut ngx_output_chain_ctx_t) {
        let Some(filter) = self.filter.take() else {
            return;
        };

        // SAFETY: the output is that of `begin`, and nginx is not sending.
        unsafe {
            (*output).output_filter = Some(filter);
            (*output).filter_ctx = self.context.get();
        }
    }
}

/// nginx sends the first part of a request.
unsafe extern "C" fn send(context: *mut c_void, chain: *mut ngx_chain_t) -> ngx_int_t {
    // SAFETY: nginx passes the context that `begin` set beside this.
    let data = unsafe { value_at::<OfRequest, PeerData>(context) };

    data.sends();

    // SAFETY: `sends` has put nginx's filter and its context in their places.
    let (filter, context) =
        unsafe { ((*data.output()).output_filter, (*data.output()).filter_ctx) };

    match filter {
        // SAFETY: the filter is called as nginx would.
        Some(filter) => unsafe { filter(context, chain) },
        None => NGX_ERROR as ngx_int_t,
    }
}
