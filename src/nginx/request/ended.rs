//! The end of a try, what it counts as, and whether its connection goes to the cache; and the end of the request.

use nginx_sys::{ngx_http_upstream_state_t, ngx_uint_t, NGX_PEER_FAILED, NGX_PEER_NEXT};

use super::peer::PeerData;
use super::seams::receiving::may_be_http2;
use super::tries::Way;
use crate::nginx::api::connection::Connection;
use crate::nginx::api::peer_connection::PeerConnection;
use crate::nginx::api::{array, clock, request};
use crate::nginx::idle::record::{connection_outlives, Record};
use crate::rules::evidence::Seen;
use crate::rules::idle::{idle_since, is_early};
use crate::rules::outcome::{Evidence, FailedReuse};
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

        if state & FAILED != 0 {
            let state = self.failed_reuse(pc, connection, record).unwrap_or(state);
            return self.original.free(pc, state);
        }

        // otherwise the keepalive module does not take it
        if self.upstream().keepalive() != 0 {
            self.keep(pc, connection, record, state);
        } else {
            self.original.free(pc, state);
        }
    }

    /// Whether some of the response has come, although not the whole header.
    fn is_answered(&self) -> bool {
        // SAFETY: the pointer is null, or to the state of the current try, in the request's pool.
        let state = unsafe { self.upstream().state.as_ref() };
        let any = state.is_some_and(|state| state.bytes_received > 0);

        // a connection of HTTP/2 has frames of its own
        any && (!may_be_http2(self.upstream()) || self.receiving.is_past_frames())
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

    /// Counts the try if it was a reuse that failed. The balancer hears of no failure where the server has but closed an idle
    /// connection: the state is the one that it is told instead, as it is of a 403 or 404 that goes to the next server.
    #[cold]
    fn failed_reuse(
        &self,
        pc: PeerConnection,
        connection: Connection,
        record: Option<&Record>,
    ) -> Option<ngx_uint_t> {
        let age = self.tries.current().idle()?;

        if self.has_header() {
            return None;
        }

        let seen = Seen {
            goaway: self.receiving.is_goaway(connection),
            answered: self.is_answered(),
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

        let again = self.allow_again(failed, record.peer());
        self.report(pc, &Report { failed, record, limit, age, waited, blamed, again });

        if blamed {
            return None;
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

    /// The client's request is over. One that was given up after a failed reuse has failed, whatever was made of it.
    pub fn request_done(&self) {
        let last = self.tries.current();

        if last.failed.is_some() || last.way == Way::Nowhere {
            self.failed_request();
        }

        // nothing is dropped with the request's pool
        self.peer.set(None);
        self.again.set(None);
    }

    #[cold]
    fn failed_request(&self) {
        let Some(last) = self.tries.iter().find(|last| last.way != Way::Nowhere) else {
            return;
        };

        if last.failed.is_none_or(|failed| failed.evidence == Evidence::Received) {
            return;
        }

        // SAFETY: the pointer is null, or to an array of states in the request's pool.
        let states: &[ngx_http_upstream_state_t] =
            unsafe { array::elements(self.request().upstream_states) };

        // without a status of its own, the try ended since the client was gone
        let given_up = states.get(last.state()).is_some_and(|state| state.status != 0);

        if given_up
            && !request::served_stale(self.upstream())
            && !request::is_background(self.request())
        {
            if let Some(peer) = self.peer.take() {
                peer.counters.failed_request();
            }
        }
    }
}
