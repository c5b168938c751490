#![forbid(unsafe_code)]
//! An idle connection: since when it is one, and for how long it may be.

use super::outcome::Close;
use super::policy::Msec;

/// After a try no longer than this by nginx's clock, the idle age is counted from its start: a little too early, never too
/// late, and the kernel need not be asked.
const SHORT_TRY: Msec = 5;

/// No connection stays for longer, whatever its backend says: ten years. nginx compares times by their difference, which
/// has to be far from overflowing.
pub const MAX_STAY: Msec = 10 * 365 * 24 * 3600 * 1000;

/// What is known about an idle connection and its backend, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    since: Msec,
    /// From when on it must not be used.
    deadline: Msec,
    /// The timeout that the backend has told, or `UNTOLD`: an Option would take 8 bytes more for each connection.
    hint: Msec,
}

const UNTOLD: Msec = Msec::MAX;

impl Idle {
    /// A connection that has been idle since then, and may stay for so long.
    pub fn new(since: Msec, hint: Option<Msec>, stay: Msec) -> Self {
        let deadline = since.saturating_add(stay.min(MAX_STAY));

        Self { since, deadline, hint: hint.unwrap_or(UNTOLD) }
    }

    /// The same connection, with the same limit, idle since another time.
    pub fn again(self, since: Msec) -> Self {
        Self { since, deadline: since.saturating_add(self.limit()), hint: self.hint }
    }

    /// Whether the backend has told this timeout, or none as well.
    pub fn is_told(&self, hint: Option<Msec>) -> bool {
        self.hint == hint.unwrap_or(UNTOLD)
    }

    /// Since when the connection is idle.
    pub fn since(&self) -> Msec {
        self.since
    }

    /// How long the connection has been idle.
    pub fn age(&self, now: Msec) -> Msec {
        now.saturating_sub(self.since)
    }

    /// From when on it must not be used.
    pub fn deadline(&self) -> Msec {
        self.deadline
    }

    /// The idle age from which on it must not be used.
    pub fn limit(&self) -> Msec {
        self.deadline.saturating_sub(self.since)
    }

    /// The timeout that the backend has told.
    pub fn hint(&self) -> Option<Msec> {
        (self.hint != UNTOLD).then_some(self.hint)
    }
}

/// What it counts as when the time of a connection with that limit is over.
pub fn expiry(limit: Option<Msec>) -> Close {
    match limit {
        Some(_) => Close::Margin,
        None => Close::Keepalive,
    }
}

/// Whether a connection that ends at this age does so before its backend was expected to close it.
pub fn is_early(limit: Option<Msec>, age: Msec) -> bool {
    limit.is_none_or(|limit| age < limit)
}

/// When a connection became idle whose try began at `started` and is over now: when the last byte arrived.
///
/// `last_data` tells when that was, if it is known, and is asked only where the answer can matter. A byte that waited
/// in the socket, for a slow client or a blocked worker, is that much older than the end of the try.
pub fn idle_since(started: Msec, now: Msec, last_data: impl FnOnce() -> Option<Msec>) -> Msec {
    if now.saturating_sub(started) <= SHORT_TRY {
        return started;
    }

    last_data().unwrap_or(now).max(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_since_the_last_byte() {
        let cases = [
            // started, now, last data, since
            (1000, 3000, Some(3000), 3000),
            (1000, 3000, Some(1500), 1500),
            // no byte of the response is older than its request
            (1000, 3000, Some(500), 1000),
            (1000, 3000, Some(0), 1000),
            // the kernel does not tell: from the end of the try on
            (1000, 3000, None, 3000),
        ];

        for (started, now, last_data, since) in cases {
            assert_eq!(idle_since(started, now, || last_data), since, "{started} {last_data:?}");
        }
    }

    #[test]
    fn again() {
        let idle = Idle::new(10_000, Some(7), 2000);

        assert_eq!((idle.since(), idle.deadline(), idle.limit()), (10_000, 12_000, 2000));
        assert_eq!(idle.again(15_000), Idle::new(15_000, Some(7), 2000));
        assert_eq!([None, Some(6), Some(7)].map(|hint| idle.is_told(hint)), [false, false, true]);
        assert!(Idle::new(0, None, 0).is_told(None));
    }

    #[test]
    fn short_try_is_not_looked_at() {
        let unasked = || panic!("the kernel was asked");

        assert_eq!(idle_since(1000, 1000, unasked), 1000);
        assert_eq!(idle_since(1000, 1005, unasked), 1000);
        // nginx's clock is late: by some ms, or by as much as timer_resolution
        assert_eq!(idle_since(1000, 999, unasked), 1000);

        assert_eq!(idle_since(1000, 1006, || Some(1004)), 1004);
    }
}
