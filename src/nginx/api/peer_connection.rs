//! What nginx has set on a request's way to a peer: the callbacks, and the structure that they are about.

use core::ffi::c_void;
use core::fmt;
use core::ptr::{self, NonNull};

use nginx_sys::{
    ngx_event_free_peer_pt, ngx_event_get_peer_pt, ngx_event_notify_peer_pt, ngx_int_t,
    ngx_peer_connection_t, ngx_uint_t, NGX_ERROR, NGX_LOG_WARN,
};
#[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
use nginx_sys::{ngx_event_save_peer_session_pt, ngx_event_set_peer_session_pt, NGX_OK};

use super::connection::Connection;
use super::log;

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
    /// What is set in the peer connection.
    pub fn of(pc: &ngx_peer_connection_t) -> Self {
        Self {
            data: pc.data,
            get: pc.get,
            free: pc.free,
            notify: pc.notify,
            #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
            set_session: pc.set_session,
            #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
            save_session: pc.save_session,
        }
    }

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

    pub fn notify(&self, pc: PeerConnection, kind: ngx_uint_t) {
        if let Some(notify) = self.notify {
            // SAFETY: the callback is called as nginx would, with the data that was beside it.
            unsafe { notify(pc.0.as_ptr(), self.data, kind) };
        }
    }

    #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
    pub fn set_session(&self, pc: PeerConnection) -> ngx_int_t {
        match self.set_session {
            // SAFETY: the callback is called as nginx would, with the data that was beside it.
            Some(set_session) => unsafe { set_session(pc.0.as_ptr(), self.data) },
            None => NGX_OK as ngx_int_t,
        }
    }

    #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
    pub fn save_session(&self, pc: PeerConnection) {
        if let Some(save_session) = self.save_session {
            // SAFETY: the callback is called as nginx would, with the data that was beside it.
            unsafe { save_session(pc.0.as_ptr(), self.data) };
        }
    }
}

impl PeerConnection {
    /// # Safety
    ///
    /// `pc` points to a peer connection, which the value must not outlive.
    pub unsafe fn from_raw(pc: *mut ngx_peer_connection_t) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { NonNull::new_unchecked(pc) })
    }

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
