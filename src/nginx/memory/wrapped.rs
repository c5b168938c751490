//! An upstream that the module looks after.

use core::cell::Cell;
use core::mem;

use nginx_sys::{
    ngx_http_upstream_init_peer_pt, ngx_http_upstream_server_t, ngx_http_upstream_srv_conf_t,
    ngx_str_t,
};

use super::upstream::Upstream;
use crate::nginx::api::array;
use crate::rules::policy::Policy;

/// An upstream whose `peer.init` was replaced, and by what it is to be handled.
pub struct Wrapped {
    pub name: ngx_str_t,
    pub policy: Policy,
    pub init: ngx_http_upstream_init_peer_pt,
    /// How many peers there is to be room for: those of the configuration have it whatever comes.
    pub capacity: usize,
    servers: &'static [ngx_http_upstream_server_t],
    /// How many connections the cache of a worker has room for, and how many are there in this one.
    max_cached: usize,
    cached: Cell<usize>,
    /// The counters, once nginx has made the zone.
    pub shared: Cell<Option<&'static Upstream>>,
}

/// Whether the upstream has a zone: then its peers may come and go.
#[cfg(ngx_feature = "http_upstream_zone")]
fn has_zone(upstream: &ngx_http_upstream_srv_conf_t) -> bool {
    !upstream.shm_zone.is_null()
}

#[cfg(not(ngx_feature = "http_upstream_zone"))]
fn has_zone(_upstream: &ngx_http_upstream_srv_conf_t) -> bool {
    false
}

impl Wrapped {
    /// Puts `init` in the place of the upstream's `peer.init`.
    pub fn wrap(
        upstream: &mut ngx_http_upstream_srv_conf_t,
        policy: Policy,
        max_cached: usize,
        init: ngx_http_upstream_init_peer_pt,
    ) -> Self {
        // SAFETY: it is nginx's array of servers, which lives as long as the configuration.
        let servers: &[ngx_http_upstream_server_t] = unsafe { array::elements(upstream.servers) };

        let least = if has_zone(upstream) { 64 } else { 16 };
        let addresses = servers.iter().fold(0_usize, |n, server| n.saturating_add(server.naddrs));

        Self {
            name: upstream.host,
            policy,
            init: mem::replace(&mut upstream.peer.init, init),
            capacity: addresses.saturating_mul(2).next_power_of_two().max(least),
            servers,
            max_cached,
            cached: Cell::new(0),
            shared: Cell::new(None),
        }
    }

    /// A connection has come to the cache of this process.
    pub fn enter_cache(&self) {
        self.cached.set(self.cached.get().wrapping_add(1));
    }

    /// A connection has left the cache of this process.
    pub fn leave_cache(&self) {
        self.cached.set(self.cached.get().wrapping_sub(1));
    }

    /// Whether the cache of this process has room for a connection that no request will use, beside others.
    pub fn has_room(&self) -> bool {
        self.max_cached > 1 && self.cached.get() < self.max_cached
    }

    /// The addresses of the servers in the configuration. A server that is resolved at run time has one without a name.
    pub fn addresses(&self) -> impl Iterator<Item = &'static [u8]> + Clone {
        self.servers
            .iter()
            // SAFETY: a server has as many addresses as it says, for as long as the configuration lives.
            .flat_map(|server| unsafe { array::from_raw(server.addrs, server.naddrs) })
            .map(|address| address.name.as_bytes())
            .filter(|name| !name.is_empty())
    }
}
