//! An idle connection's life: from a release to its limit, and past that when it is watched.

use pure::rules::idle::idle_since;
use pure::rules::learned::Event as Happened;
use pure::rules::policy::Msec;

use super::worker::Id;
use super::{Event, Simulation, KEEPALIVE_TIMEOUT};
use crate::backend::End;
use crate::strategies::Sight;
use crate::time::{ticks_in_ms, Micros, MS, NEVER, TICK};

/// For so long others wait for a watched connection to end in time, in milliseconds.
const SLACK: Msec = 1000;

impl Simulation<'_> {
    /// A connection becomes idle.
    pub(super) fn release(&mut self, now: Micros, id: Id) {
        let back = self.load.one_way(now, &mut self.rng);
        let connection = self.workers.get_mut(id);
        let end = self.backend.end(connection.answered, connection.requests, &mut self.rng);
        // a tick more, since the difference may be short by one
        let since_data = ticks_in_ms(now) - ticks_in_ms(connection.last_byte) + TICK / MS;

        // what is sent last comes last
        let fin = (end.fin + back).clamp(connection.last_byte, NEVER);

        connection.end = End { fin, ..end };
        connection.hint =
            self.backend.hint(connection.answered, &mut self.rng).map(|told| told / MS);
        connection.idle_since = idle_since(connection.sent / MS, now / MS, || {
            Some((now / MS).saturating_sub(since_data))
        });

        let generation = connection.generation;

        // it does not get as far as into the cache
        if self.is_over(now, id) && !self.begin_watch(now, id) {
            return self.workers.close(id);
        }

        if let Some(oldest) = self.workers.keep(id) {
            self.close(now, oldest, Happened::Outlived);
        }

        let keepalive = match self.strategy.sight() {
            Sight::Future => NEVER,
            _ => now + KEEPALIVE_TIMEOUT,
        };

        if fin <= keepalive && fin < NEVER {
            self.push(fin.max(now), Event::Fin(id, generation));
        } else if keepalive < NEVER {
            self.push(keepalive, Event::Keepalive(id, generation));
        }

        self.schedule(now, id, fin.min(keepalive));
    }

    /// Sets the timer for the limit of an idle connection, unless it ends before.
    fn schedule(&mut self, now: Micros, id: Id, end: Micros) {
        let connection = self.workers.get(id);

        if let Some(limit) = self.strategy.limit(now / MS, connection.hint) {
            let at = connection.idle_since.saturating_add(limit).saturating_mul(MS).max(now);

            if at < end {
                self.push(at, Event::Limit(id, connection.generation));
            }
        }
    }

    /// The timer has come; the limit may be another one by now.
    pub(super) fn reach_limit(&mut self, now: Micros, id: Id) {
        if self.expire(now, id) {
            self.schedule(now, id, NEVER);
        }
    }

    /// Closes an idle connection that is past its limit, or has it watched; whether it may be used.
    pub(super) fn expire(&mut self, now: Micros, id: Id) -> bool {
        if self.workers.get(id).watched.is_some() {
            return false;
        }

        if !self.is_over(now, id) {
            return true;
        }

        if !self.begin_watch(now, id) {
            self.close(now, id, Happened::Outlived);
        }

        false
    }

    fn is_over(&self, now: Micros, id: Id) -> bool {
        let connection = self.workers.get(id);
        let limit = self.strategy.limit(now / MS, connection.hint);

        limit.is_some_and(|limit| connection.age(now) >= limit)
    }

    /// Has a connection live on past its limit, unused, if there may be one.
    fn begin_watch(&mut self, now: Micros, id: Id) -> bool {
        let connection = self.workers.get(id);
        let left = (KEEPALIVE_TIMEOUT / MS).saturating_sub(connection.age(now));
        let until = now / MS + left + SLACK;

        let begins =
            self.workers.has_room(connection.worker) && self.strategy.watch(now / MS, until);

        if begins {
            self.workers.get_mut(id).watched = Some(now);
            self.report.watched.connections += 1;
        }

        begins
    }

    /// An idle connection is over.
    pub(super) fn close(&mut self, now: Micros, id: Id, what: Happened) {
        let connection = self.workers.get(id);
        let age = match what {
            Happened::Closed => connection.age_at_fin(now),
            _ => connection.age(now),
        };

        let watched = connection.watched;

        self.observe(now, id, what, age);

        if let Some(since) = watched {
            let shown = matches!(what, Happened::Closed | Happened::Kept);

            self.report.watched.time += now - since;
            self.strategy.end_watch(now / MS, shown);
        }

        self.workers.close(id);
    }

    pub(super) fn observe(&mut self, now: Micros, id: Id, what: Happened, age: Msec) {
        let now_ms = now / MS;

        self.strategy.observe(now_ms, what, age, self.workers.get(id).round_trip as u32);

        if self.report.learned.is_none() && self.strategy.has_learned(now_ms) {
            self.report.learned = Some(now);
        }

        if self.backend.changed.is_some() && self.report.followed.is_none() {
            self.follow(now);
        }
    }

    /// Whether the limit has come to be that of the new timeout.
    fn follow(&mut self, now: Micros) {
        let middle = self.backend.middle;

        if now < middle {
            return;
        }

        let limit = self.strategy.limit(now / MS, None).map_or(NEVER, |limit| limit * MS);
        let timeout = self.backend.real(now);

        if limit <= timeout && limit >= timeout / 10 * 9 {
            self.report.followed = Some(now - middle);
        }
    }
}
