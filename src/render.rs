#![forbid(unsafe_code)]
//! The status: the figures of all upstreams, as JSON or in Prometheus' text format 0.0.4.

use core::fmt::{self, Write};
use std::vec::Vec;

use crate::counters::{AgeEvent, Ages, Snapshot, BOUNDS};
use crate::outcome::{Close, Evidence, FailedReuse, Failure};
use crate::policy::Msec;

/// The figures of a peer.
pub struct Peer<'a> {
    /// Its address, as in `$upstream_addr`.
    pub address: &'a [u8],
    /// What was counted.
    pub figures: Snapshot,
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
            Self::Json => json(out, upstreams),
            Self::Prometheus => prometheus(out, upstreams),
        }
    }
}

/// A name between double quotes, with the escapes of the format. Both are UTF-8, which a name need not be: a byte that
/// is not is shown as the text `\xff`, and, lest two names look alike, the backslash of a name that has such a text as
/// `\x5c`.
struct Quoted<'a>(&'a [u8], Format);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;

        for chunk in self.0.utf8_chunks() {
            let mut rest = chunk.valid().chars();

            while let Some(c) = rest.next() {
                match c {
                    '\\' if is_rest_of_escape(rest.as_str()) => f.write_str("\\\\x5c"),
                    '"' | '\\' => write!(f, "\\{c}"),
                    '\n' => f.write_str("\\n"),
                    c if c < ' ' && self.1 == Format::Json => write!(f, "\\u{:04x}", u32::from(c)),
                    c => f.write_char(c),
                }?;
            }

            for byte in chunk.invalid() {
                write!(f, "\\\\x{byte:02x}")?;
            }
        }

        f.write_char('"')
    }
}

/// Whether a backslash before this text would be read as the escape of a byte.
fn is_rest_of_escape(text: &str) -> bool {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');

    matches!(text.as_bytes(), [b'x', a, b, ..] if is_digit(*a) && is_digit(*b))
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

/// The bounds of a histogram with how many ages were within each; the last has no bound and holds them all.
fn cumulative(ages: &Ages) -> impl Iterator<Item = (Option<Msec>, u64)> + '_ {
    let bounds = BOUNDS.iter().copied().map(Some).chain([None]);
    let counts = ages.buckets.iter().scan(0_u64, |total, n| {
        *total = total.saturating_add(*n);
        Some(*total)
    });

    bounds.zip(counts)
}

fn count(ages: &Ages) -> u64 {
    ages.buckets.iter().fold(0, |total, n| total.saturating_add(*n))
}

