#![forbid(unsafe_code)]
//! The status: the figures of all upstreams, in one of the formats.

use core::fmt::{self, Write};
use std::vec::Vec;

use super::counters::{AgeEvent, Ages, Snapshot, BOUNDS};
use super::{json, prometheus};
use crate::rules::learned::Shown;
use crate::rules::outcome::{Close, Evidence, Failure};
use crate::rules::policy::Msec;

/// The figures of a peer.
pub struct Peer<'a> {
    /// Its address, as in `$upstream_addr`.
    pub address: &'a [u8],
    /// What was counted.
    pub figures: Snapshot,
    /// What is learned of its idle timeout, once it is known.
    pub learned: Option<Shown>,
}

/// The figures of an upstream.
pub struct Upstream<'a> {
    /// The name of the upstream{} block.
    pub name: &'a [u8],
    /// The backend's idle timeout, if it is configured.
    pub timeout: Option<Msec>,
    /// How long before it connections are let go.
    pub margin: Msec,
    /// Its peers.
    pub peers: Vec<Peer<'a>>,
}

/// A format of the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// Prometheus' text format 0.0.4.
    Prometheus,
}

impl Format {
    /// The MIME type of the response.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Writes the status.
    pub fn write(self, out: &mut dyn Write, upstreams: &[Upstream<'_>]) -> fmt::Result {
        match self {
            Self::Json => json::write(out, upstreams),
            Self::Prometheus => prometheus::write(out, upstreams),
        }
    }
}

/// The bounds of a histogram with how many ages were within each; the last has no bound and holds them all.
pub fn cumulative(ages: &Ages) -> impl Iterator<Item = (Option<Msec>, u64)> + '_ {
    let bounds = BOUNDS.iter().copied().map(Some).chain([None]);
    let counts = ages.buckets.iter().scan(0_u64, |total, n| {
        *total = total.saturating_add(*n);
        Some(*total)
    });

    bounds.zip(counts)
}

/// How many ages there were.
pub fn count(ages: &Ages) -> u64 {
    ages.buckets.iter().fold(0, |total, n| total.saturating_add(*n))
}

/// Closed connections, with the names of the reasons.
pub fn closes(figures: &Snapshot) -> impl Iterator<Item = (&'static str, u64)> + '_ {
    Close::ALL.iter().map(|reason| reason.name()).zip(figures.closes)
}

/// Failed reuses, with the names of the kinds.
pub fn failures(figures: &Snapshot) -> impl Iterator<Item = (&'static str, u64)> + '_ {
    Failure::ALL.iter().map(|kind| (kind.name(), figures.failures_of(*kind)))
}

/// Failed reuses, with the names of what is known of the request.
pub fn evidence(figures: &Snapshot) -> impl Iterator<Item = (&'static str, u64)> + '_ {
    Evidence::ALL.iter().map(|evidence| (evidence.name(), figures.failures_with(*evidence)))
}

/// Requests sent again, with the names of what is known of them.
pub fn repeats(figures: &Snapshot) -> impl Iterator<Item = (&'static str, u64)> + '_ {
    let repeats = Evidence::ALL.iter().zip(figures.repeats);

    // what was received is not
    repeats
        .filter(|(evidence, _)| **evidence != Evidence::Received)
        .map(|(evidence, n)| (evidence.name(), n))
}

/// Idle ages, with the names of the events.
pub fn ages(figures: &Snapshot) -> impl Iterator<Item = (&'static str, &Ages)> {
    AgeEvent::ALL.iter().map(|event| event.name()).zip(&figures.ages)
}

#[cfg(test)]
pub(super) mod examples {
    //! What the formats are tested with.

    use super::*;
    use crate::figures::counters::Counters;
    use crate::rules::learned::margin::Margin;
    use crate::rules::outcome::FailedReuse;

    pub fn rendered(format: Format, upstreams: &[Upstream<'_>]) -> std::string::String {
        let mut out = std::string::String::new();
        format.write(&mut out, upstreams).unwrap();
        out
    }

    /// An upstream whose peers have had a reuse, which failed, and have two idle connections each.
    pub fn upstream<'a>(name: &'a [u8], addresses: &[&'a [u8]]) -> Upstream<'a> {
        let counters = Counters::default();
        counters.reuse(1500);
        counters.failure(FailedReuse::new(Failure::Reset, Evidence::Unknown), 1500);
        counters.repeat(Evidence::Refused);

        let figures = counters.snapshot(2);
        let margin = Margin { rtt: 2, spread: 30, failures: 0 };
        let learned = Shown { timeout: 5000, margin, before: 42, closes: 7, lasted: 60_000 };
        let peers = addresses
            .iter()
            .map(|address| Peer { address, figures, learned: Some(learned) })
            .collect();

        Upstream { name, timeout: Some(5000), margin: 250, peers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::counters::Counters;

    #[test]
    fn each_bucket_holds_those_before_it() {
        let cases: [(&[Msec], [u64; 4]); 4] = [
            // ages, how many are within 0.1 s, within 2 s, within 120 s, and in all
            (&[], [0, 0, 0, 0]),
            (&[2000], [0, 1, 1, 1]),
            (&[0, 100, 101, 2001], [2, 3, 4, 4]),
            (&[50, 1500, 120_000, 120_001, Msec::MAX], [1, 2, 3, 5]),
        ];

        for (ages, expected) in cases {
            let counters = Counters::default();
            ages.iter().for_each(|age| counters.reuse(*age));

            let ages = &counters.snapshot(0).ages[AgeEvent::Reuse as usize];
            let within = |bound| cumulative(ages).find_map(|(b, n)| (b == bound).then_some(n));

            let bounds = [Some(100), Some(2000), Some(120_000), None];
            assert_eq!(bounds.map(within), expected.map(Some), "{ages:?}");
            assert_eq!(count(ages), expected[3], "{ages:?}");
        }
    }
}
