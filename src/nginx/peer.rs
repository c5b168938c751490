//! A request's way to a peer of an upstream, with the module around what nginx does there.
//!
//! Every callback calls the one that it wraps. `get` may turn down the connection that the keepalive module found, and
//! nginx then connects to the peer that the balancer has chosen. `free` sets the age at which a cached connection goes.

use core::ffi::c_void;
use core::iter;
use core::mem;
use core::ptr::{self, NonNull};

use nginx_sys::{
    ngx_event_free_peer_pt, ngx_event_get_peer_pt, ngx_event_notify_peer_pt, ngx_http_request_t,
    ngx_http_upstream_srv_conf_t, ngx_http_upstream_t, ngx_int_t, ngx_palloc,
    ngx_peer_connection_t, ngx_pool_cleanup_add, ngx_uint_t, NGX_DONE, NGX_ERROR, NGX_HTTP_LOCK,
    NGX_HTTP_PATCH, NGX_HTTP_POST, NGX_LOG_WARN, NGX_OK, NGX_PEER_FAILED, NGX_PEER_NEXT,
};
#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
use nginx_sys::{ngx_event_save_peer_session_pt, ngx_event_set_peer_session_pt};
use ngx::http::{list_iterator, HttpModuleServerConf};

use super::conf::Wrapped;
use super::connection::Connection;
use super::shared::Peer;
use super::{clock, log, shared, IdleTimeoutModule};
use crate::counters::{Close, Failure};
use crate::keep_alive::KeepAlive;
use crate::policy::{lower, Idle, Msec, Policy, Verdict};

/// What stands in `peer.data`, and outlives the request's upstream: it lives in the request's pool.
struct PeerData {
    policy: &'static Policy,
    shared: &'static shared::Upstream,
    request: NonNull<ngx_http_request_t>,
    upstream: NonNull<ngx_http_upstream_t>,
    original: Original,
    /// When the current try began.
    started: Msec,
    /// The peer whose stale connection the last try was on.
    stale: Option<&'static Peer>,
    /// The last try, from which the ones before are found.
    last: *mut Try,
    /// The memory of the first one: most requests have no other.
    first: mem::MaybeUninit<Try>,
}

/// One of a request's tries to get a response.
pub struct Try {
    /// The number of its state in `r->upstream_states`.
    pub state: usize,
    /// For how long the connection had been idle; none for a fresh one.
    pub idle: Option<Msec>,
    pub failure: Option<Failure>,
    before: *mut Try,
}

/// The callbacks that are wrapped, and their data.
struct Original {
    data: *mut c_void,
    get: ngx_event_get_peer_pt,
    free: ngx_event_free_peer_pt,
    notify: ngx_event_notify_peer_pt,
    #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
    set_session: ngx_event_set_peer_session_pt,
    #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
    save_session: ngx_event_save_peer_session_pt,
}

/// nginx's side of the way to a peer: what was asked for, and what was found.
#[derive(Clone, Copy)]
struct PeerConnection(NonNull<ngx_peer_connection_t>);

impl PeerData {
    /// A cached connection is used only when the policy lets it.
    fn get(&mut self, pc: PeerConnection) -> ngx_int_t {
        let rc = self.original.get(pc);
        let now = clock::now();

        self.started = now;
        self.stale = None;

        let cached = if rc == NGX_DONE as ngx_int_t { pc.connection() } else { None };

        // a connection that is not remembered did not come by `free`: it is not ours to judge
        let Some((connection, (idle, peer))) = cached.and_then(|c| Some((c, c.remembered()?)))
        else {
            self.begin_try(None);
            return rc;
        };

        let refused = match self.policy.verdict(idle, now, self.is_idempotent()) {
            Verdict::Reuse => None,
            Verdict::Probe => connection.is_dead().then_some(Close::Dead),
            Verdict::Close(reason) => Some(reason),
        };

        if let Some(reason) = refused {
            pc.forget_connection();
            connection.close(reason);
            self.begin_try(None);

            return NGX_OK as ngx_int_t;
        }

        let age = idle.age(now);

        connection.leave_cache();
        peer.counters.reuse(age);
        self.begin_try(Some(age));

        rc
    }