fn closes(figures: &Snapshot) -> impl Iterator<Item = (&'static str, u64)> + '_ {
    Close::ALL.iter().map(|reason| reason.name()).zip(figures.closes)
}

fn failures(figures: &Snapshot) -> impl Iterator<Item = (&'static str, u64)> + '_ {
    Failure::ALL.iter().map(|kind| (kind.name(), figures.failures_of(*kind)))
}

fn evidence(figures: &Snapshot) -> impl Iterator<Item = (&'static str, u64)> + '_ {
    Evidence::ALL.iter().map(|evidence| (evidence.name(), figures.failures_with(*evidence)))
}

fn ages(figures: &Snapshot) -> impl Iterator<Item = (&'static str, &Ages)> {
    AgeEvent::ALL.iter().map(|event| event.name()).zip(&figures.ages)
}

// JSON

fn json(out: &mut dyn Write, upstreams: &[Upstream<'_>]) -> fmt::Result {
    out.write_str("{\"upstreams\":")?;
    json_object(out, upstreams, |out, upstream| {
        write!(out, "{}:", Quoted(upstream.name, Format::Json))?;
        json_upstream(out, upstream)
    })?;
    out.write_str("}\n")
}

fn json_upstream(out: &mut dyn Write, upstream: &Upstream<'_>) -> fmt::Result {
    let mut total = Snapshot::default();

    for peer in &upstream.peers {
        total.merge(&peer.figures);
    }

    match upstream.timeout {
        Some(timeout) => write!(out, "{{\"timeout_ms\":{timeout},"),
        None => out.write_str("{\"timeout_ms\":null,"),
    }?;

    write!(out, "\"margin_ms\":{},", upstream.margin)?;
    json_figures(out, &total)?;
    out.write_str(",\"peers\":")?;
    json_object(out, &upstream.peers, |out, peer| {
        write!(out, "{}:{{", Quoted(peer.address, Format::Json))?;
        json_figures(out, &peer.figures)?;
        out.write_char('}')
    })?;
    out.write_char('}')
}

fn json_figures(out: &mut dyn Write, figures: &Snapshot) -> fmt::Result {
    write!(
        out,
        "\"connections\":{},\"connects\":{},\"reuses\":{},\"closes\":",
        figures.connections,
        figures.connects,
        figures.reuses()
    )?;
    json_object(out, closes(figures), |out, (name, n)| write!(out, "\"{name}\":{n}"))?;
    out.write_str(",\"reuse_failures\":")?;
    json_object(out, failures(figures), |out, (name, n)| write!(out, "\"{name}\":{n}"))?;
    out.write_str(",\"reuse_evidence\":")?;
    json_object(out, evidence(figures), |out, (name, n)| write!(out, "\"{name}\":{n}"))?;
    write!(out, ",\"failed_requests\":{},\"ages\":", figures.failed_requests)?;
    json_object(out, ages(figures), |out, (name, ages)| {
        write!(out, "\"{name}\":{{\"count\":{},\"sum_ms\":{},", count(ages), ages.sum)?;
        out.write_str("\"buckets_ms\":")?;
        json_object(out, cumulative(ages), |out, (bound, n)| match bound {
            Some(bound) => write!(out, "\"{bound}\":{n}"),
            None => write!(out, "\"+Inf\":{n}"),
        })?;
        out.write_char('}')
    })
}

/// Writes an object of members that `member` writes.
fn json_object<T>(
    out: &mut dyn Write,
    members: impl IntoIterator<Item = T>,
    member: impl Fn(&mut dyn Write, T) -> fmt::Result,
) -> fmt::Result {
    let mut separator = "{";

    for item in members {
        out.write_str(separator)?;
        member(out, item)?;
        separator = ",";
    }

    out.write_str(if separator == "{" { "{}" } else { "}" })
}

// Prometheus

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

fn prometheus(out: &mut dyn Write, upstreams: &[Upstream<'_>]) -> fmt::Result {
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

    let help = "Requests that nginx gave up after a failed reuse.";
    of_peers(out, "failed_requests_total", "counter", help, |f| f.failed_requests)?;

    let help =
        "Idle age of connections at their reuse, at a failed reuse, and when the peer closed them.";
    family(out, "age_seconds", "histogram", help)?;
    each_peer(upstreams, |labels, figures| {
        ages(figures).try_for_each(|(event, ages)| histogram(out, labels, event, ages))
    })?;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;
    use std::string::String;
    use std::vec;

    fn rendered(format: Format, upstreams: &[Upstream<'_>]) -> String {
        let mut out = String::new();
        format.write(&mut out, upstreams).unwrap();
        out
    }

    fn upstream<'a>(name: &'a [u8], addresses: &[&'a [u8]]) -> Upstream<'a> {
        let counters = Counters::default();
        counters.reuse(1500);
        counters.failure(FailedReuse::new(Failure::Reset, Evidence::Unknown), 1500);

        let figures = counters.snapshot(2);
        let peers = addresses.iter().map(|address| Peer { address, figures }).collect();

        Upstream { name, timeout: Some(5000), margin: 250, peers }
    }

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
    fn quoted() {
        let cases: [(&[u8], &str, &str); 6] = [
            // name, in JSON, in Prometheus' format
            (b"u", "\"u\"", "\"u\""),
            (b"a\"b\\c", "\"a\\\"b\\\\c\"", "\"a\\\"b\\\\c\""),
            (b"a\nb", "\"a\\nb\"", "\"a\\nb\""),
            (b"a\tb\x01", "\"a\\u0009b\\u0001\"", "\"a\tb\x01\""),
            ("\u{e4}\u{20ac}".as_bytes(), "\"\u{e4}\u{20ac}\"", "\"\u{e4}\u{20ac}\""),
            (b"a\xffb\xe2\x82", r#""a\\xffb\\xe2\\x82""#, r#""a\\xffb\\xe2\\x82""#),
        ];

        for (name, json, prometheus) in cases {
            assert_eq!(std::format!("{}", Quoted(name, Format::Json)), json);
            assert_eq!(std::format!("{}", Quoted(name, Format::Prometheus)), prometheus);
        }
    }

    /// The text of a name that stands between quotes.
    fn unquoted(name: &[u8], format: Format) -> String {
        let quoted = std::format!("{}", Quoted(name, format));
        let text = quoted.strip_prefix('"').unwrap().strip_suffix('"').unwrap();

        text.replace("\\\\", "\\")
    }

    #[test]
    fn names_that_are_not_utf8() {
        let cases: [(&[u8], &str); 10] = [
            // name, as it is shown
            (b"a\xff", r"a\xff"),
            (br"a\xff", r"a\x5cxff"),
            (br"a\x5cxff", r"a\x5cx5cxff"),
            (br"a\xFF", r"a\xFF"),
            (br"a\xf", r"a\xf"),
            (b"a\\\xff", r"a\\xff"),
            (b"a\\x\xff", r"a\x\xff"),
            (b"a\\xf\xff", r"a\xf\xff"),
            (b"a\xed\xa0\x80", r"a\xed\xa0\x80"),
            (b"\xc3\xa4\xc3", "\u{e4}\\xc3"),
        ];

        for (name, shown) in cases {
            assert_eq!(unquoted(name, Format::Json), shown);
            assert_eq!(unquoted(name, Format::Prometheus), shown);
        }
    }

    #[test]
    fn no_two_names_look_alike() {
        let parts: [&[u8]; 9] =
            [b"\\", b"x", b"f", b"5c", b"ff", b"\xff", b"\xfe", b"\xc3", "\u{e4}".as_bytes()];
        let mut names = vec![vec![]];

        for _ in 0..5 {
            let longer = names.iter().flat_map(|name: &Vec<u8>| {
                parts.iter().map(move |part| [name.as_slice(), part].concat())
            });
            names.extend(longer.collect::<Vec<_>>());
            names.sort();
            names.dedup();
        }

        for format in [Format::Json, Format::Prometheus] {
            let mut shown: Vec<_> =
                names.iter().map(|name| std::format!("{}", Quoted(name, format))).collect();
            shown.sort();
            shown.dedup();

            assert_eq!(shown.len(), names.len());
        }
    }

    #[test]
    fn json_of_nothing() {
        assert_eq!(rendered(Format::Json, &[]), "{\"upstreams\":{}}\n");
    }

    #[test]
    fn json_of_an_upstream() {
        let out = rendered(Format::Json, &[upstream(b"u", &[b"a", b"b"])]);

        let start = "{\"upstreams\":{\"u\":{\"timeout_ms\":5000,\"margin_ms\":250,\
                     \"connections\":4,\"connects\":0,\"reuses\":2,\"closes\":{\"margin\":0,";
        assert!(out.starts_with(start), "{out}");
        assert!(
            out.contains("\"reuse_failures\":{\"reset\":2,\"eof\":0,\"goaway\":0,\"timeout\":0}"),
            "{out}"
        );

        let peer = "\"peers\":{\"a\":{\"connections\":2,\"connects\":0,\"reuses\":1,";
        assert!(out.contains(peer), "{out}");
        assert_eq!(out.matches('{').count(), out.matches('}').count());
    }

    #[test]
    fn json_of_an_unknown_timeout() {
        let auto = Upstream { timeout: None, ..upstream(b"u", &[]) };

        assert!(rendered(Format::Json, &[auto]).contains("\"timeout_ms\":null,"));
    }

    #[test]
    fn prometheus_families_stand_together() {
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
        assert_eq!(families.len(), 9);
    }

    #[test]
    fn prometheus_samples() {
        let out = rendered(Format::Prometheus, &[upstream(b"u", &[b"a"])]);
        let labels = "upstream=\"u\",peer=\"a\"";

        let samples = [
            std::format!("connections{{{labels}}} 2"),
            std::format!("reuses_total{{{labels}}} 1"),
            std::format!("reuse_failures_total{{{labels},kind=\"reset\",evidence=\"unknown\"}} 1"),
            std::format!("closes_total{{{labels},reason=\"non_idempotent\"}} 0"),
            std::format!("age_seconds_bucket{{{labels},event=\"reuse\",le=\"1\"}} 0"),
            std::format!("age_seconds_bucket{{{labels},event=\"reuse\",le=\"2\"}} 1"),
            std::format!("age_seconds_bucket{{{labels},event=\"reuse\",le=\"+Inf\"}} 1"),
            std::format!("age_seconds_sum{{{labels},event=\"reuse\"}} 1.5"),
            std::format!("age_seconds_count{{{labels},event=\"failure\"}} 1"),
            "timeout_seconds{upstream=\"u\"} 5".into(),
            "margin_seconds{upstream=\"u\"} 0.250".into(),
        ];

        for sample in samples {
            assert!(out.contains(&std::format!("{PREFIX}_{sample}\n")), "{sample}\n{out}");
        }
    }
}
