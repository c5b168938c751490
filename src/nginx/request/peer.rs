//! A request's way to a peer of an upstream, with the module around what nginx does there.
//!
//! `get` may turn down the connection that the keepalive module found, and nginx then connects to the peer that the
//! balancer has chosen. What becomes of the connection when the try is over stands in [`super::ended`].

use core::cell::Cell;
use core::ptr::{self, NonNull};

use nginx_sys::{
    ngx_buf_t, ngx_http_request_t, ngx_http_upstream_t, ngx_int_t, ngx_output_chain_ctx_t,
};

use super::again::By;
use super::seams::receiving::{may_be_http2, Receiving};
use super::seams::sending::Sending;
use super::tries::{has_header, Tries, Way};
use crate::nginx::api::peer_connection::{Original, PeerConnection};
use crate::nginx::api::{array, clock};
use crate::nginx::idle::record::Record;
use crate::nginx::memory::peer::Pinned;
use crate::nginx::memory::wrapped::Wrapped;
use crate::rules::outcome::{Close, Evidence};
use crate::rules::policy::{Msec, Verdict};
use crate::rules::protocol::keep_alive::KeepAlive;
use crate::rules::protocol::stream;

const NGX_OK: ngx_int_t = nginx_sys::NGX_OK as ngx_int_t;
const NGX_DONE: ngx_int_t = nginx_sys::NGX_DONE as ngx_int_t;

/// What stands in `peer.data`, and outlives the request's upstream: it lives as long as the request's pool. While nginx
/// chooses a peer it may look at the variables, and with them at this.
pub struct PeerData {
    pub(super) wrapped: &'static Wrapped,
    request: NonNull<ngx_http_request_t>,
    pub(super) upstream: NonNull<ngx_http_upstream_t>,
    pub(super) original: Original,
    pub(super) tries: Tries,
    /// When the current try began.
    pub(super) started: Cell<Msec>,
    /// Whether its request went out, as far as a connection; a TLS handshake comes before that.
    pub(super) sent: Cell<bool>,
    /// The peer that it went to, where the connection does not remember it.
    pub(super) peer: Cell<Option<Pinned>>,
    /// How much TLS had written to the connection before.
    pub(super) tls_written: Cell<Option<u64>>,
    /// What the response says about the connection.
    pub(super) told: Cell<KeepAlive>,
    /// Whether a reuse has failed.
    pub(super) bitten: Cell<bool>,
    /// Whether nginx has been told that the request was never sent, so that it may be sent again.
    pub(super) unsent: Cell<bool>,
    /// What is known of the request that nginx is to send again, if it would not do so by itself, and whose figure that is.
    pub(super) again: Cell<Option<(Evidence, Pinned)>>,
    sending: Sending,
    pub(super) receiving: Receiving,
}

impl PeerData {
    pub fn new(
        wrapped: &'static Wrapped,
        request: NonNull<ngx_http_request_t>,
        upstream: NonNull<ngx_http_upstream_t>,
        original: Original,
    ) -> Self {
        Self {
            wrapped,
            request,
            upstream,
            original,
            tries: Tries::none(),
            started: Cell::new(0),
            sent: Cell::new(false),
            peer: Cell::new(None),
            tls_written: Cell::new(None),
            told: Cell::new(KeepAlive::default()),
            bitten: Cell::new(false),
            unsent: Cell::new(false),
            again: Cell::new(None),
            sending: Sending::none(),
            receiving: Receiving::none(),
        }
    }

    pub fn request(&self) -> &ngx_http_request_t {
        // SAFETY: nginx destroys the request's pool, and with it this, while the request is there.
        unsafe { self.request.as_ref() }
    }

    pub fn upstream(&self) -> &ngx_http_upstream_t {
        // SAFETY: the upstream is in the request's pool, as this.
        unsafe { self.upstream.as_ref() }
    }

    pub fn tries(&self) -> &Tries {
        &self.tries
    }

    pub fn original(&self) -> &Original {
        &self.original
    }

    /// How much TLS had written to the connection before the try.
    pub fn tls_written(&self) -> Option<u64> {
        self.tls_written.get()
    }

    pub fn receiving(&self) -> &Receiving {
        &self.receiving
    }

    /// A cached connection is used only when the policy lets it.
    pub fn get(&self, pc: PeerConnection) -> ngx_int_t {
        let rc = self.original.get(pc);
        let now = clock::now();

        let connection = match rc {
            NGX_DONE => pc.connection(),
            NGX_OK => None,
            // what became of the try before is what becomes of the request
            _ => {
                self.tries.begin(self.request(), Way::Nowhere);
                self.sent.set(false);
                return rc;
            }
        };

        self.send_again();

        // a connection that is not remembered did not come by `free`: it is not ours to judge
        let Some(record) = connection.as_ref().and_then(Record::of) else {
            self.expect_fresh(now);
            return rc;
        };

        let by = self.repeated_by();

        if let Some(reason) = self.refusal(record, now, by) {
            pc.forget_connection();
            self.turn_down(record, reason, now);
            self.expect_fresh(now);

            return NGX_OK;
        }

        self.reuse(record, now, by);

        rc
    }

