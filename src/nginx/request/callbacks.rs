//! The callbacks on a request's way to a peer, each around the one that nginx has set.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use nginx_sys::{
    ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_peer_connection_t, ngx_uint_t,
    NGX_ERROR, NGX_OK,
};

use super::peer::PeerData;
use super::slots::Slots;
use super::tries::Try;
use crate::nginx::api::peer_connection::{Original, PeerConnection};
use crate::nginx::api::pool::{value_at, LivesIn, OfRequest, Pool};
use crate::nginx::api::worker::Worker;
use crate::nginx::memory::wrapped::Wrapped;

/// Begins a request's way to a peer of the upstream: what nginx calls `peer.init`.
///
/// # Safety
///
/// The arguments are those of nginx, and `wrapped` is the upstream's.
pub unsafe fn init_peer(
    wrapped: &'static Wrapped,
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
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

/// The data of requests.
pub static SLOTS: Worker<Slots<PeerData>> = Worker::new(Slots::new());

/// Puts the module's callbacks around those that the balancer and the keepalive module have set for the request.
fn wrap(wrapped: &'static Wrapped, r: &mut ngx_http_request_t) -> Option<()> {
    let upstream = NonNull::new(r.upstream)?;
    // SAFETY: nginx calls this for a request that has an upstream.
    let pc = unsafe { &mut (*upstream.as_ptr()).peer };

    let request = NonNull::from(&*r);
    let data = || PeerData::new(wrapped, request, upstream, Original::of(pc));
    let data = SLOTS.put(&Pool::of_request(r)?, data)?;

    pc.data = data.as_ptr().cast();
    pc.get = Some(get_peer);
    pc.free = Some(FREE_PEER);

    // nginx looks whether there is one
    if pc.notify.is_some() {
        pc.notify = Some(notify_peer);
    }

    // and here it does not
    #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
    {
        pc.set_session = Some(set_session);
        pc.save_session = Some(save_session);
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
) -> (&'a PeerData, PeerConnection) {
    // SAFETY: the caller's promise; the value stays in its slot until the request's pool is destroyed.
    let data = unsafe { value_at::<OfRequest, PeerData>(data) };
    // SAFETY: nginx passes the peer connection of the request's upstream.
    let pc = unsafe { PeerConnection::from_raw(pc) };

    (data, pc)
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

const FREE_PEER: unsafe extern "C" fn(*mut ngx_peer_connection_t, *mut c_void, ngx_uint_t) =
    free_peer;

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

// SAFETY: nothing else has this handler.
unsafe impl LivesIn<OfRequest> for PeerData {
    const CLEANUP: unsafe extern "C" fn(*mut c_void) = request_done;
}

/// nginx destroys the pool of a request that is over.
unsafe extern "C" fn request_done(data: *mut c_void) {
    // SAFETY: nginx passes the data of the cleanup, which `wrap` wrote.
    unsafe { value_at::<OfRequest, PeerData>(data) }.request_done();

    if let Some(data) = NonNull::new(data.cast::<PeerData>()) {
        // SAFETY: `wrap` has put it there; only the request, which is over, has another pointer to it.
        unsafe { SLOTS.give_back(data) };
    }
}

/// What the module has for the request: a subrequest has the pool of its main request, but not its data.
fn all_data(r: &ngx_http_request_t) -> impl Iterator<Item = &PeerData> {
    let values = Pool::of_request(r).into_iter().flat_map(|pool| pool.values::<PeerData>());

    values.filter(move |data| ptr::eq(data.request(), r))
}

/// What the module has for the upstream of the request, if it looks after that.
pub fn data_of(r: &ngx_http_request_t) -> Option<&PeerData> {
    data_at_hand(r).or_else(|| all_data(r).find(|data| ptr::eq(data.upstream(), r.upstream)))
}

/// The same, unless somebody else stands around the module's callbacks.
pub fn data_at_hand(r: &ngx_http_request_t) -> Option<&PeerData> {
    // SAFETY: the upstream is null, or in the request's pool.
    let pc = &unsafe { r.upstream.as_ref() }?.peer;

    // SAFETY: `wrap` has put the data beside the callback.
    pc.free
        .is_some_and(|free| ptr::fn_addr_eq(free, FREE_PEER))
        .then(|| unsafe { value_at::<OfRequest, PeerData>(pc.data) })
}

/// The tries of the request on the upstreams that the module looks after, in no order.
pub fn tries(r: &ngx_http_request_t) -> impl Iterator<Item = Try> + '_ {
    all_data(r).flat_map(|data| data.tries().iter())
}
