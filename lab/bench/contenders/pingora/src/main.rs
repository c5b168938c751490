//! A proxy made of Pingora: `pingora-contender <port> <file>`.
//!
//! Each line of the file is an upstream: the Host that it is for, its address, and for how many milliseconds an idle
//! connection to it may be kept, `-` for any time.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;
use std::{env, fs};

use async_trait::async_trait;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::Server;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::ErrorType::HTTPStatus;
use pingora_proxy::{http_proxy_service, ProxyHttp, Session};

struct Upstream {
    address: SocketAddr,
    idle_timeout: Option<Duration>,
    // connections are shared within a group only
    group: u64,
}

struct Proxy {
    upstreams: HashMap<String, Upstream>,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(
        &self,
        session: &mut Session,
        _ctx: &mut (),
    ) -> pingora_core::Result<Box<HttpPeer>> {
        let host = session.req_header().headers.get("Host").and_then(|host| host.to_str().ok());

        let Some(upstream) = host.and_then(|host| self.upstreams.get(host)) else {
            return pingora_core::Error::e_explain(HTTPStatus(404), "no such upstream");
        };

        let mut peer = HttpPeer::new(upstream.address, false, String::new());

        peer.options.idle_timeout = upstream.idle_timeout;
        peer.group_key = upstream.group;

        Ok(Box::new(peer))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let [port, file] =
        env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "usage: <port> <file>")?;

    let conf = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: 1024,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };

    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();

    let proxy = Proxy { upstreams: upstreams(&fs::read_to_string(file)?)? };
    let mut service = http_proxy_service(&server.configuration, proxy);

    service.add_tcp(&format!("127.0.0.1:{port}"));
    server.add_service(service);
    server.run_forever()
}

fn upstreams(text: &str) -> Result<HashMap<String, Upstream>, Box<dyn Error>> {
    text.lines().zip(1..).map(|(line, group)| upstream(line, group)).collect()
}

fn upstream(line: &str, group: u64) -> Result<(String, Upstream), Box<dyn Error>> {
    let mut words = line.split(' ');
    let (Some(host), Some(address), Some(idle)) = (words.next(), words.next(), words.next()) else {
        return Err(format!("not an upstream: {line}").into());
    };

    let idle_timeout = if idle == "-" { None } else { Some(Duration::from_millis(idle.parse()?)) };

    Ok((host.to_owned(), Upstream { address: address.parse()?, idle_timeout, group }))
}
