#![forbid(unsafe_code)]
//! How long before a timeout a connection has to be let go, by what is seen of the backend.

use crate::rules::policy::Msec;

/// The margin at the least: ages are exact to a tick of the kernel's, and to the length of a short try.
pub const FLOOR: Msec = 10;

/// A margin with its parts. It need not cover how late this worker is: what is sent is judged by the clock itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Margin {
    /// The round trip, at its longest of late. The peer's FIN is under way for a half, and the request for the other.
    pub rtt: Msec,
    /// How far the ages are apart at which the backend closes.
    pub spread: Msec,
    /// What requests that failed nevertheless have added.
    pub failures: Msec,
}

impl Margin {
    /// The time before a timeout: never more than half of that.
    pub fn before(&self, timeout: Msec) -> Msec {
        FLOOR
            .saturating_add(self.rtt)
            .saturating_add(self.rtt.max(self.spread).max(self.failures))
            .min(timeout / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let cases = [
            // round trip, spread, failures, margin before 5 s
            (0, 0, 0, 10),
            (1, 0, 0, 12),
            (40, 0, 0, 90),
            (40, 30, 39, 90),
            (40, 100, 60, 150),
            (40, 100, 500, 550),
            (2000, 2000, 0, 2500),
            (Msec::MAX, Msec::MAX, Msec::MAX, 2500),
        ];

        for (rtt, spread, failures, margin) in cases {
            assert_eq!(Margin { rtt, spread, failures }.before(5000), margin);
        }
    }
}
