//! A request's way to a peer of an upstream, with the module around what nginx does there.
//!
//! `get` may turn down the connection that the keepalive module found, and nginx then connects to the peer that the
//! balancer has chosen. `free` sets the age at which a connection that goes to the cache is let go.

use core::cell::Cell;
use core::iter;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_http_request_t, ngx_http_upstream_state_t, ngx_http_upstream_t, ngx_int_t, ngx_list_t,
    ngx_table_elt_t, ngx_uint_t, NGX_HTTP_LOCK, NGX_HTTP_PATCH, NGX_HTTP_POST, NGX_PEER_FAILED,
    NGX_PEER_NEXT,
};

use super::connection::Connection;
use super::original::{Original, PeerConnection};
use super::peers::Pinned;
use super::record::{connection_outlives, Record};
use super::tries::Tries;
use super::upstream::Wrapped;
use super::{array, clock};
use crate::keep_alive::KeepAlive;
use crate::outcome::{Close, Failure};
use crate::policy::{idle_since, lower, Msec, Verdict};

const NGX_OK: ngx_int_t = nginx_sys::NGX_OK as ngx_int_t;
const NGX_DONE: ngx_int_t = nginx_sys::NGX_DONE as ngx_int_t;

const FAILED: ngx_uint_t = NGX_PEER_FAILED as ngx_uint_t;

const KEEP_ALIVE: &[u8] = b"keep-alive";
const KEEP_ALIVE_HASH: ngx_uint_t = hash(KEEP_ALIVE);

/// nginx's hash of the name of a header.
const fn hash(mut name: &[u8]) -> ngx_uint_t {
    let mut hash: ngx_uint_t = 0;

    while let [byte, rest @ ..] = name {
        hash = hash.wrapping_mul(31).wrapping_add(*byte as ngx_uint_t);
        name = rest;
    }

    hash
}

/// What stands in `peer.data`, and outlives the request's upstream: it lives as long as the request's pool. While nginx
/// chooses a peer it may look at the variables, and with them at this.
pub struct PeerData {
    wrapped: &'static Wrapped,
    request: NonNull<ngx_http_request_t>,
    original: Original,
    /// When the current try began.
    started: Cell<Msec>,
    /// The peer whose stale connection the last try was on.
    stale: Cell<Option<Pinned>>,
    tries: Tries,
}

impl PeerData {
    pub fn new(
        wrapped: &'static Wrapped,
        request: NonNull<ngx_http_request_t>,
        original: Original,
    ) -> Self {
        let (started, stale) = (Cell::new(0), Cell::new(None));

        Self { wrapped, request, original, started, stale, tries: Tries::none() }
    }

    pub fn request(&self) -> &ngx_http_request_t {
        // SAFETY: nginx destroys the request's pool, and with it this, while the request is there.
        unsafe { self.request.as_ref() }
    }

    pub fn tries(&self) -> &Tries {
        &self.tries
    }

    pub fn original(&self) -> &Original {
        &self.original
    }

    /// A cached connection is used only when the policy lets it.
    pub fn get(&self, pc: PeerConnection) -> ngx_int_t {
        let rc = self.original.get(pc);
        let now = clock::now();

        self.started.set(now);

        let connection = match rc {
            NGX_DONE => pc.connection(),
            NGX_OK => None,
            // there is no peer to try
            _ => {
                self.begin_try(None);
                return rc;
            }
        };

        let bitten = self.stale.take().is_some();

        // a connection that is not remembered did not come by `free`: it is not ours to judge
        let Some(record) = connection.as_ref().and_then(Record::of) else {
            self.begin_try(None);
            return rc;
        };

        let idle = record.idle();

        let refused = match self.wrapped.policy.verdict(&idle, now, self.is_idempotent()) {
            Verdict::Close(reason) => Some(reason),
            // a request that has met a stale connection does not try its luck again
            _ if bitten => Some(Close::Dead),
            Verdict::Probe => record.connection().is_dead().then_some(Close::Dead),
            Verdict::Reuse => None,
        };

        if let Some(reason) = refused {
            let connection = record.connection();

            pc.forget_connection();
            record.let_go(reason);
            connection.close();
            self.begin_try(None);

            return NGX_OK;
        }

        let age = idle.age(now);

        record.leave_cache();
        record.peer().counters.reuse(age);
        self.begin_try(Some(age));

        rc
    }

