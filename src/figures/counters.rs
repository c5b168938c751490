#![forbid(unsafe_code)]
//! What is counted about the connections to a peer.
//!
//! The counters are atomics without a lock, for memory that worker processes share. Each event is counted where it
//! happens, once; sums and cumulative buckets are made from a snapshot.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::rules::outcome::{Close, Evidence, FailedReuse, Failure};
use crate::rules::policy::Msec;

/// An event that has a histogram of idle ages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgeEvent {
    /// A request was sent on the connection.
    Reuse,
    /// That request failed.
    Failure,
    /// The backend closed the idle connection.
    PeerClose,
}

impl AgeEvent {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Reuse, Self::Failure, Self::PeerClose];

    /// The name in the status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reuse => "reuse",
            Self::Failure => "failure",
            Self::PeerClose => "peer_close",
        }
    }
}

/// The upper bounds of the buckets; one more bucket is for what is older. The idle timeouts that backends have by default
/// fall into different buckets.
pub const BOUNDS: [Msec; 12] =
    [100, 500, 1000, 2000, 4000, 5000, 10_000, 20_000, 30_000, 60_000, 75_000, 120_000];

const BUCKETS: usize = BOUNDS.len() + 1;

/// A histogram of idle ages.
#[repr(C)]
#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

/// The counters of a peer. All zero is the value to begin with.
#[repr(C)]
#[derive(Default)]
pub struct Counters {
    connects: AtomicU64,
    closes: [AtomicU64; Close::ALL.len()],
    failures: [AtomicU64; FailedReuse::ALL.len()],
    repeats: [AtomicU64; Evidence::ALL.len()],
    failed_requests: AtomicU64,
    ages: [Histogram; AgeEvent::ALL.len()],
}

/// The figures of a histogram at some time; `buckets` are not cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    /// How many ages were within each bound, and above the one before.
    pub buckets: [u64; BUCKETS],
    /// The sum of all ages, in milliseconds.
    pub sum: u64,
}

/// The figures of a peer, or of an upstream, at some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Idle connections now.
    pub connections: u64,
    /// Fresh connections that requests were sent on.
    pub connects: u64,
    /// Idle connections closed, by `Close`.
    pub closes: [u64; Close::ALL.len()],
    /// Failed reuses, in the order of `FailedReuse::ALL`.
    pub failures: [u64; FailedReuse::ALL.len()],
    /// Requests sent again after a failed reuse that nginx would not have repeated, by `Evidence`.
    pub repeats: [u64; Evidence::ALL.len()],
    /// Requests that nginx gave up after a failed reuse.
    pub failed_requests: u64,
    /// Idle ages, by `AgeEvent`.
    pub ages: [Ages; AgeEvent::ALL.len()],
}

fn add(counter: Option<&AtomicU64>, n: u64) {
    if let Some(counter) = counter {
        // a failure becomes visible no earlier than the reuse before it: `snapshot` relies on that
        counter.fetch_add(n, Ordering::Release);
    }
}

impl Counters {
    /// A request goes out on a fresh connection.
    pub fn connect(&self) {
        add(Some(&self.connects), 1);
    }

    /// A request goes out on a connection that was idle for `age`.
    pub fn reuse(&self, age: Msec) {
        self.age(AgeEvent::Reuse, age);
    }

    /// A connection that was idle for `age` is closed.
    pub fn close(&self, reason: Close, age: Msec) {
        self.close_many(reason, 1);

        if reason == Close::Peer {
            self.age(AgeEvent::PeerClose, age);
        }
    }

    /// So many idle connections are gone.
    pub fn close_many(&self, reason: Close, n: u64) {
        add(self.closes.get(reason as usize), n);
    }

    /// A request failed on a connection that was idle for `age` before it.
    pub fn failure(&self, failed: FailedReuse, age: Msec) {
        let number = FailedReuse::ALL.iter().position(|other| *other == failed);

        add(number.and_then(|number| self.failures.get(number)), 1);
        self.age(AgeEvent::Failure, age);
    }

    /// A request is sent again of which that is known.
    pub fn repeat(&self, evidence: Evidence) {
        add(self.repeats.get(evidence as usize), 1);
    }

    /// nginx gave a request up after a failed reuse.
    pub fn failed_request(&self) {
        add(Some(&self.failed_requests), 1);
    }

