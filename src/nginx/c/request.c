/*
 * The bit fields of a request, which bindgen misplaces in nginx 1.30 and
 * later, and what an nginx without a cache has not.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


ngx_uint_t
ngx_http_upstream_idle_header_only(const ngx_http_request_t *r)
{
    return r->header_only;
}


ngx_uint_t
ngx_http_upstream_idle_background(const ngx_http_request_t *r)
{
    return r->background;
}


ngx_uint_t
ngx_http_upstream_idle_body_unbuffered(const ngx_http_request_t *r)
{
    return r->request_body_no_buffering;
}


ngx_uint_t
ngx_http_upstream_idle_cached(const ngx_http_request_t *r)
{
#if (NGX_HTTP_CACHE)
    return r->cached;
#else
    (void) r;
    return 0;
#endif
}


ngx_uint_t
ngx_http_upstream_idle_served_stale(const ngx_http_upstream_t *u)
{
#if (NGX_HTTP_CACHE)
    return u->cache_status == NGX_HTTP_CACHE_STALE;
#else
    (void) u;
    return 0;
#endif
}
