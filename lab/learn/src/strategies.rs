//! By what it is decided which idle connections are used.

use pure::rules::learned::{Event, Learned};
use pure::rules::policy::{Msec, Policy};

use crate::backend::Backend;
use crate::time::{Micros, MS, NEVER};

/// What is known of a connection before it is used.
#[derive(Clone, Copy, PartialEq)]
pub enum Sight {
    /// Nothing that has not been handled as an event.
    Events,
    /// What is in the kernel.
    Kernel,
    /// What will become of a request.
    Future,
}

pub trait Strategy {
    /// The idle age from which on a connection must not be used.
    fn limit(&self, now: Msec, hint: Option<Msec>) -> Option<Msec>;

    fn sight(&self) -> Sight {
        Sight::Kernel
    }

    /// A connection was idle for so long; the round trip is in microseconds.
    fn observe(&self, _now: Msec, _event: Event, _age: Msec, _round_trip: u32) {}

    /// Whether a connection may live past its limit, unused, until then.
    fn watch(&self, _now: Msec, _until: Msec) -> bool {
        false
    }

    /// It does so no more; whether it has shown when the backend closes it.
    fn end_watch(&self, _now: Msec, _shown: bool) {}

    /// Whether it has learned what there is to know.
    fn has_learned(&self, _now: Msec) -> bool {
        true
    }
}

/// The strategies that are compared.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Oracle,
    Stock,
    /// `upstream_idle_timeout T`, and a margin of a second.
    Second,
    /// What the backend tells, and nothing else.
    Hint,
    /// A margin of 100 ms before what the backend does, which is known at any time.
    Tenth,
    /// `upstream_idle_timeout auto`.
    Auto,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Oracle => "oracle",
            Self::Stock => "stock",
            Self::Second => "T - 1 s",
            Self::Hint => "hint",
            Self::Tenth => "T - 100 ms",
            Self::Auto => "auto",
        }
    }

    /// The strategy in front of that backend.
    pub fn strategy(self, backend: &Backend) -> Box<dyn Strategy> {
        let timeout = (backend.timeout < NEVER).then_some(backend.timeout / MS);

        match self {
            Self::Oracle => Box::new(Unlimited(Sight::Future)),
            Self::Stock => Box::new(Unlimited(Sight::Events)),
            Self::Second => Box::new(Policy { hint: false, ..Policy::new(timeout) }),
            Self::Hint => Box::new(Policy::new(None)),
            Self::Tenth => Box::new(Tenth(backend.clone())),
            Self::Auto => Box::new(Auto { policy: Policy::new(None), learned: Learned::default() }),
        }
    }
}

/// No limit but keepalive_timeout.
struct Unlimited(Sight);

impl Strategy for Unlimited {
    fn limit(&self, _: Msec, _: Option<Msec>) -> Option<Msec> {
        None
    }

    fn sight(&self) -> Sight {
        self.0
    }
}

impl Strategy for Policy {
    fn limit(&self, _: Msec, hint: Option<Msec>) -> Option<Msec> {
        let timeout = self.timeout(hint);

        timeout.map(|_| self.limit(timeout))
    }
}

struct Tenth(Backend);

impl Strategy for Tenth {
    fn limit(&self, now: Msec, _: Option<Msec>) -> Option<Msec> {
        let timeout: Micros = self.0.real(now * MS);

        (timeout < NEVER).then(|| (timeout / MS).saturating_sub(100))
    }
}

/// `auto`.
struct Auto {
    policy: Policy,
    learned: Learned,
}

impl Strategy for Auto {
    fn limit(&self, now: Msec, hint: Option<Msec>) -> Option<Msec> {
        self.policy.known_limit(hint, &self.learned, now)
    }

    fn observe(&self, now: Msec, event: Event, age: Msec, round_trip: u32) {
        // the kernel is asked where an idle connection ends
        let round_trip = match event {
            Event::Answered | Event::Failed(_) => 0,
            _ => round_trip.max(1),
        };

        self.learned.observe(now, event, age, round_trip);
    }

    fn watch(&self, now: Msec, until: Msec) -> bool {
        self.learned.watch(now, until)
    }

    fn end_watch(&self, now: Msec, shown: bool) {
        self.learned.end_watch(now, shown);
    }

    fn has_learned(&self, now: Msec) -> bool {
        self.learned.timeout(now).is_some()
    }
}
