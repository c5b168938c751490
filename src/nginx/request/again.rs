//! Sending a request again that nginx by itself would not repeat.
//!
//! nginx repeats a request elsewhere unless it was sent and is not idempotent, or its body is gone: see
//! `ngx_http_upstream_next()` in nginx's src/http/ngx_http_upstream.c. That it was sent is a bit of the upstream,
//! `request_sent`, which nginx looks at just after it has called `peer.free`. There the bit is taken away from a request
//! that was never received, and given back in `peer.get`, so that nginx makes the request ready anew: see
//! `ngx_http_upstream_connect()`. All else that keeps nginx from going on holds: the number of tries, their time, and
//! `proxy_next_upstream`.

use core::ffi::c_int;

use nginx_sys::{
    ngx_uint_t, NGX_HTTP_CONNECT, NGX_HTTP_LOCK, NGX_HTTP_PATCH, NGX_HTTP_POST,
    NGX_HTTP_UPSTREAM_FT_ERROR, NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT,
};

use super::peer::PeerData;
use crate::nginx::api::connection::Connection;
use crate::nginx::api::request;
use crate::nginx::memory::peer::Pinned;
use crate::rules::outcome::FailedReuse;
use crate::rules::repeat::Repeat;

/// A request of this size is one segment to whatever peer there is.
const ONE_SEGMENT: i64 = 1200;

/// By whom a request can be sent again once it was sent, as far as nginx and the configuration go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    Nobody,
    /// The module, where nothing has received it.
    Module,
    /// nginx by itself, be it that the configuration says so of a request that is not idempotent.
    Nginx,
}

impl PeerData {
    pub fn repeated_by(&self) -> By {
        const NON_IDEMPOTENT: ngx_uint_t = NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT as ngx_uint_t;

        let r = self.request();
        let next = self.next_upstream();

        if next & NGX_HTTP_UPSTREAM_FT_ERROR as ngx_uint_t == 0
            || r.method & NGX_HTTP_CONNECT as ngx_uint_t != 0
            || request::is_body_unbuffered(r)
        {
            By::Nobody
        } else if self.is_idempotent() || next & NON_IDEMPOTENT != 0 {
            By::Nginx
        } else if request::shares_body_in_file(r) {
            By::Nobody
        } else {
            By::Module
        }
    }

    /// Whether the request may be carried out twice.
    pub(super) fn is_idempotent(&self) -> bool {
        const NON_IDEMPOTENT: u32 = NGX_HTTP_POST | NGX_HTTP_LOCK | NGX_HTTP_PATCH;

        self.request().method & NON_IDEMPOTENT as ngx_uint_t == 0
    }

    fn next_upstream(&self) -> ngx_uint_t {
        // SAFETY: nginx sets the upstream's configuration before it chooses a peer.
        unsafe { self.upstream().conf.as_ref() }.map_or(0, |conf| conf.next_upstream)
    }

    /// Whether a reuse that fails for want of a look at the connection costs nobody anything.
    pub(super) fn is_covered(&self, by: By, connection: Connection) -> bool {
        match by {
            By::Nobody => false,
            By::Module => self.is_covered_by_module(connection),
            By::Nginx => true,
        }
    }

    /// It is where a FIN is enough for the module to send the request again: not every backend resets the connection when
    /// more comes, and not at once.
    #[cold]
    fn is_covered_by_module(&self, connection: Connection) -> bool {
        self.wrapped.policy.repeat >= Repeat::Closed
            && self.is_one_segment()
            && !self.is_unix()
            && (!connection.is_tls() || connection.tls_written().is_some())
    }

    /// Whether the peer is behind a unix socket, which tells nothing of what became of a request.
    fn is_unix(&self) -> bool {
        // SAFETY: the balancer has set the address of the peer that it has chosen.
        unsafe { self.upstream().peer.sockaddr.as_ref() }
            .is_some_and(|address| c_int::from(address.sa_family) == libc::AF_UNIX)
    }

    fn is_one_segment(&self) -> bool {
        let body = self.request().headers_in.content_length_n;

        let header = self.request_header();
        let header = header.map_or(0, |buf| (buf.last as i64).saturating_sub(buf.pos as i64));

        header.saturating_add(body.max(0)) <= ONE_SEGMENT
    }

    /// Whether it makes a difference for the request whether a FIN is followed by a reset.
    pub fn waits_for_reset(&self, by: By) -> bool {
        by == By::Module && self.wrapped.policy.repeat.waits_for_reset()
    }

    /// Whether a request is sent again that a GOAWAY has turned down.
    pub fn repeats_goaway(&self) -> bool {
        self.wrapped.policy.repeat == Repeat::Reused && self.repeated_by() != By::Nobody
    }

    /// A reuse has failed. Lets nginx send the request again where that is allowed; whether it is, or nginx does so by
    /// itself.
    pub(super) fn allow_again(&self, failed: FailedReuse, peer: &Pinned) -> bool {
        match self.repeated_by() {
            By::Nobody => return false,
            By::Nginx => return true,
            // it was never sent
            By::Module if self.upstream().request_sent() == 0 => return true,
            By::Module => {}
        }

        let again = self.wrapped.policy.repeat.allows(failed);

        if again {
            self.again.set(Some((failed.evidence, peer.clone())));
            self.unsent.set(true);
            self.set_request_sent(false);
        }

        again
    }

    /// The try is over without a request sent: what was never received before is so still.
    pub(super) fn is_still_unsent(&self) {
        if self.unsent.get() {
            self.set_request_sent(false);
        }
    }

    /// nginx tries again. It makes the request ready anew when that was sent before, which it was.
    pub(super) fn send_again(&self) {
        if self.unsent.get() {
            self.set_request_sent(true);
        }
    }

    /// The request goes out, perhaps once more.
    pub(super) fn count_repeat(&self) {
        if let Some((evidence, peer)) = self.again.take() {
            peer.counters.repeat(evidence);
        }
    }

    fn set_request_sent(&self, sent: bool) {
        // SAFETY: nginx lends its upstream for the time of a callback.
        unsafe { (*self.upstream.as_ptr()).set_request_sent(sent.into()) };
    }
}
