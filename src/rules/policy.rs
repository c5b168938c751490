#![forbid(unsafe_code)]
//! When an idle connection has to go, and what a request may use.
//!
//! All times are milliseconds. Points in time are of the monotonic clock and always an argument.

use super::idle::Idle;
use super::learned::Learned;
use super::outcome::Close;
use super::repeat::Repeat;

/// Milliseconds, as in nginx's `ngx_msec_t`.
pub type Msec = u64;

/// The margin where none is configured, unless half of the timeout is less.
const DEFAULT_MARGIN: Msec = 1000;

/// With `probe=auto`, a connection that was idle for less is not looked at when its end would cost nobody anything. It is
/// busy: backends end connections, and send what nobody asked for, when those have been idle for much longer. The age is
/// by the clock itself, so that a connection is not busy to a worker that was blocked for as long.
const BUSY: Msec = 10;

/// What the configuration says about an upstream's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The backend's idle timeout; none when it is to say so itself.
    pub timeout: Option<Msec>,
    /// How long before that a connection is let go, where it is configured.
    pub margin: Option<Msec>,
    /// Whether the margin is by what is seen of the backend.
    pub margin_learned: bool,
    /// What becomes of what is learned of the backend's idle timeout.
    pub learn: Learn,
    /// Whether what the backend says may lower the timeout.
    pub hint: bool,
    /// Which connections are looked at before they are used.
    pub probe: Probe,
    /// From which idle age on a connection is not for requests that nginx can't repeat.
    pub non_idempotent: Option<Msec>,
    /// Which requests are sent again that nginx would not repeat.
    pub repeat: Repeat,
    /// Whether each failed reuse is a failure of the server.
    pub fails: bool,
    /// nginx's own keepalive_timeout, which holds where no timeout is known.
    pub keepalive_timeout: Msec,
}

/// What becomes of what is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learn {
    /// It is the timeout, or lowers the configured one.
    On,
    /// It is shown.
    Report,
    /// Nothing is learned.
    Off,
}

/// Which connections are looked at before they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Those where a look can make a difference.
    Auto,
    /// Those that have been idle for so long.
    From(Msec),
    /// None.
    Off,
}

/// A timeout and a margin that make no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// The timeout is zero.
    NoTimeout,
    /// The margin leaves nothing of the timeout.
    MarginNotLess,
}

/// Whether a request may be sent on an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Reuse,
    /// It may if the connection is alive.
    Probe,
    /// It may not: the connection is to be closed.
    Close(Close),
}

impl Policy {
    /// The policy for a backend with this idle timeout, with the defaults for all else.
    pub fn new(timeout: Option<Msec>) -> Self {
        Self {
            timeout,
            margin: None,
            margin_learned: timeout.is_none(),
            learn: if timeout.is_none() { Learn::On } else { Learn::Report },
            hint: true,
            probe: Probe::Auto,
            non_idempotent: None,
            repeat: Repeat::Refused,
            fails: false,
            keepalive_timeout: Msec::MAX,
        }
    }

    /// Whether the timeout leaves any time.
    pub fn check(&self) -> Result<(), PolicyError> {
        match self.timeout {
            Some(0) => Err(PolicyError::NoTimeout),
            Some(timeout) if self.margin_of(timeout) >= timeout => Err(PolicyError::MarginNotLess),
            _ => Ok(()),
        }
    }

    /// The margin before the configured timeout.
    pub fn margin(&self) -> Msec {
        self.margin_of(self.timeout.unwrap_or(Msec::MAX))
    }

    /// The margin before a timeout.
    pub fn margin_of(&self, timeout: Msec) -> Msec {
        self.margin.unwrap_or(default_margin(timeout))
    }

    /// The timeout of a connection whose backend has told one, perhaps, as far as it is known.
    pub fn timeout(&self, hint: Option<Msec>) -> Option<Msec> {
        lower(self.timeout, hint.filter(|_| self.hint))
    }

    /// The idle age from which on a connection with this timeout must not be used, before anything is learned.
    pub fn limit(&self, timeout: Option<Msec>) -> Msec {
        match timeout {
            Some(timeout) => timeout.saturating_sub(self.margin_of(timeout)),
            None => self.keepalive_timeout,
        }
    }

