//! A request's way to a peer of an upstream, with the module around what nginx does there.
//!
//! Every callback calls the one that it wraps. `get` may turn down the connection that the keepalive module found, and
//! nginx then connects to the peer that the balancer has chosen. `free` sets the age at which a cached connection goes.

use core::ffi::c_void;
use core::mem;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_event_free_peer_pt, ngx_event_get_peer_pt, ngx_event_notify_peer_pt, ngx_http_request_t,
    ngx_http_upstream_srv_conf_t, ngx_http_upstream_t, ngx_int_t, ngx_palloc,
    ngx_peer_connection_t, ngx_uint_t, NGX_DONE, NGX_ERROR, NGX_LOG_INFO, NGX_OK, NGX_PEER_FAILED,
};
#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
use nginx_sys::{ngx_event_save_peer_session_pt, ngx_event_set_peer_session_pt};
use ngx::http::HttpModuleServerConf;

use super::conf::Wrapped;
use super::connection::Connection;
use super::{clock, log, IdleTimeoutModule};
use crate::policy::{Idle, Msec, Policy, Verdict};

/// What stands in `peer.data` for the time of a request; lives in the request's pool.
struct Peer {
    policy: &'static Policy,
    upstream: NonNull<ngx_http_upstream_t>,
    /// When the current try began.
    started: Msec,
    original: Original,
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

impl Peer {
    /// A cached connection is used only when the policy lets it.
    fn get(&mut self, pc: PeerConnection) -> ngx_int_t {
        let rc = self.original.get(pc);
        let now = clock::now();

        self.started = now;

        if rc != NGX_DONE as ngx_int_t {
            return rc;
        }

        // a connection that is not remembered did not come by `free`: it is not ours to judge
        let Some((connection, idle)) = pc.connection().and_then(|c| Some((c, c.idle()?))) else {
            return rc;
        };

        match self.policy.verdict(idle, now) {
            Verdict::Reuse => rc,
            Verdict::Late => {
                self.log_late(pc, idle.age(now));
                pc.forget_connection();
                connection.close();

                NGX_OK as ngx_int_t
            }
        }
    }

    /// A connection that goes to the cache is let go in time, and one that has no time left does not go there.
    fn free(&mut self, pc: PeerConnection, state: ngx_uint_t) {
        let Some(connection) = self.reusable(pc, state) else {
            return self.original.free(pc, state);
        };

        let now = clock::now();
        let idle = Idle::begin(self.started, now, || connection.last_data());
        let remaining = self.policy.remaining(idle, now);

        if remaining == 0 || !connection.remember(idle) {
            self.refuse_keepalive();
            return self.original.free(pc, state);
        }

        // it may be closed inside: the cache is full, or the socket has become readable
        let open = connection.outlives(|| self.original.free(pc, state));

        if open && pc.connection().is_none() && connection.is_idle() {
            connection.close_within(remaining);
        }
    }

    /// The connection that the keepalive module may take to the cache.
    fn reusable(&self, pc: PeerConnection, state: ngx_uint_t) -> Option<Connection> {
        // SAFETY: the upstream is the request's, which is not over before the peer is freed.
        let keepalive = unsafe { self.upstream.as_ref() }.keepalive() != 0;

        if keepalive && state & NGX_PEER_FAILED as ngx_uint_t == 0 {
            pc.connection()
        } else {
            None
        }
    }

    fn refuse_keepalive(&mut self) {
        // SAFETY: the upstream is the request's, which is not over before the peer is freed.
        unsafe { self.upstream.as_mut() }.set_keepalive(0);
    }

    #[cold]
    fn log_late(&self, pc: PeerConnection, age: Msec) {
        pc.log(format_args!(
            "idle upstream connection is not reused: idle for {age} ms of {} ms",
            self.policy.limit()
        ));
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

        pc.connection = core::ptr::null_mut();
        pc.set_cached(0);
    }

    fn log(self, message: core::fmt::Arguments<'_>) {
        // SAFETY: nginx sets the log of a peer connection to the request's.
        if let Some(log) = NonNull::new(unsafe { self.0.as_ref() }.log) {
            // SAFETY: as above.
            unsafe { log::write(NGX_LOG_INFO, log, message) };
        }
    }
}

/// Puts the module's callbacks around those that the balancer and the keepalive module have set for the request.
fn wrap(policy: &'static Policy, r: &mut ngx_http_request_t) -> Option<()> {
    let upstream = NonNull::new(r.upstream)?;

    // SAFETY: the request's pool is valid; the memory is aligned as every allocation in a pool.
    let peer = unsafe { ngx_palloc(r.pool, mem::size_of::<Peer>()) }.cast::<Peer>();

    // SAFETY: nginx calls this for a request that has an upstream.
    let pc = &mut unsafe { &mut *upstream.as_ptr() }.peer;

    let value = Peer {
        policy,
        upstream,
        started: 0,
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
    };

    // SAFETY: the pointer is null, or to memory for the value.
    unsafe { NonNull::new(peer)?.write(value) };

    pc.data = peer.cast();
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

    let Some(Wrapped { policy, init: Some(init) }) = conf.and_then(|conf| conf.wrapped.as_ref())
    else {
        return NGX_ERROR as ngx_int_t;
    };

    // SAFETY: the callback is called as nginx would.
    let rc = unsafe { init(r, us) };

    if rc != NGX_OK as ngx_int_t {
        return rc;
    }

    // SAFETY: nginx passes a request, and does not use it meanwhile.
    match wrap(policy, unsafe { &mut *r }) {
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
) -> (&'a mut Peer, PeerConnection) {
    // SAFETY: the caller's promise; the value lives in the request's pool, and no callback runs inside another.
    let peer = unsafe { &mut *data.cast::<Peer>() };
    // SAFETY: nginx passes the peer connection of the request's upstream.
    let pc = unsafe { NonNull::new_unchecked(pc) };

    (peer, PeerConnection(pc))
}

unsafe extern "C" fn get_peer(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: nginx passes the data that is beside the callback.
    let (peer, pc) = unsafe { arguments(pc, data) };

    peer.get(pc)
}

unsafe extern "C" fn free_peer(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
    state: ngx_uint_t,
) {
    // SAFETY: nginx passes the data that is beside the callback.
    let (peer, pc) = unsafe { arguments(pc, data) };

    peer.free(pc, state);
}

unsafe extern "C" fn notify_peer(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
    kind: ngx_uint_t,
) {
    // SAFETY: nginx passes the data that is beside the callback.
    let (peer, pc) = unsafe { arguments(pc, data) };

    peer.original.notify(pc, kind);
}

#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
unsafe extern "C" fn set_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: nginx passes the data that is beside the callback.
    let (peer, pc) = unsafe { arguments(pc, data) };

    peer.original.set_session(pc)
}

#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
unsafe extern "C" fn save_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) {
    // SAFETY: nginx passes the data that is beside the callback.
    let (peer, pc) = unsafe { arguments(pc, data) };

    peer.original.save_session(pc);
}
