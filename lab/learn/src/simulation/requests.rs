//! A request's way: on which connection it goes out, and what comes of it.

use pure::rules::learned::Event as Happened;
use pure::rules::outcome::{Evidence, FailedReuse, Failure};

use super::worker::Id;
use super::{Event, Simulation, READ_TIMEOUT};
use crate::backend::{Answer, Way};
use crate::strategies::Sight;
use crate::time::{Micros, NEVER};

impl Simulation<'_> {
    pub(super) fn request(&mut self, now: Micros, n: usize) {
        let (worker, work) = (self.requests[n].worker, self.requests[n].work);
        let way = self.load.one_way(now, &mut self.rng);

        match self.choose(now, worker, now + way) {
            Some(id) => self.reuse(now, id, work, way),
            None => self.connect(now, worker, work),
        }
    }

    /// The connection that a request goes out on, which gets to the backend then.
    fn choose(&mut self, now: Micros, worker: usize, arrives: Micros) -> Option<Id> {
        loop {
            let id = self.workers.front(worker)?;
            let connection = self.workers.get(id);

            match self.strategy.sight() {
                Sight::Events => return Some(id),
                Sight::Future if self.takes(id, arrives) => return Some(id),
                Sight::Future => self.workers.close(id),
                Sight::Kernel if connection.end.fin <= now => {
                    self.close(now, id, Happened::Closed);
                    return None;
                }
                Sight::Kernel if connection.watched.is_some() || !self.expire(now, id) => {
                    if self.workers.is_cached(id) {
                        self.workers.adopt(id);
                    }

                    return None;
                }
                Sight::Kernel => return Some(id),
            }
        }
    }

    /// Whether the backend takes a request on the connection that gets there then.
    fn takes(&self, id: Id, arrives: Micros) -> bool {
        self.backend.awake(arrives) < self.workers.get(id).end.due
    }

    fn reuse(&mut self, now: Micros, id: Id, work: Micros, way: Micros) {
        let age = self.workers.get(id).age(now);

        self.workers.take(id);
        self.workers.get_mut(id).idle = Some(age);

        if self.takes(id, now + way) {
            self.report.reuses += 1;
            return self.send(now, id, work, way, way);
        }

        let fin = self.workers.get(id).end.fin < NEVER;

        let (kind, evidence, after) = match self.backend.way {
            _ if fin => (Failure::Eof, Evidence::Refused, self.load.round_trip_at(now)),
            Way::Dropped => (Failure::Timeout, Evidence::Unknown, READ_TIMEOUT),
            _ => (Failure::Reset, Evidence::Unknown, self.load.round_trip_at(now)),
        };

        self.report.failures += 1;
        self.report.failures_after += u64::from(self.report.learned.is_some());
        self.report.last_failure = Some(now);

        let connection = self.workers.get_mut(id);

        connection.work = work;
        connection.result = Err(FailedReuse::new(kind, evidence));

        self.push(now + after, Event::Over(id));
    }

    fn connect(&mut self, now: Micros, worker: usize, work: Micros) {
        let id = self.workers.connect(worker);
        let way = self.load.one_way(now, &mut self.rng);

        self.send(now, id, work, way, self.load.round_trip_at(now) + way);
    }

    /// Sends a request that is on its way for so long, and gets there after so long.
    fn send(&mut self, now: Micros, id: Id, work: Micros, way: Micros, after: Micros) {
        let read = self.backend.awake(now + after);
        let back = self.load.one_way(now, &mut self.rng);
        let answer = self.backend.answer(read, work, &mut self.rng);
        let connection = self.workers.get_mut(id);

        connection.sent = now;
        connection.requests += 1;
        connection.measure(way + back);
        connection.result = Ok(());

        let timeout = |evidence| Err(FailedReuse::new(Failure::Timeout, evidence));

        let over = match answer {
            Answer::At(at) => {
                connection.answered = at;
                connection.last_byte = at + back;
                connection.last_byte
            }
            Answer::None => {
                connection.result = timeout(Evidence::Received);
                now + READ_TIMEOUT
            }
            Answer::Nobody => {
                connection.result = timeout(Evidence::Unknown);
                now + READ_TIMEOUT
            }
        };

        self.push(over, Event::Over(id));
    }

    /// A request is over.
    pub(super) fn over(&mut self, now: Micros, id: Id) {
        let connection = self.workers.get(id);
        let (worker, work, idle) = (connection.worker, connection.work, connection.idle);

        if let Err(failed) = connection.result {
            if let Some(age) = idle {
                self.observe(now, id, Happened::Failed(failed), age);
            }

            self.workers.close(id);

            if failed.kind != Failure::Timeout {
                self.connect(now, worker, work);
            }

            return;
        }

        if let Some(age) = idle {
            self.observe(now, id, Happened::Answered, age);
        }

        self.release(now, id);
    }
}
