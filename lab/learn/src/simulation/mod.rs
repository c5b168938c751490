//! A run: workers with a strategy, in front of a backend and under a load.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;
use pure::rules::learned::Event as Happened;

use crate::backend::Backend;
use crate::load::{Load, Request};
use crate::strategies::Strategy;
use crate::time::{Micros, SECOND};
use report::Report;
use worker::{Id, Workers};

mod idle;
pub mod report;
mod requests;
mod worker;

/// nginx's keepalive_timeout and proxy_read_timeout.
const KEEPALIVE_TIMEOUT: Micros = 60 * SECOND;
const READ_TIMEOUT: Micros = 60 * SECOND;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Request(usize),
    /// A request is over.
    Over(Id),
    /// A FIN comes to an idle connection.
    Fin(Id, u32),
    /// Timers of an idle connection.
    Limit(Id, u32),
    Keepalive(Id, u32),
}

pub struct Simulation<'a> {
    backend: Backend,
    load: &'a Load,
    strategy: &'a dyn Strategy,
    requests: &'a [Request],
    rng: Rng,
    workers: Workers,
    /// By time; timers come after all else, and then what came first.
    events: BinaryHeap<Reverse<(Micros, bool, u64, Event)>>,
    pushed: u64,
    report: Report,
}

impl<'a> Simulation<'a> {
    pub fn new(
        backend: &Backend,
        load: &'a Load,
        strategy: &'a dyn Strategy,
        requests: &'a [Request],
        seed: u64,
    ) -> Self {
        Self {
            backend: backend.clone(),
            load,
            strategy,
            requests,
            rng: Rng::with_seed(!seed),
            workers: Workers::new(load.workers, load.keepalive),
            events: BinaryHeap::new(),
            pushed: 0,
            report: Report::default(),
        }
    }

    pub fn run(mut self) -> Report {
        self.report.learned = self.strategy.has_learned(0).then_some(0);

        for n in 0..self.requests.len() {
            let at = self.requests[n].at;

            // a request comes after what has happened before
            while self.events.peek().is_some_and(|Reverse((when, ..))| *when < at) {
                if let Some(Reverse((now, _, _, event))) = self.events.pop() {
                    self.handle(now, event);
                }
            }

            self.handle(at, Event::Request(n));
        }

        self.report
    }

    fn push(&mut self, at: Micros, event: Event) {
        let timer = matches!(event, Event::Limit(..) | Event::Keepalive(..));

        self.pushed += 1;
        self.events.push(Reverse((at, timer, self.pushed, event)));
    }

    fn handle(&mut self, now: Micros, event: Event) {
        if let Some(blocked) = self.load.blocked {
            let worker = match event {
                Event::Request(n) => self.requests[n].worker,
                Event::Over(id)
                | Event::Fin(id, _)
                | Event::Limit(id, _)
                | Event::Keepalive(id, _) => self.workers.get(id).worker,
            };
            let end = blocked.end(now, worker);

            if end > now {
                return self.push(end, event);
            }
        }

        match event {
            Event::Request(n) => self.request(now, n),
            Event::Over(id) => self.over(now, id),
            Event::Fin(id, generation) if self.workers.is_idle(id, generation) => {
                self.close(now, id, Happened::Closed);
            }
            Event::Keepalive(id, generation) if self.workers.is_idle(id, generation) => {
                self.close(now, id, Happened::Kept);
            }
            Event::Limit(id, generation) if self.workers.is_idle(id, generation) => {
                self.reach_limit(now, id);
            }
            _ => (),
        }
    }
}
