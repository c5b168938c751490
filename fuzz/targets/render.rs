#![no_main]
//! The status of upstreams and peers of any names and figures.

use libfuzzer_sys::fuzz_target;
use pure::figures::counters::Snapshot;
use pure::figures::status::{Format, Peer, Upstream};
use pure::rules::learned::{Event, Learned};

/// The number of the failure of kind eof with the evidence closed.
const CLOSED: usize = 4;

fuzz_target!(|input: (Vec<u8>, Vec<u8>, [u64; 4], Option<u64>)| {
    let (name, address, [connects, reuses, eof, sum], timeout) = input;

    let mut figures = Snapshot { connects, ..Snapshot::default() };
    figures.failures[CLOSED] = eof;
    figures.ages[0].sum = sum;
    figures.ages[0].buckets = [reuses; 13];

    let learned = Learned::default();

    for (now, age) in [(0, sum), (2000, sum), (4000, sum)] {
        learned.observe(now, Event::Closed, age, 1);
    }

    let peer = |address| Peer { address, figures, learned: learned.shown(u64::MAX) };
    let peers = vec![peer(&address[..]), peer(b"other")];
    let upstreams = [Upstream { name: &name, timeout, margin: reuses, peers }];

    let text = write(Format::Json, &upstreams);
    let json: serde_json::Value = serde_json::from_str(&text).expect("not JSON");

    // the only upstream, and the peer that is not "other"
    let upstream = member(&json["upstreams"], |_| true);
    let peer = member(&upstream["peers"], |name| name != "other" || address == b"other");

    assert_eq!(upstream["timeout_ms"].as_u64(), timeout);
    assert_eq!(upstream["connects"].as_u64(), Some(connects.saturating_mul(2)));
    assert_eq!(peer["connects"].as_u64(), Some(connects));
    assert_eq!(peer["reuse_failures"]["eof"].as_u64(), Some(eof));
    assert_eq!(peer["reuse_evidence"]["closed"].as_u64(), Some(eof));

    // each line is a comment, or a name, labels in which nothing is open, and a value
    for line in write(Format::Prometheus, &upstreams).split_terminator('\n') {
        if !line.starts_with("# ") {
            let (labels, value) = line.rsplit_once("} ").expect("no labels");

            assert!(labels.starts_with("nginx_upstream_idle_"));
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert_eq!(labels.replace("\\\\", "").replace("\\\"", "").matches('"').count() % 2, 0);
        }
    }
});

fn member(object: &serde_json::Value, which: impl Fn(&str) -> bool) -> &serde_json::Value {
    let members = object.as_object().expect("no object");

    members.iter().find(|(name, _)| which(name)).expect("no such member").1
}

fn write(format: Format, upstreams: &[Upstream<'_>]) -> String {
    let mut text = String::new();

    format.write(&mut text, upstreams).expect("a string takes all");

    text
}
