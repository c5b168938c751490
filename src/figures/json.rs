#![forbid(unsafe_code)]
//! The status as JSON: one object, times in milliseconds.

use core::fmt::{self, Write};

use super::counters::Snapshot;
use super::names::Quoted;
use super::status::{
    ages, closes, count, cumulative, evidence, failures, repeats, Format, Upstream,
};
use crate::rules::learned::margin::Margin;
use crate::rules::learned::Shown;

/// Writes the status.
pub fn write(out: &mut dyn Write, upstreams: &[Upstream<'_>]) -> fmt::Result {
    out.write_str("{\"upstreams\":")?;
    object(out, upstreams, |out, upstream| {
        write!(out, "{}:", Quoted(upstream.name, Format::Json))?;
        upstream_object(out, upstream)
    })?;
    out.write_str("}\n")
}

fn upstream_object(out: &mut dyn Write, upstream: &Upstream<'_>) -> fmt::Result {
    let mut total = Snapshot::default();

    for peer in &upstream.peers {
        total.merge(&peer.figures);
    }

    match upstream.timeout {
        Some(timeout) => write!(out, "{{\"timeout_ms\":{timeout},"),
        None => out.write_str("{\"timeout_ms\":null,"),
    }?;

    write!(out, "\"margin_ms\":{},", upstream.margin)?;
    write_figures(out, &total)?;
    out.write_str(",\"peers\":")?;
    object(out, &upstream.peers, |out, peer| {
        write!(out, "{}:{{", Quoted(peer.address, Format::Json))?;
        write_figures(out, &peer.figures)?;
        out.write_str(",\"learned\":")?;
        write_learned(out, peer.learned.as_ref())?;
        out.write_char('}')
    })?;
    out.write_char('}')
}

fn write_learned(out: &mut dyn Write, learned: Option<&Shown>) -> fmt::Result {
    let Some(Shown { timeout, margin, before, closes, lasted }) = learned else {
        return out.write_str("null");
    };

    let Margin { rtt, spread, failures } = margin;

    write!(out, "{{\"timeout_ms\":{timeout},\"margin_ms\":{before},\"rtt_ms\":{rtt},")?;
    write!(out, "\"spread_ms\":{spread},\"failures_ms\":{failures},\"closes\":{closes},")?;
    write!(out, "\"known_for_ms\":{lasted}}}")
}

fn write_figures(out: &mut dyn Write, figures: &Snapshot) -> fmt::Result {
    write!(
        out,
        "\"connections\":{},\"connects\":{},\"reuses\":{},\"closes\":",
        figures.connections,
        figures.connects,
        figures.reuses()
    )?;
    object(out, closes(figures), |out, (name, n)| write!(out, "\"{name}\":{n}"))?;
    out.write_str(",\"reuse_failures\":")?;
    object(out, failures(figures), |out, (name, n)| write!(out, "\"{name}\":{n}"))?;
    out.write_str(",\"reuse_evidence\":")?;
    object(out, evidence(figures), |out, (name, n)| write!(out, "\"{name}\":{n}"))?;
    out.write_str(",\"repeats\":")?;
    object(out, repeats(figures), |out, (name, n)| write!(out, "\"{name}\":{n}"))?;
    write!(out, ",\"failed_requests\":{},\"ages\":", figures.failed_requests)?;
    object(out, ages(figures), |out, (name, ages)| {
        write!(out, "\"{name}\":{{\"count\":{},\"sum_ms\":{},", count(ages), ages.sum)?;
        out.write_str("\"buckets_ms\":")?;
        object(out, cumulative(ages), |out, (bound, n)| match bound {
            Some(bound) => write!(out, "\"{bound}\":{n}"),
            None => write!(out, "\"+Inf\":{n}"),
        })?;
        out.write_char('}')
    })
}

/// Writes an object of members that `member` writes.
fn object<T>(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::status::examples::{rendered, upstream};

    #[test]
    fn nothing() {
        assert_eq!(rendered(Format::Json, &[]), "{\"upstreams\":{}}\n");
    }

    #[test]
    fn an_upstream() {
        let out = rendered(Format::Json, &[upstream(b"u", &[b"a", b"b"])]);

        let start = "{\"upstreams\":{\"u\":{\"timeout_ms\":5000,\"margin_ms\":250,\
                     \"connections\":4,\"connects\":0,\"reuses\":2,\"closes\":{\"margin\":0,";
        assert!(out.starts_with(start), "{out}");
        assert!(
            out.contains("\"reuse_failures\":{\"reset\":2,\"eof\":0,\"goaway\":0,\"timeout\":0}"),
            "{out}"
        );

        let evidence = "\"reuse_evidence\":{\"unwritten\":0,\"refused\":0,\"closed\":0,\
                        \"unknown\":2,\"received\":0}";
        assert!(out.contains(evidence), "{out}");

        let repeats = "\"repeats\":{\"unwritten\":0,\"refused\":2,\"closed\":0,\"unknown\":0},";
        assert!(out.contains(repeats), "{out}");

        let peer = "\"peers\":{\"a\":{\"connections\":2,\"connects\":0,\"reuses\":1,";
        assert!(out.contains(peer), "{out}");
        let learned = "\"learned\":{\"timeout_ms\":5000,\"margin_ms\":42,\"rtt_ms\":2,\
                       \"spread_ms\":30,\"failures_ms\":0,\"closes\":7,\
                       \"known_for_ms\":60000}}";
        assert!(out.contains(learned), "{out}");

        assert_eq!(out.matches('{').count(), out.matches('}').count());
    }

    #[test]
    fn nothing_learned() {
        let mut upstream = upstream(b"u", &[b"a"]);
        upstream.peers.iter_mut().for_each(|peer| peer.learned = None);

        assert!(rendered(Format::Json, &[upstream]).ends_with("\"learned\":null}}}}}\n"));
    }

    #[test]
    fn an_unknown_timeout() {
        let auto = Upstream { timeout: None, ..upstream(b"u", &[]) };

        assert!(rendered(Format::Json, &[auto]).contains("\"timeout_ms\":null,"));
    }
}
