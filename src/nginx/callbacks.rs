//! The callbacks on a request's way to a peer, each around the one that nginx has set.

use core::ffi::c_void;
use core::fmt;
use core::mem;
use core::ptr::{self, NonNull};

use nginx_sys::{
    ngx_event_free_peer_pt, ngx_event_get_peer_pt, ngx_event_notify_peer_pt, ngx_http_request_t,
    ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_peer_connection_t, ngx_pool_cleanup_add,
    ngx_uint_t, NGX_ERROR, NGX_LOG_WARN, NGX_OK,
};
#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
use nginx_sys::{ngx_event_save_peer_session_pt, ngx_event_set_peer_session_pt};
use ngx::http::HttpModuleServerConf;

use super::conf::Wrapped;
use super::connection::Connection;
use super::peer::PeerData;
use super::{log, IdleTimeoutModule};

/// The callbacks that are wrapped, and their data.
pub struct Original {
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
pub struct PeerConnection(NonNull<ngx_peer_connection_t>);

impl Original {
    pub fn get(&self, pc: PeerConnection) -> ngx_int_t {
        match self.get {
            // SAFETY: the callback is called as nginx would, with the data that was beside it.
            Some(get) => unsafe { get(pc.0.as_ptr(), self.data) },
            None => NGX_ERROR as ngx_int_t,
        }
    }

    pub fn free(&self, pc: PeerConnection, state: ngx_uint_t) {
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
    pub fn connection(self) -> Option<Connection> {
        // SAFETY: nginx keeps here an open connection or null, and the value is used within one callback.
        unsafe { Connection::from_raw(self.0.as_ref().connection) }
    }

    /// Leaves nginx with a peer to connect to.
    pub fn forget_connection(mut self) {
        // SAFETY: nginx lends the structure for the time of the callback.
        let pc = unsafe { self.0.as_mut() };

        pc.connection = ptr::null_mut();
        pc.set_cached(0);
    }

    /// The address of the peer.
    pub fn name(&self) -> Option<&[u8]> {
        // SAFETY: the balancer has set the name, which it keeps until the peer is freed.
        unsafe { self.0.as_ref().name.as_ref() }.map(|name| name.as_bytes())
    }

    pub fn warn(self, message: fmt::Arguments<'_>) {
        // SAFETY: nginx sets the log of a peer connection to the request's.
        if let Some(log) = NonNull::new(unsafe { self.0.as_ref() }.log) {
            // SAFETY: as above.
            unsafe { log::write(NGX_LOG_WARN, log, message) };
        }
    }
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

    let Some(wrapped) = conf.and_then(|conf| conf.wrapped.as_ref()) else {
        return NGX_ERROR as ngx_int_t;
    };

    let rc = match wrapped.init {
        // SAFETY: the callback is called as nginx would.
        Some(init) => unsafe { init(r, us) },
        None => NGX_ERROR as ngx_int_t,
    };

    if rc != NGX_OK as ngx_int_t {
        return rc;
    }

    // SAFETY: nginx passes a request, and does not use it meanwhile.
    match wrap(wrapped, unsafe { &mut *r }) {
        Some(()) => NGX_OK as ngx_int_t,
        None => NGX_ERROR as ngx_int_t,
    }
}

/// Puts the module's callbacks around those that the balancer and the keepalive module have set for the request.
fn wrap(wrapped: &'static Wrapped, r: &mut ngx_http_request_t) -> Option<()> {
    // SAFETY: nginx calls this for a request that has an upstream.
    let pc = &mut unsafe { r.upstream.as_mut() }?.peer;

    let original = Original {
        data: pc.data,
        get: pc.get,
        free: pc.free,
        notify: pc.notify,
        #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
        set_session: pc.set_session,
        #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
        save_session: pc.save_session,
    };

    let data = PeerData::new(wrapped, NonNull::from(&mut *r), original);

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

    data.original().notify(pc, kind);
}

#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
unsafe extern "C" fn set_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: nginx passes the data that is beside the callback.
    let (data, pc) = unsafe { arguments(pc, data) };

    data.original().set_session(pc)
}

#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
unsafe extern "C" fn save_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) {
    // SAFETY: nginx passes the data that is beside the callback.
    let (data, pc) = unsafe { arguments(pc, data) };

    data.original().save_session(pc);
}

/// The handler that the data of a request is known by.
pub const CLEANUP: unsafe extern "C" fn(*mut c_void) = request_done;

/// nginx destroys the pool of a request that is over.
unsafe extern "C" fn request_done(data: *mut c_void) {
    // SAFETY: nginx passes the data of the cleanup, which `wrap` wrote.
    let data = unsafe { &*data.cast::<PeerData>() };

    data.request_done();
}
