#![forbid(unsafe_code)]
//! What is counted about the connections to a peer.
//!
//! The counters are atomics without a lock, for memory that worker processes share. Each event is counted where it
//! happens, once; sums and cumulative buckets are made from a snapshot.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::policy::Msec;

/// Why an idle connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The timer, at the limit of the idle age.
    Margin,
    /// Found past the limit, when a request would have used it.
    Late,
    /// Found dead in the kernel, when a request would have used it.
    Dead,
    /// Idle for too long for a request that must not be repeated.
    NonIdempotent,
    /// The backend closed it, or sent what nobody had asked for.
    Peer,
    /// The cache was full.
    Evicted,
    /// nginx's own keepalive_timeout.
    Keepalive,
    /// The worker process ended.
    Shutdown,
}

impl Close {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Margin,
        Self::Late,
        Self::Dead,
        Self::NonIdempotent,
        Self::Peer,
        Self::Evicted,
        Self::Keepalive,
        Self::Shutdown,
    ];

    /// The name in the status and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Margin => "margin",
            Self::Late => "late",
            Self::Dead => "dead",
            Self::NonIdempotent => "non_idempotent",
            Self::Peer => "peer",
            Self::Evicted => "evicted",
            Self::Keepalive => "keepalive",
            Self::Shutdown => "shutdown",
        }
    }
}

/// How a cached connection failed before it gave one byte of response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The backend reset it.
    Reset,
    /// The backend closed it.
    Eof,
    /// The backend did not answer in time.
    Timeout,
}

impl Failure {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Reset, Self::Eof, Self::Timeout];

    /// The name in the status, the variables and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Eof => "eof",
            Self::Timeout => "timeout",
        }
    }

    /// Whether the backend had let go of the connection, or was about to; a timeout says nothing about that.
    pub fn is_stale(self) -> bool {
        matches!(self, Self::Reset | Self::Eof)
    }
}

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
    reuses: AtomicU64,
    closes: [AtomicU64; Close::ALL.len()],
    failures: [AtomicU64; Failure::ALL.len()],
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
    /// Requests sent on cached connections.
    pub reuses: u64,
    /// Idle connections closed, by `Close`.
    pub closes: [u64; Close::ALL.len()],
    /// Failed reuses, by `Failure`.
    pub failures: [u64; Failure::ALL.len()],
    /// Requests answered with an error because of a stale reuse.
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
    /// A request was sent on a fresh connection.
    pub fn connect(&self) {
        add(Some(&self.connects), 1);
    }

    /// A request goes out on a connection that was idle for `age`.
    pub fn reuse(&self, age: Msec) {
        add(Some(&self.reuses), 1);
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
    pub fn failure(&self, kind: Failure, age: Msec) {
        add(self.failures.get(kind as usize), 1);
        self.age(AgeEvent::Failure, age);
    }

    /// A client got an error because of a stale reuse.
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
        add(Some(&self.reuses), other.reuses);
        add_all(&self.closes, &other.closes);
        add_all(&self.failures, &other.failures);
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
            reuses: self.reuses.load(Ordering::Acquire),
            closes,
            failures,
            failed_requests,
            ages,
        }
    }
}

impl Snapshot {
    /// Adds the figures of another peer.
    pub fn merge(&mut self, other: &Self) {
        sum(&mut self.connections, other.connections);
        sum(&mut self.connects, other.connects);
        sum(&mut self.reuses, other.reuses);
        sum_all(&mut self.closes, &other.closes);
        sum_all(&mut self.failures, &other.failures);
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
