#![forbid(unsafe_code)]
//! Idle ages at which a backend has closed connections, and that agree.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::rules::policy::Msec;

/// The oldest age there is: three days.
pub const OLDEST: Msec = (1 << BITS) - 1;

const BITS: u32 = 28;

/// More votes make no difference.
const MAX_VOTES: u64 = 15;

/// How far two ages may be apart and still agree: a sixteenth, and 250 ms where that is less.
pub fn tolerance(age: Msec) -> Msec {
    (age / 16).max(250.min(age / 2))
}

/// Ages that agree, and how much speaks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// The least of late.
    pub least: Msec,
    /// The greatest of late.
    pub greatest: Msec,
    /// None of them without a vote.
    pub votes: u64,
    /// Nobody has seen a close: the backend had let go by then, at an age that may be lower.
    pub silent: bool,
}

impl Ages {
    /// Whether an age is one of them. One that is silent may be later by any time.
    pub fn hold(&self, age: Msec, silent: bool) -> bool {
        self.votes > 0
            && age.saturating_add(tolerance(self.least)) >= self.least
            && (silent || age <= self.greatest.saturating_add(tolerance(self.greatest)))
    }

    /// Takes in one more. The least falls at once and rises slowly, the greatest the other way round.
    pub fn join(&mut self, age: Msec, votes: u64, silent: bool) {
        if silent {
            self.least = self.least.min(age);
        } else if self.silent {
            // the first that was seen
            self.least = self.least.min(age);
            self.greatest = age;
        } else {
            let rise = age.saturating_sub(self.least).div_ceil(32);
            let fall = self.greatest.saturating_sub(age).div_ceil(256);

            self.least = age.min(self.least.saturating_add(rise));
            self.greatest = age.max(self.greatest.saturating_sub(fall));
        }

        self.votes = self.votes.saturating_add(votes).min(MAX_VOTES);
        self.silent &= silent;
    }

    /// How far they are apart, as far as that is not another timeout.
    pub fn spread(&self) -> Msec {
        self.greatest.saturating_sub(self.least).min(tolerance(self.least))
    }
}

/// Ages in a word of shared memory, and since when.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Cluster {
    ages: AtomicU64,
    since: AtomicU64,
}

impl Cluster {
    /// The ages; without a vote when there are none.
    pub fn load(&self) -> Ages {
        let word = self.ages.load(Relaxed);
        let least = word & OLDEST;

        Ages {
            least,
            greatest: least.saturating_add(word >> BITS & OLDEST),
            votes: word >> (2 * BITS) & MAX_VOTES,
            silent: word >> 63 != 0,
        }
    }

    /// Keeps the ages, none of which is older than `OLDEST`.
    pub fn store(&self, ages: Ages) {
        let spread = ages.greatest.saturating_sub(ages.least);
        let silent = u64::from(ages.silent);

        let word = ages.least | spread << BITS | ages.votes << (2 * BITS) | silent << 63;
        self.ages.store(word, Relaxed);
    }

    /// Whether there are ages no greater than this.
    pub fn begins_by(&self, age: Msec) -> bool {
        let word = self.ages.load(Relaxed);

        word != 0 && age >= word & OLDEST
    }

    /// Forgets them.
    pub fn clear(&self) {
        self.ages.store(0, Relaxed);
    }

    /// Begins to count the time.
    pub fn begin(&self, now: Msec) {
        self.since.store(now, Relaxed);
    }

    /// For how long it has been counted.
    pub fn lasted(&self, now: Msec) -> Msec {
        now.saturating_sub(self.since.load(Relaxed))
    }

    /// Takes over what another has.
    pub fn copy(&self, other: &Self) {
        self.ages.store(other.ages.load(Relaxed), Relaxed);
        self.since.store(other.since.load(Relaxed), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ages(least: Msec, greatest: Msec) -> Ages {
        Ages { least, greatest, votes: 1, silent: false }
    }

    #[test]
    fn tolerances() {
        let cases = [(0, 0), (100, 50), (500, 250), (4000, 250), (5000, 312), (60_000, 3750)];

        for (age, expected) in cases {
            assert_eq!(tolerance(age), expected, "{age}");
        }
    }

    #[test]
    fn what_they_hold() {
        let five = ages(5000, 5100);

        let cases = [
            // age, whether it is one of them when it was seen, and when it was not
            (4687, false, false),
            (4688, true, true),
            (5000, true, true),
            (5418, true, true),
            (5419, false, true),
            (OLDEST, false, true),
        ];

        for (age, seen, silent) in cases {
            assert_eq!((five.hold(age, false), five.hold(age, true)), (seen, silent), "{age}");
        }

        assert!(!Ages { votes: 0, ..five }.hold(5000, true));
    }

    #[test]
    fn joining() {
        let silent = Ages { silent: true, ..ages(5000, 5000) };

        let cases = [
            // ages, one more, whether it was not seen, what they are then
            (ages(5000, 5000), 4900, false, ages(4900, 4999)),
            (ages(5000, 5000), 5033, false, ages(5002, 5033)),
            (ages(5000, 5256), 5000, false, ages(5000, 5255)),
            (ages(5000, 5000), 4900, true, ages(4900, 5000)),
            (ages(5000, 5000), 9000, true, ages(5000, 5000)),
            (silent, 4900, true, Ages { silent: true, ..ages(4900, 5000) }),
            (silent, 5200, false, ages(5000, 5200)),
            (silent, 4900, false, ages(4900, 4900)),
        ];

        for (mut these, age, unseen, expected) in cases {
            let before = these;
            these.join(age, 2, unseen);
            assert_eq!(these, Ages { votes: 3, ..expected }, "{before:?} {age}");
        }

        let mut many = Ages { votes: 14, ..ages(5000, 5000) };
        many.join(5000, 2, false);
        assert_eq!(many.votes, 15);
    }

    #[test]
    fn a_word_holds_all() {
        let extremes = [0, 1, 100, OLDEST];

        for least in extremes {
            for greatest in extremes.into_iter().filter(|greatest| *greatest >= least) {
                for (votes, silent) in [(1, false), (15, true)] {
                    let (cluster, copy) = (Cluster::default(), Cluster::default());
                    let ages = Ages { least, greatest, votes, silent };

                    cluster.store(ages);
                    cluster.begin(7);
                    copy.copy(&cluster);

                    assert_eq!(copy.load(), ages);
                    assert_eq!(copy.lasted(10), 3);
                    assert!(copy.begins_by(least) && !(least > 0 && copy.begins_by(least - 1)));
                    copy.clear();
                    assert!(!copy.begins_by(OLDEST));
                    assert_eq!(copy.load().votes, 0);
                }
            }
        }
    }
}