    /// A connection that goes to the cache is let go in time, and one that has no time left does not go there.
    fn free(&mut self, pc: PeerConnection, state: ngx_uint_t) {
        let Some((connection, peer)) = self.end_try(pc, state) else {
            return self.original.free(pc, state);
        };

        if self.stale.is_some() {
            return self.free_stale(pc, connection, state);
        }

        // otherwise the keepalive module does not take it
        if self.upstream().keepalive() == 0 || state & NGX_PEER_FAILED as ngx_uint_t != 0 {
            return self.original.free(pc, state);
        }

        let now = clock::now();
        let hint = lower(self.hint(), connection.remembered().and_then(|(idle, _)| idle.hint()));
        let idle = Idle::begin(self.started, now, hint, || connection.last_data());
        let remaining = self.policy.remaining(idle, now);

        if remaining == 0 || !connection.remember(idle, peer) {
            self.refuse_keepalive();
            return self.original.free(pc, state);
        }

        // it may be closed inside, when the socket has become readable
        let open = connection.outlives(|| self.original.free(pc, state));

        if open && pc.connection().is_none() && connection.is_idle() {
            let reason = match self.policy.timeout_of(idle) {
                Some(_) => Close::Margin,
                None => Close::Keepalive,
            };

            connection.enter_cache(remaining, reason);
        }
    }

    /// A stale reuse is no failure of the server, which has but kept to its timeout. The balancer is told what it is
    /// told of a 403 or 404 that goes to the next server.
    fn free_stale(&self, pc: PeerConnection, connection: Connection, state: ngx_uint_t) {
        if self.policy.fails {
            return self.original.free(pc, state);
        }

        // without the failure, the keepalive module could take the connection for a good one
        connection.refuse();
        self.original.free(pc, NGX_PEER_NEXT as ngx_uint_t);
    }

    /// What the backend says about the connection in the headers of its response.
    fn hint(&self) -> Option<Msec> {
        if !self.policy.hint {
            return None;
        }

        let mut keep_alive = KeepAlive::default();

        // SAFETY: the list is that of the request's upstream, which nginx fills before it frees the peer.
        for (name, value) in unsafe { list_iterator(&self.upstream().headers_in.headers) } {
            if name.as_bytes().eq_ignore_ascii_case(b"Keep-Alive") {
                keep_alive.read(value.as_bytes());
            }
        }

        keep_alive.hint()
    }

    /// Whether nginx would repeat the request elsewhere once it was sent.
    fn is_idempotent(&self) -> bool {
        const NON_IDEMPOTENT: u32 = NGX_HTTP_POST | NGX_HTTP_LOCK | NGX_HTTP_PATCH;

        // SAFETY: the request is not over before the peer is freed.
        let method = unsafe { self.request.as_ref() }.method;

        method & NON_IDEMPOTENT as ngx_uint_t == 0
    }

    /// Notes a try on a connection that had been idle for so long, or on a fresh one.
    fn begin_try(&mut self, idle: Option<Msec>) {
        // SAFETY: the request is not over before the peer is freed.
        let request = unsafe { self.request.as_ref() };
        // SAFETY: nginx has pushed the state of this try to the array.
        let states = unsafe { request.upstream_states.as_ref() }.map_or(0, |states| states.nelts);

        let memory = if self.last.is_null() {
            self.first.as_mut_ptr()
        } else {
            // SAFETY: the request's pool is valid; the memory is aligned as every allocation in a pool.
            unsafe { ngx_palloc(request.pool, mem::size_of::<Try>()) }.cast()
        };

        let before = self.last;
        let this = Try { state: states.saturating_sub(1), idle, failure: None, before };

        if let Some(memory) = NonNull::new(memory) {
            // SAFETY: the memory is for a try.
            unsafe { memory.write(this) };
            self.last = memory.as_ptr();
        }
    }

