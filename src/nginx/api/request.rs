//! What `request.c` tells of a request: bindgen misplaces its bits in nginx 1.30 and later.

use core::iter;
use core::ptr;

use nginx_sys::{ngx_http_request_t, ngx_http_upstream_t, ngx_uint_t};

extern "C" {
    fn ngx_http_upstream_idle_header_only(r: *const ngx_http_request_t) -> ngx_uint_t;
    fn ngx_http_upstream_idle_background(r: *const ngx_http_request_t) -> ngx_uint_t;
    fn ngx_http_upstream_idle_body_unbuffered(r: *const ngx_http_request_t) -> ngx_uint_t;
    fn ngx_http_upstream_idle_cached(r: *const ngx_http_request_t) -> ngx_uint_t;
    fn ngx_http_upstream_idle_served_stale(u: *const ngx_http_upstream_t) -> ngx_uint_t;
}

/// Whether the response is a header alone: to HEAD, or of a status without a body.
pub fn is_header_only(r: &ngx_http_request_t) -> bool {
    // SAFETY: the function only reads the request that it is given.
    unsafe { ngx_http_upstream_idle_header_only(r) != 0 }
}

/// Whether nobody waits for the response: it is for a mirror, or for the cache.
pub fn is_background(r: &ngx_http_request_t) -> bool {
    // SAFETY: a request and its parents live until the main request is over; the main request has no parent.
    let mut requests = iter::successors(Some(r), |r| unsafe { r.parent.as_ref() });

    // SAFETY: the function only reads the request that it is given.
    requests.any(|r| unsafe { ngx_http_upstream_idle_background(r) != 0 })
}

/// Whether the body is passed on as it comes, and is gone when it was sent.
pub fn is_body_unbuffered(r: &ngx_http_request_t) -> bool {
    // SAFETY: the function only reads the request that it is given.
    unsafe { ngx_http_upstream_idle_body_unbuffered(r) != 0 }
}

/// Whether the body is in a file, of which another request has the same buffers, and reads on where this one has stopped: a
/// mirrored request has those of its parent.
pub fn shares_body_in_file(r: &ngx_http_request_t) -> bool {
    let is_subrequest = !ptr::eq(r, r.main);

    // SAFETY: the pointer is null, or to the body, which lives as long as the main request.
    is_subrequest
        && unsafe { r.request_body.as_ref() }.is_some_and(|body| !body.temp_file.is_null())
}

/// Whether the response comes from the cache.
pub fn is_cached(r: &ngx_http_request_t) -> bool {
    // SAFETY: the function only reads the request that it is given.
    unsafe { ngx_http_upstream_idle_cached(r) != 0 }
}

/// Whether the request has to do with a cache.
#[cfg(ngx_feature = "http_cache")]
pub fn has_cache(r: &ngx_http_request_t) -> bool {
    !r.cache.is_null()
}

#[cfg(not(ngx_feature = "http_cache"))]
pub fn has_cache(_r: &ngx_http_request_t) -> bool {
    false
}

/// Whether nginx has answered from the cache, with what is out of date, for want of a better response.
pub fn served_stale(u: &ngx_http_upstream_t) -> bool {
    // SAFETY: the function only reads the upstream that it is given.
    unsafe { ngx_http_upstream_idle_served_stale(u) != 0 }
}
