#include <ngx_config.h>
#include <ngx_core.h>


/*
 * The leading fields of the private configuration of
 * ngx_http_upstream_keepalive_module; the same in nginx 1.22 to 1.31.
 */

typedef struct {
    ngx_uint_t  max_cached;
    ngx_uint_t  requests;
    ngx_msec_t  time;
    ngx_msec_t  timeout;
} ngx_http_upstream_keepalive_srv_conf_t;