    /// Counts the try that is over; tells on which connection it was, and to which peer, if it got one.
    fn end_try(
        &mut self,
        pc: PeerConnection,
        state: ngx_uint_t,
    ) -> Option<(Connection, &'static Peer)> {
        let connection = pc.connection()?;

        // SAFETY: the pointer is null, or to a try in the request's pool.
        let Some(age) = unsafe { self.last.as_ref() }?.idle else {
            // a TLS handshake, too, comes after the connection
            if self.upstream().request_sent() == 0 && !connection.is_tls() {
                return None;
            }

            let peer = self.peer(pc.name()?);
            peer.counters.connect();
            return Some((connection, peer));
        };

        let (idle, peer) = connection.remembered()?;
        let failed = state & NGX_PEER_FAILED as ngx_uint_t != 0;

        if failed && self.upstream().response_received() == 0 {
            if let Some(kind) = connection.seen().failure() {
                self.fail(pc, peer, kind, age, self.policy.timeout_of(idle));
            }
        }

        Some((connection, peer))
    }

    #[cold]
    fn fail(
        &mut self,
        pc: PeerConnection,
        peer: &'static Peer,
        kind: Failure,
        age: Msec,
        timeout: Option<Msec>,
    ) {
        peer.counters.failure(kind, age);

        // SAFETY: the pointer is null, or to a try in the request's pool.
        if let Some(last) = unsafe { self.last.as_mut() } {
            last.failure = Some(kind);
        }

        if kind.is_stale() {
            self.stale = Some(peer);
        }

        let kind = kind.name();

        match timeout {
            Some(timeout) => pc.log(format_args!(
                "reused connection to {peer} failed: {kind}, after {age} ms of idleness, \
                 timeout {timeout} ms, margin {} ms",
                self.policy.margin_of(timeout)
            )),
            None => pc.log(format_args!(
                "reused connection to {peer} failed: {kind}, after {age} ms of idleness, \
                 timeout unknown"
            )),
        }
    }

    /// The counters of the peer with this address.
    fn peer(&self, address: &[u8]) -> &'static Peer {
        let peer = self.shared.peer(address);

        if self.shared.overflows(peer) {
            ::log::warn!(
                "upstream \"{}\" has had too many peers to count each, the others count as one",
                self.shared
            );
        }

        peer
    }

    fn upstream(&self) -> &ngx_http_upstream_t {
        // SAFETY: the upstream is the request's, which is not over before the peer is freed.
        unsafe { self.upstream.as_ref() }
    }

    fn refuse_keepalive(&mut self) {
        // SAFETY: the upstream is the request's, which is not over before the peer is freed.
        unsafe { self.upstream.as_mut() }.set_keepalive(0);
    }

    /// The client's request is over.
    fn request_done(&self) {
        let Some(peer) = self.stale else {
            return;
        };

        // SAFETY: the request is freed after the cleanups of its pool; a subrequest has the pool of its main request.
        let main = unsafe { &*self.request.as_ref().main };

        let status = match main.err_status {
            0 => main.headers_out.status,
            status => status,
        };

        if status >= 400 {
            peer.counters.failed_request();
        }
    }
}

impl Original {
    fn get(&self, pc: PeerConnection) -> ngx_int_t {
        match self.get {
            // SAFETY: the callback is called as nginx would, with the data that was beside it.
            Some(get) => unsafe { get(pc.0.as_ptr(), self.data) },
            None => NGX_ERROR as ngx_int_t,
        }
    }

    fn free(&self, pc: PeerConnection, state: ngx_uint_t) {
        if let Some(free) = self.free {
            // SAFETY: the callback is called as nginx would, with the data that was beside it.
            unsafe { free(pc.0.as_ptr(), self.data, state) };
        }
    }

