#![forbid(unsafe_code)]
//! Which requests are sent again after a failed reuse, although nginx by itself would not.

use super::outcome::{Evidence, FailedReuse, Failure};
use super::policy::Msec;

/// How much has to be known of a request that is sent again. Each level takes in those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repeat {
    /// None is.
    Off,
    /// It never left nginx. Always safe.
    Unwritten,
    /// The peer's kernel refused it. Safe unless a server ends its side of the connection, carries out what comes after
    /// that all the same, and resets the connection before its kernel has acknowledged the request.
    Refused,
    /// It had not arrived when the peer ended its side of the connection. Safe unless a server carries out what comes
    /// after that.
    Closed,
    /// It is not known to have been received: what browsers do.
    Reused,
}

impl Repeat {
    /// All of them, with their names in the directive.
    pub const ALL: [(&'static [u8], Self); 5] = [
        (b"off", Self::Off),
        (b"unwritten", Self::Unwritten),
        (b"refused", Self::Refused),
        (b"closed", Self::Closed),
        (b"reused", Self::Reused),
    ];

    /// Whether a request is sent again whose reuse failed so.
    pub fn allows(self, failed: FailedReuse) -> bool {
        let least = match failed.evidence {
            Evidence::Unwritten => Self::Unwritten,
            Evidence::Refused => Self::Refused,
            Evidence::Closed => Self::Closed,
            // the kernel goes on sending it when nginx has long given up: once the way is free again, it arrives
            Evidence::Unknown if failed.kind == Failure::Timeout => return false,
            Evidence::Unknown => Self::Reused,
            Evidence::Received => return false,
        };

        self >= least
    }

    /// Whether it makes a difference that a FIN is followed by a reset, which takes a round trip to be seen.
    pub fn waits_for_reset(self) -> bool {
        self == Self::Refused
    }
}

/// For how long a reset is waited for, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// After this, a request that the peer has taken is acknowledged.
    pub first: Msec,
    /// After this, no reset is to be expected.
    pub last: Msec,
}

impl Wait {
    /// The times for a round trip, and what it varies by, in microseconds.
    pub fn new(rtt: u32, variation: u32) -> Self {
        let (rtt, variation) = (Msec::from(rtt), Msec::from(variation));
        let trip = rtt.saturating_add(variation.saturating_mul(4));

        Self {
            first: trip.div_ceil(1000).max(1),
            last: (trip.saturating_mul(3) / 1000).clamp(10, MAX_WAIT),
        }
    }
}

/// No client is kept waiting for longer, however far its backend seems to be.
const MAX_WAIT: Msec = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        // in the order of the levels, from `off` on
        let cases = [
            (Failure::Eof, Evidence::Unwritten, [false, true, true, true, true]),
            (Failure::Eof, Evidence::Refused, [false, false, true, true, true]),
            (Failure::Eof, Evidence::Closed, [false, false, false, true, true]),
            (Failure::Eof, Evidence::Unknown, [false, false, false, false, true]),
            (Failure::Eof, Evidence::Received, [false; 5]),
            (Failure::Goaway, Evidence::Unknown, [false, false, false, false, true]),
            (Failure::Timeout, Evidence::Unwritten, [false, true, true, true, true]),
            (Failure::Timeout, Evidence::Unknown, [false; 5]),
        ];

        for (kind, evidence, allowed) in cases {
            let failed = FailedReuse::new(kind, evidence);

            assert_eq!(Repeat::ALL.map(|(_, level)| level.allows(failed)), allowed, "{failed:?}");
        }

        let waits = Repeat::ALL.map(|(_, level)| level.waits_for_reset());
        assert_eq!(waits, [false, false, true, false, false]);
    }

    #[test]
    fn wait() {
        let cases = [
            // round trip, variation, first look, last one
            (0, 0, 1, 10),
            (50, 10, 1, 10),
            (20_000, 1000, 24, 72),
            (20_001, 1000, 25, 72),
            (200_000, 100_000, 600, 1000),
            (u32::MAX, u32::MAX, 21_474_837, 1000),
        ];

        for (rtt, variation, first, last) in cases {
            assert_eq!(Wait::new(rtt, variation), Wait { first, last }, "{rtt} {variation}");
        }
    }
}
