#![forbid(unsafe_code)]
//! When an idle connection has to go.
//!
//! All times are milliseconds. Points in time are of the monotonic clock and always an argument.

/// Milliseconds, as in nginx's `ngx_msec_t`.
pub type Msec = u64;

/// The margin where none is configured, unless half of the timeout is less.
const DEFAULT_MARGIN: Msec = 1000;

/// After a try no longer than this, the idle age is counted from its start: too early by this much at the most, never
/// too late, and the kernel need not be asked.
const SHORT_TRY: Msec = 5;

/// What the configuration says about an upstream's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    timeout: Msec,
    margin: Msec,
}

/// A timeout and a margin that make no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// The timeout is zero.
    NoTimeout,
    /// The margin leaves nothing of the timeout.
    MarginNotLess,
}

/// What is known about an idle connection and its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    since: Msec,
}

/// Whether a request may be sent on an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The connection is good for a request.
    Reuse,
    /// The idle age has reached the limit: the backend may be closing the connection.
    Late,
}

impl Policy {
    /// The policy for a backend that closes a connection which was idle for `timeout`.
    pub fn new(timeout: Msec, margin: Option<Msec>) -> Result<Self, PolicyError> {
        let margin = margin.unwrap_or(DEFAULT_MARGIN.min(timeout / 2));

        if timeout == 0 {
            return Err(PolicyError::NoTimeout);
        }

        if margin >= timeout {
            return Err(PolicyError::MarginNotLess);
        }

        Ok(Self { timeout, margin })
    }

    /// The backend's idle timeout.
    pub fn timeout(&self) -> Msec {
        self.timeout
    }

    /// How long before it connections are let go.
    pub fn margin(&self) -> Msec {
        self.margin
    }

    /// The idle age from which on a connection must not be used.
    pub fn limit(&self) -> Msec {
        self.timeout.saturating_sub(self.margin)
    }

    /// For how much longer a connection may stay in the cache; zero when it must go at once.
    pub fn remaining(&self, idle: Idle, now: Msec) -> Msec {
        self.limit().saturating_sub(idle.age(now))
    }

    /// The verdict on sending a request on the connection now.
    pub fn verdict(&self, idle: Idle, now: Msec) -> Verdict {
        match self.remaining(idle, now) {
            0 => Verdict::Late,
            _ => Verdict::Reuse,
        }
    }
}

impl Idle {
    /// A connection whose try began at `started` and is over now.
    ///
    /// `last_data` is asked only where the answer can matter; it tells how long ago the last byte of the backend arrived,
    /// if that is known. A byte that waited in the socket, for a slow client or a blocked worker, is that much older.
    pub fn begin(started: Msec, now: Msec, last_data: impl FnOnce() -> Option<Msec>) -> Self {
        let since = if now.saturating_sub(started) <= SHORT_TRY {
            started.min(now)
        } else {
            now.saturating_sub(last_data().unwrap_or(0)).max(started)
        };

        Self { since }
    }

    /// How long the connection has been idle.
    pub fn age(&self, now: Msec) -> Msec {
        now.saturating_sub(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let policy = Policy::new(timeout, margin);
            assert_eq!(policy.map(|p| p.limit()), limit, "{timeout} {margin:?}");
        }
    }

    #[test]
    fn verdict() {
        let policy = Policy::new(5000, Some(1000)).unwrap();
        let idle = Idle { since: 10_000 };

        let cases = [
            // now, remaining, verdict
            (10_000, 4000, Verdict::Reuse),
            (13_999, 1, Verdict::Reuse),
            (14_000, 0, Verdict::Late),
            (14_001, 0, Verdict::Late),
            (Msec::MAX, 0, Verdict::Late),
            // a clock that went back makes no connection older
            (9_000, 4000, Verdict::Reuse),
        ];

        for (now, remaining, verdict) in cases {
            assert_eq!(policy.remaining(idle, now), remaining, "{now}");
            assert_eq!(policy.verdict(idle, now), verdict, "{now}");
        }
    }

    #[test]
    fn age_begins_with_the_last_byte() {
        let cases = [
            // started, now, last data, since
            (1000, 3000, Some(0), 3000),
            (1000, 3000, Some(1500), 1500),
            // no byte of the response is older than its request
            (1000, 3000, Some(2500), 1000),
            (1000, 3000, Some(Msec::MAX), 1000),
            // the kernel does not tell: from the release on
            (1000, 3000, None, 3000),
        ];

        for (started, now, last_data, since) in cases {
            let idle = Idle::begin(started, now, || last_data);
            assert_eq!(idle, Idle { since }, "{started} {now} {last_data:?}");
        }
    }

    #[test]
    fn short_try_is_not_looked_at() {
        let unasked = || panic!("the kernel was asked");

        assert_eq!(Idle::begin(1000, 1000, unasked), Idle { since: 1000 });
        assert_eq!(Idle::begin(1000, 1005, unasked), Idle { since: 1000 });
        assert_eq!(Idle::begin(1000, 999, unasked), Idle { since: 999 });

        assert_eq!(Idle::begin(1000, 1006, || Some(2)), Idle { since: 1004 });
    }
}