    fn notify(&self, pc: PeerConnection, kind: ngx_uint_t) {
        if let Some(notify) = self.notify {
            // SAFETY: the callback is called as nginx would, with the data that was beside it.
            unsafe { notify(pc.0.as_ptr(), self.data, kind) };
        }
    }

    #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
    fn set_session(&self, pc: PeerConnection) -> ngx_int_t {
        match self.set_session {
            // SAFETY: the callback is called as nginx would, with the data that was beside it.
            Some(set_session) => unsafe { set_session(pc.0.as_ptr(), self.data) },
            None => NGX_OK as ngx_int_t,
        }
    }

    #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
    fn save_session(&self, pc: PeerConnection) {
        if let Some(save_session) = self.save_session {
            // SAFETY: the callback is called as nginx would, with the data that was beside it.
            unsafe { save_session(pc.0.as_ptr(), self.data) };
        }
    }
}

impl PeerConnection {
    fn connection(self) -> Option<Connection> {
        // SAFETY: nginx keeps here an open connection or null, and the value is used within one callback.
        unsafe { Connection::from_raw(self.0.as_ref().connection) }
    }

    /// Leaves nginx with a peer to connect to.
    fn forget_connection(mut self) {
        // SAFETY: nginx lends the structure for the time of the callback.
        let pc = unsafe { self.0.as_mut() };

        pc.connection = ptr::null_mut();
        pc.set_cached(0);
    }

    /// The address of the peer.
    fn name(self) -> Option<&'static [u8]> {
        // SAFETY: the balancer has set the name, which it keeps until the peer is freed.
        unsafe { self.0.as_ref().name.as_ref() }.map(|name| name.as_bytes())
    }

    fn log(self, message: core::fmt::Arguments<'_>) {
        // SAFETY: nginx sets the log of a peer connection to the request's.
        if let Some(log) = NonNull::new(unsafe { self.0.as_ref() }.log) {
            // SAFETY: as above.
            unsafe { log::write(NGX_LOG_WARN, log, message) };
        }
    }
}

/// Puts the module's callbacks around those that the balancer and the keepalive module have set for the request.
fn wrap(
    policy: &'static Policy,
    shared: &'static shared::Upstream,
    r: &mut ngx_http_request_t,
) -> Option<()> {
    let request = NonNull::from(&mut *r);
    let mut upstream = NonNull::new(r.upstream)?;

    // SAFETY: nginx calls this for a request that has an upstream.
    let pc = &mut unsafe { upstream.as_mut() }.peer;

    let data = PeerData {
        policy,
        shared,
        request,
        upstream,
        original: Original {
            data: pc.data,
            get: pc.get,
            free: pc.free,
            notify: pc.notify,
            #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
            set_session: pc.set_session,
            #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
            save_session: pc.save_session,
        },
        started: 0,
        stale: None,
        last: ptr::null_mut(),
        first: mem::MaybeUninit::uninit(),
    };

    // SAFETY: the request's pool is valid.
    let cleanup = unsafe { ngx_pool_cleanup_add(r.pool, mem::size_of::<PeerData>()) };
    // SAFETY: nginx returns null, or a cleanup in the pool.
    let cleanup = unsafe { cleanup.as_mut() }?;

    // SAFETY: `data` is as much memory as was asked for, aligned as every allocation in a pool.
    unsafe { cleanup.data.cast::<PeerData>().write(data) };
    cleanup.handler = Some(CLEANUP);

    pc.data = cleanup.data;
    pc.get = Some(get_peer);
    pc.free = Some(free_peer);
    pc.notify = pc.notify.and(Some(notify_peer));

    #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
    {
        pc.set_session = pc.set_session.and(Some(set_session));
        pc.save_session = pc.save_session.and(Some(save_session));
    }

    Some(())
}