    /// The idle age from which on a connection must not be used whose backend has told a timeout, perhaps; none where
    /// nothing is known but `keepalive_timeout`. Without a configured timeout, what is seen counts more than what is told.
    pub fn known_limit(&self, hint: Option<Msec>, learned: &Learned, now: Msec) -> Option<Msec> {
        let told = hint.filter(|_| self.hint);
        let seen = match self.learn {
            Learn::On => self.learned_limit(learned, now),
            _ => None,
        };

        match (self.timeout, seen) {
            // not another request
            _ if told == Some(0) => told,
            (None, Some(_)) => seen,
            (None, None) => told.map(|_| self.limit(told)),
            (Some(timeout), _) => {
                let limit = timeout.saturating_sub(self.margin_before(timeout, learned, now));

                lower(lower(Some(limit), told.map(|_| self.limit(told))), seen)
            }
        }
    }

    fn learned_limit(&self, learned: &Learned, now: Msec) -> Option<Msec> {
        match self.margin {
            None if self.margin_learned => learned.limit(now, None),
            _ => {
                let timeout = learned.timeout(now)?;

                Some(timeout.saturating_sub(self.margin_of(timeout).min(timeout / 2)))
            }
        }
    }

    /// The margin before the configured timeout, by what is seen if it is to be.
    fn margin_before(&self, timeout: Msec, learned: &Learned, now: Msec) -> Msec {
        self.margin_learned
            .then(|| learned.margin_before(now, timeout))
            .flatten()
            .unwrap_or_else(|| self.margin_of(timeout))
    }

    /// What follows for a connection that has been idle since then, and has that limit.
    pub fn idle(&self, since: Msec, hint: Option<Msec>, limit: Option<Msec>) -> Idle {
        Idle::new(since, hint, limit.unwrap_or(self.keepalive_timeout))
    }

    /// The verdict on a request that would use the connection now. `repeatable` tells whether nginx would repeat it, and
    /// `covered` whether a failure would cost nobody anything; it is asked only where that can matter.
    pub fn verdict(
        &self,
        idle: &Idle,
        now: Msec,
        repeatable: impl Fn() -> bool,
        covered: impl FnOnce() -> bool,
    ) -> Verdict {
        let age = idle.age(now);

        if now >= idle.deadline() {
            Verdict::Close(Close::Late)
        } else if self.non_idempotent.is_some_and(|from| age >= from) && !repeatable() {
            Verdict::Close(Close::NonIdempotent)
        } else if self.probe.looks(age, covered) {
            Verdict::Probe
        } else {
            Verdict::Reuse
        }
    }
}

impl Probe {
    fn looks(self, age: Msec, covered: impl FnOnce() -> bool) -> bool {
        match self {
            Self::Auto => age >= BUSY || !covered(),
            Self::From(from) => age >= from,
            Self::Off => false,
        }
    }
}

/// The margin before a timeout where nothing else is known.
pub fn default_margin(timeout: Msec) -> Msec {
    DEFAULT_MARGIN.min(timeout / 2)
}