    fn age(&self, event: AgeEvent, age: Msec) {
        let Some(histogram) = self.ages.get(event as usize) else {
            return;
        };

        let bucket = BOUNDS.iter().position(|bound| age <= *bound).unwrap_or(BOUNDS.len());

        add(histogram.buckets.get(bucket), 1);
        add(Some(&histogram.sum), age);
    }

    /// Adds what was counted elsewhere.
    pub fn absorb(&self, other: &Snapshot) {
        add(Some(&self.connects), other.connects);
        add_all(&self.closes, &other.closes);
        add_all(&self.failures, &other.failures);
        add_all(&self.repeats, &other.repeats);
        add(Some(&self.failed_requests), other.failed_requests);

        for (mine, theirs) in self.ages.iter().zip(&other.ages) {
            add_all(&mine.buckets, &theirs.buckets);
            add(Some(&mine.sum), theirs.sum);
        }
    }

    /// The figures now, with the number of idle connections, which is not kept here.
    ///
    /// What follows from something else is read before it, so that there are never more failures than reuses.
    pub fn snapshot(&self, connections: u64) -> Snapshot {
        let failed_requests = self.failed_requests.load(Ordering::Acquire);
        let repeats = load_all(&self.repeats);
        let failures = load_all(&self.failures);
        let closes = load_all(&self.closes);

        let mut ages = [Ages::default(); AgeEvent::ALL.len()];

        // in reverse, since a failure comes after its reuse
        for (snapshot, histogram) in ages.iter_mut().zip(&self.ages).rev() {
            *snapshot = Ages {
                buckets: load_all(&histogram.buckets),
                sum: histogram.sum.load(Ordering::Acquire),
            };
        }

        Snapshot {
            connections,
            connects: self.connects.load(Ordering::Acquire),
            closes,
            failures,
            repeats,
            failed_requests,
            ages,
        }
    }
}