/// The tries of the request on the upstreams that the module looks after, in no order.
pub fn tries(r: &ngx_http_request_t) -> impl Iterator<Item = &Try> {
    // SAFETY: the request's pool is valid.
    let first = unsafe { (*r.pool).cleanup.as_ref() };
    // SAFETY: the list of cleanups is valid, and ends with null.
    let cleanups = iter::successors(first, |cleanup| unsafe { cleanup.next.as_ref() });

    cleanups
        .filter(|cleanup| cleanup.handler.is_some_and(|handler| ptr::fn_addr_eq(handler, CLEANUP)))
        // SAFETY: `wrap` wrote the data that goes with the handler, which lives as long as the pool.
        .filter_map(|cleanup| unsafe { cleanup.data.cast::<PeerData>().as_ref() })
        // subrequests have the pool of their main request
        .filter(move |data| ptr::eq(data.request.as_ptr(), r))
        .flat_map(|data| {
            // SAFETY: the pointer is null, or to a try in the request's pool.
            let last = unsafe { data.last.as_ref() };
            // SAFETY: as above.
            iter::successors(last, |this| unsafe { this.before.as_ref() })
        })
}

const CLEANUP: unsafe extern "C" fn(*mut c_void) = request_done;

/// nginx destroys the pool of a request that is over.
unsafe extern "C" fn request_done(data: *mut c_void) {
    // SAFETY: nginx passes the data of the cleanup, which `wrap` wrote.
    let data = unsafe { &*data.cast::<PeerData>() };

    data.request_done();
}

/// Stands in for the `peer.init` of an upstream that the module looks after.
///
/// # Safety
///
/// For nginx to call, with a request and the upstream that it goes to.
pub unsafe extern "C" fn init_peer(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: nginx passes the upstream, whose configuration lives as long as the worker.
    let conf = unsafe { us.as_ref() }.and_then(IdleTimeoutModule::server_conf);

    let Some(Wrapped { policy, init: Some(init), shared, .. }) =
        conf.and_then(|conf| conf.wrapped.as_ref())
    else {
        return NGX_ERROR as ngx_int_t;
    };

    let Some(shared) = shared.get() else {
        return NGX_ERROR as ngx_int_t;
    };

    // SAFETY: the callback is called as nginx would.
    let rc = unsafe { init(r, us) };

    if rc != NGX_OK as ngx_int_t {
        return rc;
    }

    // SAFETY: nginx passes a request, and does not use it meanwhile.
    match wrap(policy, shared, unsafe { &mut *r }) {
        Some(()) => NGX_OK as ngx_int_t,
        None => NGX_ERROR as ngx_int_t,
    }
}

/// The arguments of a callback, as nginx passes them.
///
/// # Safety
///
/// `data` is what `wrap` put beside the callback.
unsafe fn arguments<'a>(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
) -> (&'a mut PeerData, PeerConnection) {
    // SAFETY: the caller's promise; the value lives in the request's pool, and no callback runs inside another.
    let data = unsafe { &mut *data.cast::<PeerData>() };
    // SAFETY: nginx passes the peer connection of the request's upstream.
    let pc = unsafe { NonNull::new_unchecked(pc) };

    (data, PeerConnection(pc))
}

unsafe extern "C" fn get_peer(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: nginx passes the data that is beside the callback.
    let (data, pc) = unsafe { arguments(pc, data) };

    data.get(pc)
}

unsafe extern "C" fn free_peer(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
    state: ngx_uint_t,
) {
    // SAFETY: nginx passes the data that is beside the callback.
    let (data, pc) = unsafe { arguments(pc, data) };

    data.free(pc, state);
}

unsafe extern "C" fn notify_peer(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
    kind: ngx_uint_t,
) {
    // SAFETY: nginx passes the data that is beside the callback.
    let (data, pc) = unsafe { arguments(pc, data) };

    data.original.notify(pc, kind);
}

#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
unsafe extern "C" fn set_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: nginx passes the data that is beside the callback.
    let (data, pc) = unsafe { arguments(pc, data) };

    data.original.set_session(pc)
}

#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
unsafe extern "C" fn save_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) {
    // SAFETY: nginx passes the data that is beside the callback.
    let (data, pc) = unsafe { arguments(pc, data) };

    data.original.save_session(pc);
}