    /// Closes a connection that is not for the request, or keeps it to be watched.
    fn turn_down(&self, record: &Record, reason: Close, now: Msec) {
        let connection = record.connection();

        if reason == Close::Late && (record.is_watched() || record.begin_watch(now)) {
            return record.keep_from_request(now);
        }

        record.let_go(reason);
        connection.close();
    }

    /// Why a request may not be sent on the connection, if it may not.
    fn refusal(&self, record: &Record, now: Msec, by: By) -> Option<Close> {
        if record.is_watched() {
            return Some(Close::Late);
        }

        let connection = record.connection();

        let verdict = self.wrapped.policy.verdict(
            &record.update_idle(now),
            now,
            || by != By::Nobody && self.is_idempotent(),
            || self.is_covered(by, connection),
        );

        match verdict {
            Verdict::Close(reason) => Some(reason),
            // a request that had a failed reuse does not try its luck again
            _ if self.bitten.get() => Some(Close::Dead),
            Verdict::Probe => connection.is_dead().then_some(Close::Dead),
            Verdict::Reuse => None,
        }
    }

    fn reuse(&self, record: &Record, now: Msec, by: By) {
        let (idle, connection) = (record.idle(), record.connection());
        let (age, limit) = (idle.age(now), idle.limit());

        record.leave_cache();
        record.peer().counters.reuse(age);

        self.begin_try(now, Way::Reused { age, limit });
        self.sent.set(true);
        self.unsent.set(false);
        self.tls_written.set(connection.tls_written());

        if may_be_http2(self.upstream()) || self.waits_for_reset(by) {
            self.receiving.begin(connection);
        }
    }

    fn begin_try(&self, now: Msec, way: Way) {
        if !self.tries.begin(self.request(), way) {
            self.forget_try();
        }

        self.started.set(now);
    }

    #[cold]
    fn forget_try(&self) {
        self.sent.set(false);
        self.peer.set(None);
        self.told.set(KeepAlive::default());
    }

    fn expect_fresh(&self, now: Msec) {
        self.begin_try(now, Way::Fresh);
        self.sending.begin(self);
    }

    /// The request goes out on a fresh connection.
    pub fn sends(&self) {
        self.ends_sending();
        self.sent.set(true);
        self.unsent.set(false);
        self.count_repeat();
        self.make_first();

        // SAFETY: the peer connection is part of the upstream, and `self` does not outlive that.
        let pc =
            unsafe { PeerConnection::from_raw(ptr::addr_of_mut!((*self.upstream.as_ptr()).peer)) };

        if let Some(peer) = pc.name().and_then(|name| self.find_peer(name)) {
            peer.counters.connect();
            self.peer.set(Some(peer));
        }
    }

    /// Makes the request the first one of its connection, which matters in HTTP/2.
    fn make_first(&self) {
        if !may_be_http2(self.upstream()) {
            return;
        }

        if let Some(buffer) = self.request_header() {
            // SAFETY: it is in memory; nginx is about to send it, and does not read it meanwhile.
            stream::make_first(unsafe { array::between(buffer.pos, buffer.last) });
        }
    }

    /// What the header of the request is in: nginx has made the request before it chooses a peer.
    pub(super) fn request_header(&self) -> Option<&ngx_buf_t> {
        // SAFETY: the request is a chain of buffers in the request's pool, the first of which has the header.
        unsafe { self.upstream().request_bufs.as_ref()?.buf.as_ref() }
    }

    /// The request does not go out any more, if it has not.
    pub(super) fn ends_sending(&self) {
        self.sending.end(self.output());
    }

    /// nginx's way of sending the request.
    pub(super) fn output(&self) -> *mut ngx_output_chain_ctx_t {
        // SAFETY: it is part of the upstream, and `self` does not outlive that.
        unsafe { ptr::addr_of_mut!((*self.upstream.as_ptr()).output) }
    }

    /// Whether the backend speaks HTTP, and neither FastCGI nor gRPC nor another protocol.
    pub fn is_http(&self) -> bool {
        self.upstream().schema.as_bytes().starts_with(b"http")
    }

    /// The counters of the peer with this address.
    fn find_peer(&self, address: &[u8]) -> Option<Pinned> {
        Some(self.wrapped.shared.get()?.peer(address))
    }

    /// Takes in what the header of the response says about the connection.
    pub fn tell<T>(&self, header: &[u8], read: impl Fn(&mut KeepAlive, &[u8]) -> T) -> T {
        let mut told = self.told.get();
        let result = read(&mut told, header);

        self.told.set(told);

        result
    }

    pub(super) fn refuse_keepalive(&self) {
        // SAFETY: nginx lends its upstream for the time of the callback.
        unsafe { (*self.upstream.as_ptr()).set_keepalive(0) };
    }

    /// Whether the header of a response has come.
    pub(super) fn has_header(&self) -> bool {
        // SAFETY: the pointer is null, or to the state of the current try, in the request's pool.
        unsafe { self.upstream().state.as_ref() }.is_some_and(has_header)
    }
}