    /// A connection that goes to the cache is let go in time, and one that has no time left does not go there.
    pub fn free(&self, pc: PeerConnection, state: ngx_uint_t) {
        let Some(connection) = pc.connection().filter(|c| self.is_established(*c)) else {
            return self.original.free(pc, state);
        };

        let record = Record::of(&connection);
        let peer = self.end_try(pc, connection, record, state);

        if self.tries.current().failure.is_some_and(Failure::is_stale) {
            return self.free_stale(pc, connection, state);
        }

        // otherwise the keepalive module does not take it
        let keepalive = self.upstream().keepalive() != 0 && state & FAILED == 0;

        if !keepalive || record.is_none() && peer.is_none() {
            return self.original.free(pc, state);
        }

        // with timer_resolution, nginx's time may be from before the try
        let now = clock::event_time().max(self.started.get());
        let since = idle_since(self.started.get(), now, || connection.last_data());
        let idle = self.wrapped.policy.idle(since, self.hint(record));

        let record = match record {
            Some(record) => {
                record.set_idle(idle);
                Some(record)
            }
            None => peer.and_then(|peer| Record::attach(&connection, peer, idle)),
        };

        let Some(record) = record.filter(|_| idle.deadline() > now) else {
            self.refuse_keepalive();
            return self.original.free(pc, state);
        };

        // it may be closed inside, when the socket has become readable
        let open = connection_outlives(connection, || self.original.free(pc, state));

        if open && pc.connection().is_none() && connection.is_idle() {
            record.enter_cache(self.wrapped.policy.expiry(&idle));
        }
    }

    /// A stale reuse is no failure of the server, which has but kept to its timeout. The balancer is told what it is
    /// told of a 403 or 404 that goes to the next server.
    fn free_stale(&self, pc: PeerConnection, connection: Connection, state: ngx_uint_t) {
        if self.wrapped.policy.fails {
            return self.original.free(pc, state);
        }

        // without the failure, the keepalive module could take the connection for a good one
        connection.refuse();
        self.original.free(pc, NGX_PEER_NEXT as ngx_uint_t);
    }

    /// What the backend has said about the connection, now in the headers of its response or before.
    fn hint(&self, record: Option<&Record>) -> Option<Msec> {
        if !self.wrapped.policy.hint {
            return None;
        }

        let mut keep_alive = KeepAlive::default();

        for header in headers(&self.upstream().headers_in.headers) {
            if header.hash == KEEP_ALIVE_HASH && lowcase_key(header) == KEEP_ALIVE {
                keep_alive.read(header.value.as_bytes());
            }
        }

        lower(keep_alive.hint(), record.and_then(|record| record.idle().hint()))
    }

    /// Whether nginx would repeat the request elsewhere once it was sent.
    fn is_idempotent(&self) -> bool {
        const NON_IDEMPOTENT: u32 = NGX_HTTP_POST | NGX_HTTP_LOCK | NGX_HTTP_PATCH;

        self.request().method & NON_IDEMPOTENT as ngx_uint_t == 0
    }

    fn begin_try(&self, idle: Option<Msec>) {
        self.tries.begin(self.request(), idle);
    }

    /// Whether the try got as far as a connection; a TLS handshake comes after that.
    fn is_established(&self, connection: Connection) -> bool {
        self.tries.current().idle().is_some()
            || self.upstream().request_sent() != 0
            || connection.is_tls()
    }