/// The lower of two timeouts, as far as they are known.
pub fn lower(this: Option<Msec>, that: Option<Msec>) -> Option<Msec> {
    match (this, that) {
        (Some(this), Some(that)) => Some(this.min(that)),
        (this, that) => this.or(that),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::idle::{self, is_early, MAX_STAY};
    use crate::rules::learned::Event;

    fn limit(policy: &Policy, hint: Option<Msec>) -> Option<Msec> {
        policy.known_limit(hint, &Learned::default(), 0)
    }

    fn idle(policy: &Policy, since: Msec, hint: Option<Msec>) -> Idle {
        policy.idle(since, hint, limit(policy, hint))
    }

    #[test]
    fn margin() {
        let cases = [
            // timeout, margin, limit
            (5000, None, Ok(4000)),
            (5000, Some(0), Ok(5000)),
            (5000, Some(4999), Ok(1)),
            (1500, Some(200), Ok(1300)),
            // the default is a second, but never more than half of the timeout
            (2000, None, Ok(1000)),
            (1999, None, Ok(1000)),
            (500, None, Ok(250)),
            (1, None, Ok(1)),
            (Msec::MAX, None, Ok(Msec::MAX - 1000)),
            // nothing would be left
            (5000, Some(5000), Err(PolicyError::MarginNotLess)),
            (5000, Some(Msec::MAX), Err(PolicyError::MarginNotLess)),
            (0, None, Err(PolicyError::NoTimeout)),
            (0, Some(0), Err(PolicyError::NoTimeout)),
        ];

        for (timeout, margin, limit) in cases {
            let policy = Policy { margin, ..Policy::new(Some(timeout)) };
            let result = policy.check().map(|()| policy.limit(policy.timeout));
            assert_eq!(result, limit, "{timeout} {margin:?}");
        }
    }

    #[test]
    fn margin_that_is_shown() {
        let cases = [
            // timeout, margin, what is shown
            (Some(5000), None, 1000),
            (Some(500), None, 250),
            (Some(5000), Some(200), 200),
            // before whatever the backend tells
            (None, None, 1000),
            (None, Some(200), 200),
        ];

        for (timeout, margin, shown) in cases {
            let policy = Policy { margin, ..Policy::new(timeout) };
            assert_eq!(policy.margin(), shown, "{timeout:?} {margin:?}");
        }
    }

    #[test]
    fn hint() {
        let fixed = Policy::new(Some(5000));
        let deaf = Policy { hint: false, ..fixed };
        let exact = Policy { margin: Some(1000), ..fixed };
        let auto = Policy { timeout: None, keepalive_timeout: 60_000, ..fixed };

        let cases = [
            // policy, hint, for how long a connection stays
            ("fixed", fixed, None, 4000),
            ("it lowers the timeout", fixed, Some(3000), 2000),
            ("it does not raise it", fixed, Some(10_000), 4000),
            ("the default margin is of the lower timeout", fixed, Some(1000), 500),
            ("a margin that is given is not", exact, Some(1000), 0),
            ("nothing is left", exact, Some(500), 0),
            ("no more requests", fixed, Some(0), 0),
            ("off", deaf, Some(3000), 4000),
            ("auto", auto, Some(5000), 4000),
            ("auto, longer than nginx", auto, Some(90_000), 89_000),
            ("auto, untold", auto, None, 60_000),
            ("auto, for ever", auto, Some(Msec::MAX - 1), MAX_STAY),
            ("auto, ten years and the margin", auto, Some(315_360_001_000), 315_360_000_000),
            ("auto, a little longer", auto, Some(315_360_001_001), 315_360_000_000),
        ];

        for (name, policy, hint, stays) in cases {
            assert_eq!(idle(&policy, 10_000, hint).deadline(), 10_000 + stays, "{name}");
        }
    }

    /// A backend that was seen to close at that age, 20 ms away.
    fn closes_at(age: Msec) -> Learned {
        let learned = Learned::default();

        for now in [0, 2000, 4000] {
            learned.observe(now, Event::Closed, age, 20_000);
        }

        learned
    }

    #[test]
    fn learned() {
        let auto = Policy { keepalive_timeout: 60_000, ..Policy::new(None) };
        let exact = Policy { margin: Some(1000), margin_learned: false, ..auto };
        let shown = Policy { learn: Learn::Report, ..auto };
        let fixed = Policy::new(Some(5000));
        let lower = Policy { learn: Learn::On, ..fixed };
        let close = Policy { margin_learned: true, ..fixed };

        let cases = [
            // policy, hint, limit when nothing was seen, closes at 2 s, closes at 20 s
            ("auto", auto, None, None, Some(1950), Some(19_950)),
            ("what is seen counts more", auto, Some(5000), Some(4000), Some(1950), Some(19_950)),
            ("not another request", auto, Some(0), Some(0), Some(0), Some(0)),
            ("auto, margin", exact, None, None, Some(1000), Some(19_000)),
            ("auto, report", shown, Some(5000), Some(4000), Some(4000), Some(4000)),
            ("time", fixed, None, Some(4000), Some(4000), Some(4000)),
            ("time, on", lower, None, Some(4000), Some(1000), Some(4000)),
            ("time, on, told", lower, Some(3000), Some(2000), Some(1000), Some(2000)),
            ("time, margin=auto", close, None, Some(4000), Some(4950), Some(4950)),
            ("time, margin=auto, told", close, Some(3000), Some(2000), Some(2000), Some(2000)),
        ];

        for (name, policy, hint, nothing, low, high) in cases {
            let limit = |learned: &Learned| policy.known_limit(hint, learned, 5000);

            assert_eq!(limit(&Learned::default()), nothing, "{name}");
            assert_eq!(limit(&closes_at(2000)), low, "{name}, 2 s");
            assert_eq!(limit(&closes_at(20_000)), high, "{name}, 20 s");
        }

        // a margin never takes more than half of what was learned, and leaves nothing where that is nothing
        assert_eq!(exact.known_limit(None, &closes_at(1500), 5000), Some(750));
        assert_eq!(exact.known_limit(None, &closes_at(0), 5000), Some(0));
        assert_eq!(auto.known_limit(None, &closes_at(0), 5000), Some(0));
    }

    #[test]
    fn expiry() {
        let auto = Policy::new(None);
        let deaf = Policy { hint: false, ..auto };

        let cases = [
            (Policy::new(Some(5000)), None, Close::Margin),
            (auto, Some(5000), Close::Margin),
            (auto, None, Close::Keepalive),
            (deaf, Some(5000), Close::Keepalive),
        ];

        for (policy, hint, close) in cases {
            assert_eq!(idle::expiry(limit(&policy, hint)), close, "{policy:?} {hint:?}");
        }
    }

    #[test]
    fn early() {
        let fixed = Policy::new(Some(5000));
        let auto = Policy::new(None);

        let cases = [
            ("before the limit", fixed, None, 3999, true),
            ("at the limit", fixed, None, 4000, false),
            ("a lower limit was told", fixed, Some(3000), 2000, false),
            ("no limit is known", auto, None, 100_000, true),
            ("one was told", auto, Some(5000), 4000, false),
        ];

        for (name, policy, hint, passed, early) in cases {
            let limit = limit(&policy, hint);
            assert_eq!(is_early(limit, passed), early, "{name}");
        }
    }

    #[test]
    fn verdict() {
        const LATE: Verdict = Verdict::Close(Close::Late);
        const UNSAFE: Verdict = Verdict::Close(Close::NonIdempotent);

        let plain = Policy { probe: Probe::Off, ..Policy::new(Some(5000)) };
        let probe = Policy { probe: Probe::From(100), ..plain };
        let fresh = Policy { non_idempotent: Some(0), ..probe };
        let young = Policy { non_idempotent: Some(200), ..probe };

        let cases = [
            // policy, time since it was idle, verdict on GET, on POST
            (plain, 0, Verdict::Reuse, Verdict::Reuse),
            (plain, 3999, Verdict::Reuse, Verdict::Reuse),
            (plain, 4000, LATE, LATE),
            (plain, 4001, LATE, LATE),
            (plain, Msec::MAX - 10_000, LATE, LATE),
            (probe, 99, Verdict::Reuse, Verdict::Reuse),
            (probe, 100, Verdict::Probe, Verdict::Probe),
            (probe, 4000, LATE, LATE),
            (fresh, 0, Verdict::Reuse, UNSAFE),
            (fresh, 100, Verdict::Probe, UNSAFE),
            (fresh, 4000, LATE, LATE),
            (young, 99, Verdict::Reuse, Verdict::Reuse),
            (young, 199, Verdict::Probe, Verdict::Probe),
            (young, 200, Verdict::Probe, UNSAFE),
        ];

        for (policy, passed, get, post) in cases {
            let (idle, now) = (idle(&policy, 10_000, None), 10_000 + passed);
            let verdict = |repeatable| policy.verdict(&idle, now, || repeatable, || true);

            assert_eq!(verdict(true), get, "GET {policy:?} {passed}");
            assert_eq!(verdict(false), post, "POST {policy:?} {passed}");
        }

        // a clock that went back makes no connection older
        let idle = idle(&plain, 10_000, None);
        assert_eq!(plain.verdict(&idle, 9_000, || true, || true), Verdict::Reuse);
        assert_eq!(idle.age(9_000), 0);
    }

    #[test]
    fn auto_looks_where_it_can_matter() {
        let auto = Policy::new(Some(5000));
        let idle = idle(&auto, 10_000, None);

        let cases = [
            // idle age, verdict where a failure would cost nothing, and where it would
            (0, Verdict::Reuse, Verdict::Probe),
            (9, Verdict::Reuse, Verdict::Probe),
            (10, Verdict::Probe, Verdict::Probe),
            (3999, Verdict::Probe, Verdict::Probe),
        ];

        for (age, covered, uncovered) in cases {
            let verdict = |covered| auto.verdict(&idle, 10_000 + age, || true, || covered);

            assert_eq!(verdict(true), covered, "{age}, covered");
            assert_eq!(verdict(false), uncovered, "{age}, not covered");
        }
    }
}
