//! The end of a try: what it counts as, and whether its connection goes to the cache.

use nginx_sys::{ngx_uint_t, NGX_PEER_FAILED, NGX_PEER_NEXT};

use super::peer::PeerData;
use crate::nginx::api::clock;
use crate::nginx::api::connection::Connection;
use crate::nginx::api::peer_connection::PeerConnection;
use crate::nginx::idle::record::{connection_outlives, Record};
use crate::rules::evidence::Seen;
use crate::rules::idle::{idle_since, is_early};
use crate::rules::outcome::FailedReuse;
use crate::rules::policy::{lower, Msec};

const FAILED: ngx_uint_t = NGX_PEER_FAILED as ngx_uint_t;

/// What is said of a reuse that failed.
struct Report<'a> {
    failed: FailedReuse,
    record: &'a Record,
    limit: Option<Msec>,
    /// The idle age.
    age: Msec,
    /// For how long the request had been waiting.
    waited: Msec,
    blamed: bool,
    /// Whether the request may be sent again.
    again: bool,
}

impl PeerData {
    /// A connection that goes to the cache is let go in time, and one that has no time left does not go there.
    pub fn free(&self, pc: PeerConnection, state: ngx_uint_t) {
        self.ends_sending();

        let Some(connection) = pc.connection().filter(|_| self.sent.get()) else {
            self.is_still_unsent();
            return self.original.free(pc, state);
        };

        self.receiving.end(connection);

        let record = Record::of(&connection);

        self.learn_from_answer(record);

        if let Some(state) = self.failed_reuse(pc, connection, record, state) {
            return self.original.free(pc, state);
        }

        // otherwise the keepalive module does not take it
        if self.upstream().keepalive() != 0 && state & FAILED == 0 {
            self.keep(pc, connection, record, state);
        } else {
            self.original.free(pc, state);
        }
    }

    fn learn_from_answer(&self, record: Option<&Record>) {
        let Some((record, age)) = record.zip(self.tries.current().idle()) else {
            return;
        };

        if record.peer().learned.heeds_answer(age) && self.has_header() {
            record.learn_from_answer(age);
        }
    }

    fn keep(
        &self,
        pc: PeerConnection,
        connection: Connection,
        record: Option<&Record>,
        state: ngx_uint_t,
    ) {
        // with timer_resolution, nginx's time may be from before the try
        let now = clock::event_time().max(self.started.get());
        let since = idle_since(self.started.get(), now, || connection.last_data());
        let hint = self.hint(record);

        let record = record.or_else(|| {
            let peer = self.peer.take()?;

            Record::attach(&connection, self.wrapped, peer, self.is_watchable())
        });

        let kept = record.filter(|record| {
            record.set_idle(since, hint, now).deadline() > now
                || hint != Some(0)
                    && record.peer().learned.timeout(now).is_some()
                    && record.begin_watch(now)
        });

        let Some(record) = kept else {
            self.refuse_keepalive();
            return self.original.free(pc, state);
        };

        // it may be closed inside, when the socket has become readable
        let open = connection_outlives(connection, || self.original.free(pc, state));

        if open && pc.connection().is_none() && connection.is_idle() {
            record.enter_cache();
        }
    }

    /// Whether a connection may be kept unused to see what its backend does. With FastCGI it would have a process for
    /// itself.
    fn is_watchable(&self) -> bool {
        !self.upstream().schema.as_bytes().starts_with(b"fastcgi")
    }

    /// What the backend has said about the connection, now in the header of its response or before.
    fn hint(&self, record: Option<&Record>) -> Option<Msec> {
        if !self.wrapped.policy.hint {
            return None;
        }

        lower(self.told.get().hint(), record.and_then(|record| record.idle().hint()))
    }

    /// Counts the try if it was a reuse that failed. The state is the one for the balancer, who hears of no failure where
    /// the server has but closed an idle connection, and is told what it is told of a 403 or 404 that goes to the next
    /// server.
    fn failed_reuse(
        &self,
        pc: PeerConnection,
        connection: Connection,
        record: Option<&Record>,
        state: ngx_uint_t,
    ) -> Option<ngx_uint_t> {
        let age = self.tries.current().idle()?;

        if state & FAILED == 0 || self.has_header() {
            return None;
        }

        let seen = Seen {
            goaway: self.receiving.is_goaway(connection),
            held: self.receiving.held(),
            ..connection.seen(connection.written(self.tls_written.get()))
        };

        let failed = seen.failed_reuse()?;

        let (record, now) = (record?, clock::now());
        let limit = record.known_limit(record.idle().hint(), now);
        let is_early = is_early(limit, record.idle().age(now));
        let blamed = self.wrapped.policy.fails || failed.blames_server(is_early);
        let waited = now.saturating_sub(self.started.get());

        record.peer().counters.failure(failed, age);
        record.learn_from_failure(failed, age, now);
        self.peer.set(Some(record.peer().clone()));
        self.tries.set_failed(failed);
        self.bitten.set(true);

        let again = self.allow_again(failed);
        self.report(pc, &Report { failed, record, limit, age, waited, blamed, again });

        if blamed {
            return Some(state);
        }

        // without the failure, the keepalive module could take the connection for a good one
        connection.refuse();

        Some(NGX_PEER_NEXT as ngx_uint_t)
    }

    #[cold]
    fn report(&self, pc: PeerConnection, report: &Report<'_>) {
        let Report { failed, record, limit, age, waited, blamed, again } = *report;
        let (peer, kind, evidence) = (record.peer(), failed.kind.name(), failed.evidence.name());
        let not = if blamed { "" } else { "not " };
        let again = if again { ", may be sent again" } else { "" };

        match limit {
            Some(limit) => pc.warn(format_args!(
                "reused connection to {peer} failed: {kind}, request {evidence}, sent {waited} ms \
                 ago after {age} ms idle, limit {limit} ms, {not}a failure of the server{again}"
            )),
            None => pc.warn(format_args!(
                "reused connection to {peer} failed: {kind}, request {evidence}, sent {waited} ms \
                 ago after {age} ms idle, limit unknown, {not}a failure of the server{again}"
            )),
        }
    }
}
