//! What becomes of connections, told to what is learned of their peers.

use core::fmt;

use nginx_sys::NGX_LOG_NOTICE;

use super::record::Record;
use crate::nginx::api::connection::seen::End;
use crate::nginx::api::{clock, log};
use crate::nginx::memory::peer::Pinned;
use crate::rules::learned::{Change, Event};
use crate::rules::outcome::{Close, FailedReuse};
use crate::rules::policy::{Learn, Msec};

impl Record {
    fn learns(&self) -> bool {
        self.wrapped().policy.learn != Learn::Off && self.peer().is_one()
    }

    /// The idle connection is about to be closed.
    pub(super) fn learn_from_close(&self, reason: Close, now: Msec) {
        if !self.learns() {
            return;
        }

        let (idle, connection) = (self.idle(), self.connection());
        let age = idle.age(now);

        match reason {
            Close::Unasked | Close::Shutdown => return,
            // there may be many of them, and only one thing that they can tell
            Close::Evicted | Close::Late | Close::NonIdempotent
                if !self.peer().learned.heeds_answer(age) =>
            {
                return;
            }
            Close::Dead if connection.has_unasked(connection.is_tls()) => return,
            _ => {}
        }

        let (end, rtt) = connection.idle_end();

        let (event, age) = match (reason, end) {
            // whenever nginx has come to see it
            (_, End::Fin(at)) => (Event::Closed, idle.age(at)),
            (Close::Peer | Close::Watched, _) => (Event::Closed, age),
            (_, End::Gone) => (Event::Gone, age),
            (Close::Keepalive, End::None) => (Event::Kept, age),
            (_, End::None) => (Event::Outlived, age),
        };

        self.observe(event, age, rtt, now);
    }

    /// A request was answered on the connection, which had been idle for so long.
    #[cold]
    pub fn learn_from_answer(&self, age: Msec) {
        if self.learns() {
            self.observe(Event::Answered, age, 0, clock::now());
        }
    }

    /// A request failed on the connection, which had been idle for so long.
    #[cold]
    pub fn learn_from_failure(&self, failed: FailedReuse, age: Msec, now: Msec) {
        if !self.learns() {
            return;
        }

        let (policy, learned) = (&self.wrapped().policy, &self.peer().learned);

        if let Some(timeout) = policy.timeout.filter(|_| policy.margin_learned) {
            if failed.shows_close() && learned.timeout(now).is_none() && age >= timeout / 2 {
                learned.widen(timeout, age);
            }
        }

        self.observe(Event::Failed(failed), age, 0, now);
    }

    #[cold]
    fn observe(&self, event: Event, age: Msec, rtt: u32, now: Msec) {
        let peer = self.peer();

        if let Some(change) = peer.learned.observe(now, event, age, rtt) {
            tell(peer, change);
        }
    }
}

fn tell(peer: &Pinned, change: Change) {
    let Some(log) = log::cycle() else {
        return;
    };

    let Change { before, now } = change;

    let write = |message: fmt::Arguments<'_>| {
        // SAFETY: the log of the cycle is valid as long as that.
        unsafe { log::write(NGX_LOG_NOTICE, log, message) };
    };

    match before {
        Some(before) => write(format_args!(
            "learned that {peer} closes idle connections after {now} ms, not after {before} ms"
        )),
        None => write(format_args!("learned that {peer} closes idle connections after {now} ms")),
    }
}