    /// Counts the try that is over, and tells the peer that it was on if the connection does not remember it.
    fn end_try(
        &self,
        pc: PeerConnection,
        connection: Connection,
        record: Option<&Record>,
        state: ngx_uint_t,
    ) -> Option<Pinned> {
        let Some(age) = self.tries.current().idle() else {
            let peer = self.peer(pc.name()?)?;
            peer.counters.connect();
            return Some(peer);
        };

        let record = record?;

        if state & FAILED != 0 && !self.has_response() {
            if let Some(kind) = connection.seen().failure() {
                self.fail(pc, record, kind, age);
            }
        }

        None
    }

    #[cold]
    fn fail(&self, pc: PeerConnection, record: &Record, kind: Failure, age: Msec) {
        let peer = record.peer();

        peer.counters.failure(kind, age);
        self.tries.set_failure(kind);

        if kind.is_stale() {
            self.stale.set(Some(peer.clone()));
        }

        let kind = kind.name();

        match self.wrapped.policy.timeout(record.idle().hint()) {
            Some(timeout) => pc.warn(format_args!(
                "reused connection to {peer} failed: {kind}, it had been idle for {age} ms, \
                 timeout {timeout} ms, margin {} ms",
                self.wrapped.policy.margin_of(timeout)
            )),
            None => pc.warn(format_args!(
                "reused connection to {peer} failed: {kind}, it had been idle for {age} ms, \
                 timeout unknown"
            )),
        }
    }

    /// The counters of the peer with this address.
    fn peer(&self, address: &[u8]) -> Option<Pinned> {
        Some(self.wrapped.shared.get()?.peer(address))
    }

    /// Whether the request has not gone on to another upstream, which nginx marks with a state that has no peer.
    fn is_last_upstream(&self) -> bool {
        // SAFETY: the pointer is null, or to an array of states in the request's pool.
        let states: &[ngx_http_upstream_state_t] =
            unsafe { array::elements(self.request().upstream_states) };

        let last = self.tries.current().state();

        states.iter().skip(last.saturating_add(1)).all(|state| !state.peer.is_null())
    }

    fn upstream(&self) -> &ngx_http_upstream_t {
        // SAFETY: nginx runs the callbacks while this upstream is the request's.
        unsafe { &*self.request().upstream }
    }

    /// Whether a byte of the response has come.
    fn has_response(&self) -> bool {
        // SAFETY: the pointer is null, or to the state of the current try, in the request's pool.
        unsafe { self.upstream().state.as_ref() }.is_some_and(|state| state.bytes_received > 0)
    }

    fn refuse_keepalive(&self) {
        // SAFETY: as above.
        unsafe { &mut *self.request().upstream }.set_keepalive(0);
    }

    /// The client's request is over.
    pub fn request_done(&self) {
        let Some(peer) = self.stale.take().filter(|_| self.is_last_upstream()) else {
            return;
        };

        // SAFETY: a subrequest is in the pool of its main request.
        let main = unsafe { &*self.request().main };

        let status = match main.err_status {
            0 => main.headers_out.status,
            status => status,
        };

        if status >= 400 {
            peer.counters.failed_request();
        }
    }
}

/// The headers of a response.
fn headers(list: &ngx_list_t) -> impl Iterator<Item = &ngx_table_elt_t> {
    // SAFETY: the parts of the list are in the request's pool, the last of them has no next.
    iter::successors(Some(&list.part), |part| unsafe { part.next.as_ref() })
        // SAFETY: a part holds as many elements as it says.
        .flat_map(|part| unsafe { array::from_raw(part.elts.cast(), part.nelts) })
}

/// The name of a header in lower case.
fn lowcase_key(header: &ngx_table_elt_t) -> &[u8] {
    if header.lowcase_key.is_null() {
        return &[];
    }

    // SAFETY: nginx sets it to as many bytes as the name has.
    unsafe { array::from_raw(header.lowcase_key, header.key.len) }
}
