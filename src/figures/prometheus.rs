#![forbid(unsafe_code)]
//! The status in Prometheus' text format 0.0.4, times in seconds.

use core::fmt::{self, Write};

use super::counters::{Ages, Snapshot};
use super::names::Quoted;
use super::status::{ages, closes, count, cumulative, repeats, Format, Upstream};
use crate::rules::learned::Shown;
use crate::rules::outcome::FailedReuse;
use crate::rules::policy::Msec;

const PREFIX: &str = "nginx_upstream_idle";

/// The labels that all samples of a peer have.
struct Labels<'a> {
    upstream: &'a [u8],
    peer: &'a [u8],
}

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let upstream = Quoted(self.upstream, Format::Prometheus);
        let peer = Quoted(self.peer, Format::Prometheus);

        write!(f, "upstream={upstream},peer={peer}")
    }
}

/// Writes the status.
pub fn write(out: &mut dyn Write, upstreams: &[Upstream<'_>]) -> fmt::Result {
    let of_peers = |out: &mut dyn Write, name, kind, help, value: fn(&Snapshot) -> u64| {
        family(out, name, kind, help)?;
        each_peer(upstreams, |labels, figures| {
            writeln!(out, "{PREFIX}_{name}{{{labels}}} {}", value(figures))
        })
    };

    of_peers(out, "connections", "gauge", "Idle connections now.", |f| f.connections)?;
    of_peers(out, "connects_total", "counter", "Requests sent on a fresh connection.", |f| {
        f.connects
    })?;
    of_peers(out, "reuses_total", "counter", "Requests sent on a cached connection.", |f| {
        f.reuses()
    })?;

    family(out, "closes_total", "counter", "Idle connections closed, by reason.")?;
    each_peer(upstreams, |labels, figures| {
        closes(figures).try_for_each(|(reason, n)| {
            writeln!(out, "{PREFIX}_closes_total{{{labels},reason=\"{reason}\"}} {n}")
        })
    })?;

    let help = "Requests on a cached connection that got no response header, by kind, and by what \
                is known of the request.";
    family(out, "reuse_failures_total", "counter", help)?;
    each_peer(upstreams, |labels, figures| {
        FailedReuse::ALL.iter().zip(figures.failures).try_for_each(|(failed, n)| {
            let (kind, evidence) = (failed.kind.name(), failed.evidence.name());
            write!(out, "{PREFIX}_reuse_failures_total{{{labels},kind=\"{kind}\",")?;
            writeln!(out, "evidence=\"{evidence}\"}} {n}")
        })
    })?;

    let help =
        "Requests sent again after a failed reuse that nginx would not have repeated, by what \
                is known of them.";
    family(out, "repeats_total", "counter", help)?;
    each_peer(upstreams, |labels, figures| {
        repeats(figures).try_for_each(|(evidence, n)| {
            writeln!(out, "{PREFIX}_repeats_total{{{labels},evidence=\"{evidence}\"}} {n}")
        })
    })?;

    let help = "Requests that nginx gave up after a failed reuse.";
    of_peers(out, "failed_requests_total", "counter", help, |f| f.failed_requests)?;

    let help =
        "Idle age of connections at their reuse, at a failed reuse, and when the peer closed them.";
    family(out, "age_seconds", "histogram", help)?;
    each_peer(upstreams, |labels, figures| {
        ages(figures).try_for_each(|(event, ages)| histogram(out, labels, event, ages))
    })?;

    let help = "Idle age at which the backend closes connections, as far as it is learned.";
    of_learned(out, upstreams, "learned_timeout_seconds", help, |learned| learned.timeout)?;
    let help = "How long before the learned timeout a connection is let go.";
    of_learned(out, upstreams, "learned_margin_seconds", help, |learned| learned.before)?;

    of_upstreams(out, upstreams, "timeout_seconds", "Idle timeout of the backend.", |u| u.timeout)?;
    of_upstreams(out, upstreams, "margin_seconds", "How long before it nginx lets go.", |u| {
        Some(u.margin)
    })
}

fn family(out: &mut dyn Write, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {PREFIX}_{name} {help}")?;
    writeln!(out, "# TYPE {PREFIX}_{name} {kind}")
}

fn each_peer(
    upstreams: &[Upstream<'_>],
    mut sample: impl FnMut(&Labels<'_>, &Snapshot) -> fmt::Result,
) -> fmt::Result {
    upstreams.iter().try_for_each(|upstream| {
        upstream.peers.iter().try_for_each(|peer| {
            sample(&Labels { upstream: upstream.name, peer: peer.address }, &peer.figures)
        })
    })
}

fn histogram(out: &mut dyn Write, labels: &Labels<'_>, event: &str, ages: &Ages) -> fmt::Result {
    let name = "age_seconds";

    for (bound, n) in cumulative(ages) {
        write!(out, "{PREFIX}_{name}_bucket{{{labels},event=\"{event}\",le=")?;

        match bound {
            Some(bound) => writeln!(out, "\"{}\"}} {n}", Seconds(bound)),
            None => writeln!(out, "\"+Inf\"}} {n}"),
        }?;
    }

    writeln!(out, "{PREFIX}_{name}_sum{{{labels},event=\"{event}\"}} {}", Seconds(ages.sum))?;
    writeln!(out, "{PREFIX}_{name}_count{{{labels},event=\"{event}\"}} {}", count(ages))
}

fn of_learned(
    out: &mut dyn Write,
    upstreams: &[Upstream<'_>],
    name: &str,
    help: &str,
    value: fn(&Shown) -> Msec,
) -> fmt::Result {
    family(out, name, "gauge", help)?;

    upstreams.iter().try_for_each(|upstream| {
        upstream.peers.iter().try_for_each(|peer| match &peer.learned {
            Some(learned) => {
                let labels = Labels { upstream: upstream.name, peer: peer.address };
                writeln!(out, "{PREFIX}_{name}{{{labels}}} {}", Seconds(value(learned)))
            }
            None => Ok(()),
        })
    })
}

fn of_upstreams(
    out: &mut dyn Write,
    upstreams: &[Upstream<'_>],
    name: &str,
    help: &str,
    value: fn(&Upstream<'_>) -> Option<Msec>,
) -> fmt::Result {
    family(out, name, "gauge", help)?;

    upstreams.iter().try_for_each(|upstream| match value(upstream) {
        Some(msec) => {
            let label = Quoted(upstream.name, Format::Prometheus);
            writeln!(out, "{PREFIX}_{name}{{upstream={label}}} {}", Seconds(msec))
        }
        None => Ok(()),
    })
}

/// Milliseconds, written as seconds.
struct Seconds(Msec);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 1000, self.0 % 1000) {
            (s, 0) => write!(f, "{s}"),
            (s, ms) if ms % 100 == 0 => write!(f, "{s}.{}", ms / 100),
            (s, ms) => write!(f, "{s}.{ms:03}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::status::examples::{rendered, upstream};
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn seconds() {
        let cases = [
            (0, "0"),
            (1, "0.001"),
            (50, "0.050"),
            (100, "0.1"),
            (1000, "1"),
            (1050, "1.050"),
            (7500, "7.5"),
            (120_000, "120"),
        ];

        for (msec, text) in cases {
            assert_eq!(std::format!("{}", Seconds(msec)), text);
        }
    }

    #[test]
    fn families_stand_together() {
        let out = rendered(Format::Prometheus, &[upstream(b"u", &[b"a"]), upstream(b"v", &[b"b"])]);
        let mut families = vec![];

        for line in out.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split('{').next().unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(name);

            if families.last() != Some(&family) {
                families.push(family);
            }
        }

        let described: Vec<_> = out
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split(' ').next())
            .collect();

        assert_eq!(families, described);
        assert_eq!(families.len(), 12);
    }

    #[test]
    fn samples() {
        let out = rendered(Format::Prometheus, &[upstream(b"u", &[b"a"])]);
        let labels = "upstream=\"u\",peer=\"a\"";

        let samples = [
            std::format!("connections{{{labels}}} 2"),
            std::format!("reuses_total{{{labels}}} 1"),
            std::format!("reuse_failures_total{{{labels},kind=\"reset\",evidence=\"unknown\"}} 1"),
            std::format!("repeats_total{{{labels},evidence=\"refused\"}} 1"),
            std::format!("closes_total{{{labels},reason=\"non_idempotent\"}} 0"),
            std::format!("age_seconds_bucket{{{labels},event=\"reuse\",le=\"1\"}} 0"),
            std::format!("age_seconds_bucket{{{labels},event=\"reuse\",le=\"2\"}} 1"),
            std::format!("age_seconds_bucket{{{labels},event=\"reuse\",le=\"+Inf\"}} 1"),
            std::format!("age_seconds_sum{{{labels},event=\"reuse\"}} 1.5"),
            std::format!("age_seconds_count{{{labels},event=\"failure\"}} 1"),
            std::format!("learned_timeout_seconds{{{labels}}} 5"),
            std::format!("learned_margin_seconds{{{labels}}} 0.042"),
            "timeout_seconds{upstream=\"u\"} 5".into(),
            "margin_seconds{upstream=\"u\"} 0.250".into(),
        ];

        for sample in samples {
            assert!(out.contains(&std::format!("{PREFIX}_{sample}\n")), "{sample}\n{out}");
        }
    }
}