impl Snapshot {
    /// Requests sent on cached connections: each has its idle age counted.
    pub fn reuses(&self) -> u64 {
        let ages = self.ages.get(AgeEvent::Reuse as usize).copied().unwrap_or_default();

        ages.buckets.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Failed reuses of a kind.
    pub fn failures_of(&self, kind: Failure) -> u64 {
        self.failures_where(|failed| failed.kind == kind)
    }

    /// Failed reuses with that evidence.
    pub fn failures_with(&self, evidence: Evidence) -> u64 {
        self.failures_where(|failed| failed.evidence == evidence)
    }

    fn failures_where(&self, which: impl Fn(&FailedReuse) -> bool) -> u64 {
        let failures = FailedReuse::ALL.iter().zip(self.failures);

        failures.filter(|(failed, _)| which(failed)).fold(0, |sum, (_, n)| sum.saturating_add(n))
    }

    /// Adds the figures of another peer.
    pub fn merge(&mut self, other: &Self) {
        sum(&mut self.connections, other.connections);
        sum(&mut self.connects, other.connects);
        sum_all(&mut self.closes, &other.closes);
        sum_all(&mut self.failures, &other.failures);
        sum_all(&mut self.repeats, &other.repeats);
        sum(&mut self.failed_requests, other.failed_requests);

        for (mine, theirs) in self.ages.iter_mut().zip(&other.ages) {
            sum_all(&mut mine.buckets, &theirs.buckets);
            sum(&mut mine.sum, theirs.sum);
        }
    }
}

fn add_all(counters: &[AtomicU64], values: &[u64]) {
    for (counter, value) in counters.iter().zip(values) {
        add(Some(counter), *value);
    }
}

fn load_all<const N: usize>(counters: &[AtomicU64; N]) -> [u64; N] {
    core::array::from_fn(|i| counters.get(i).map_or(0, |counter| counter.load(Ordering::Acquire)))
}

fn sum(total: &mut u64, value: u64) {
    *total = total.saturating_add(value);
}

fn sum_all(totals: &mut [u64], values: &[u64]) {
    for (total, value) in totals.iter_mut().zip(values) {
        sum(total, *value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_numbers() {
        for (number, reason) in Close::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number, "{}", reason.name());
        }

        for (number, event) in AgeEvent::ALL.iter().enumerate() {
            assert_eq!(*event as usize, number, "{}", event.name());
        }
    }

    #[test]
    fn each_event_is_counted_once() {
        for (number, reason) in Close::ALL.into_iter().enumerate() {
            let counters = Counters::default();
            counters.close(reason, 5003);

            let mut expected = Snapshot::default();
            expected.closes[number] = 1;

            if reason == Close::Peer {
                expected.ages[AgeEvent::PeerClose as usize] = ages(6, 5003);
            }

            assert_eq!(counters.snapshot(0), expected, "{}", reason.name());
        }

        for (number, failed) in FailedReuse::ALL.into_iter().enumerate() {
            let counters = Counters::default();
            counters.failure(failed, 5003);

            let mut expected = Snapshot::default();
            expected.failures[number] = 1;
            expected.ages[AgeEvent::Failure as usize] = ages(6, 5003);

            assert_eq!(counters.snapshot(0), expected, "{failed:?}");
            assert_eq!(expected.failures_of(failed.kind), 1, "{failed:?}");
            assert_eq!(expected.failures_with(failed.evidence), 1, "{failed:?}");
        }

        for (number, evidence) in Evidence::ALL.into_iter().enumerate() {
            let counters = Counters::default();
            counters.repeat(evidence);

            let mut expected = Snapshot::default();
            expected.repeats[number] = 1;

            assert_eq!(counters.snapshot(0), expected, "{}", evidence.name());
        }

        let counters = Counters::default();
        counters.connect();
        counters.reuse(0);
        counters.failed_request();

        let mut expected =
            Snapshot { connections: 7, connects: 1, failed_requests: 1, ..Snapshot::default() };
        expected.ages[AgeEvent::Reuse as usize] = ages(0, 0);

        assert_eq!(counters.snapshot(7), expected);
        assert_eq!(expected.reuses(), 1);
    }

    #[test]
    fn failures_are_summed_by_kind_and_by_evidence() {
        let counters = Counters::default();

        for failed in FailedReuse::ALL {
            counters.failure(failed, 0);
        }

        let snapshot = counters.snapshot(0);

        assert_eq!(Failure::ALL.map(|kind| snapshot.failures_of(kind)), [3, 5, 1, 3]);
        assert_eq!(Evidence::ALL.map(|evidence| snapshot.failures_with(evidence)), [3, 1, 1, 4, 3]);
    }

    #[test]
    fn usual_timeouts_are_told_apart() {
        let mut buckets = Vec::new();

        for timeout in [100, 1000, 2000, 4000, 5000, 10_000, 30_000, 60_000, 75_000] {
            let counters = Counters::default();
            // a backend closes a connection a little later
            counters.close(Close::Peer, timeout + 3);

            let ages = counters.snapshot(0).ages[AgeEvent::PeerClose as usize];
            buckets.push(ages.buckets.iter().position(|n| *n == 1).unwrap());
        }

        assert!(buckets.is_sorted_by(|a, b| a < b), "{buckets:?}");
    }

    #[test]
    fn bounds_belong_to_their_buckets() {
        let cases =
            [(0, 0), (100, 0), (101, 1), (5000, 5), (120_000, 11), (120_001, 12), (Msec::MAX, 12)];

        for (age, bucket) in cases {
            let counters = Counters::default();
            counters.reuse(age);

            assert_eq!(counters.snapshot(0).ages[0], ages(bucket, age), "{age}");
        }
    }

    #[test]
    fn nothing_is_lost_when_figures_move() {
        let (before, after) = (Counters::default(), Counters::default());

        for counters in [&before, &after] {
            counters.connect();
            counters.reuse(700);
            counters.failure(FailedReuse::new(Failure::Eof, Evidence::Closed), 700);
            counters.repeat(Evidence::Refused);
            counters.failed_request();
            counters.close(Close::Peer, 5000);
            counters.close_many(Close::Shutdown, 3);
        }

        let mut sum = after.snapshot(0);
        sum.merge(&before.snapshot(2));

        after.absorb(&before.snapshot(2));

        assert_eq!(after.snapshot(2), sum);

        let closed = |reason| sum.closes[Close::ALL.iter().position(|one| *one == reason).unwrap()];
        assert_eq!(Close::ALL.map(closed).iter().sum::<u64>(), 8);
        assert_eq!([Close::Peer, Close::Shutdown].map(closed), [2, 6]);
    }

    fn ages(bucket: usize, age: Msec) -> Ages {
        let mut ages = Ages { sum: age, ..Ages::default() };
        ages.buckets[bucket] = 1;
        ages
    }
}
