//! The backends of the tables.

use crate::backend::{Backend, Tells, Way};
use crate::time::{Micros, Pauses, MS, NEVER, SECOND};

const T: Micros = 5 * SECOND;

/// Those that close each connection at the same age.
pub fn plain() -> Vec<Backend> {
    let exact = Backend::exact;

    vec![
        exact("5 s", T),
        Backend { tells: Tells::Timeout, ..exact("5 s, tells it", T) },
        Backend { added: SECOND, ..exact("Node, hint stripped", T) },
        Backend { added: SECOND, tells: Tells::Timeout, ..exact("Node", T) },
    ]
}

/// Those that the rules were tuned with, the plain ones apart.
pub fn known() -> Vec<Backend> {
    let exact = Backend::exact;
    let late = (1.0, SECOND);

    vec![
        Backend { late, ..exact("5 s + up to 1 s", T) },
        Backend { late, ..exact("1 s + up to 1 s", SECOND) },
        Backend { tells: Tells::Either, ..exact("5 s, tells 5 or 20", T) },
        Backend { early: 0.05, ..exact("5 s, 5 % early", T) },
        Backend { other: (0.5, 20 * SECOND), ..exact("5 s, half 20 s", T) },
        Backend { requests: Some(100), ..exact("5 s, 100 requests", T) },
        Backend { restarts: Some(600 * SECOND), ..exact("5 s, restarts/10 min", T) },
        Backend { pressure: pauses(60 * SECOND, 3 * SECOND), ..exact("5 s, pressure", T) },
        Backend { stalls: pauses(100 * MS, 20 * MS), ..exact("5 s, stalls 20/100 ms", T) },
        Backend { stalls: pauses(10 * SECOND, 300 * MS), ..exact("5 s, stalls 0.3/10 s", T) },
        Backend { stalls: pauses(10 * SECOND, 800 * MS), ..exact("5 s, stalls 0.8/10 s", T) },
        Backend { stalls: pauses(10 * SECOND, 300 * MS), ..exact("1 s, stalls 0.3/10 s", SECOND) },
        Backend { slow: 0.05, ..exact("5 s, 5 % slow", T) },
        Backend { gone: Some((600 * SECOND, 120 * SECOND)), ..exact("5 s, gone for 2 min", T) },
        Backend { changed: Some(2 * SECOND), redeployed: true, ..exact("5 -> 2 s", T) },
        Backend {
            changed: Some(2 * SECOND),
            redeployed: true,
            tells: Tells::Timeout,
            ..exact("5 -> 2 s, tells it", T)
        },
        Backend { changed: Some(4500 * MS), redeployed: true, ..exact("5 -> 4.5 s", T) },
        Backend { changed: Some(20 * SECOND), redeployed: true, ..exact("2 -> 20 s", 2 * SECOND) },
        Backend {
            changed: Some(20 * SECOND),
            redeployed: true,
            tells: Tells::Timeout,
            ..exact("2 -> 20 s, tells it", 2 * SECOND)
        },
        Backend { changed: Some(NEVER), ..exact("2 s -> never", 2 * SECOND) },
        Backend {
            changed: Some(10 * SECOND),
            late: (1.0, 10 * SECOND),
            ..exact("2 -> 10 s + up to 10 s", 2 * SECOND)
        },
        exact("60 s", 60 * SECOND),
        exact("75 s", 75 * SECOND),
        exact("never", NEVER),
        Backend { slow: 0.05, ..exact("never, 5 % slow", NEVER) },
        Backend { way: Way::Reset, ..exact("RST at 30 s", 30 * SECOND) },
        Backend { way: Way::Reset, ..exact("RST at 350 s", 350 * SECOND) },
        Backend { way: Way::Dropped, ..exact("dropped at 30 s", 30 * SECOND) },
        Backend { random: Some((0, 10 * SECOND)), ..exact("crazy: 0 to 10 s", T) },
        Backend { random: Some((0, 5 * MS)), ..exact("crazy: at once", T) },
    ]
}

/// Those that no rule and no constant was chosen by.
pub fn unseen() -> Vec<Backend> {
    let exact = Backend::exact;
    let late = (1.0, SECOND);

    vec![
        exact("0.5 s", SECOND / 2),
        exact("1 s", SECOND),
        exact("20 s", 20 * SECOND),
        exact("30 s", 30 * SECOND),
        Backend { late, ..exact("2 s + up to 1 s", 2 * SECOND) },
        Backend { late, tells: Tells::Timeout, ..exact("20 s + up to 1 s, tells it", 20 * SECOND) },
        Backend { late: (0.1, 200 * MS), ..exact("10 s, 10 % late 0.2 s", 10 * SECOND) },
        Backend { late: (1.0, 4 * SECOND), ..exact("8 to 12 s, as Bun", 8 * SECOND) },
        Backend {
            stalls: pauses(3 * SECOND, 100 * MS),
            ..exact("10 s, stalls 0.1/3 s", 10 * SECOND)
        },
        Backend {
            stalls: pauses(60 * SECOND, 2 * SECOND),
            ..exact("20 s, stalls 2/60 s", 20 * SECOND)
        },
        Backend { early: 0.02, ..exact("10 s, 2 % early", 10 * SECOND) },
        Backend { early: 0.3, ..exact("10 s, 30 % early", 10 * SECOND) },
        Backend { other: (0.9, 30 * SECOND), ..exact("30 s, 10 % 3 s", 3 * SECOND) },
        Backend { requests: Some(10), ..exact("10 s, 10 requests", 10 * SECOND) },
        Backend { restarts: Some(180 * SECOND), ..exact("15 s, restarts/3 min", 15 * SECOND) },
        Backend { restarts: Some(7 * SECOND), ..exact("15 s, restarts/7 s", 15 * SECOND) },
        Backend { changed: Some(7 * SECOND), ..exact("3 -> 7 s", 3 * SECOND) },
        Backend { changed: Some(SECOND), ..exact("30 -> 1 s", 30 * SECOND) },
        Backend { changed: Some(9800 * MS), ..exact("10 -> 9.8 s", 10 * SECOND) },
        Backend { way: Way::Dropped, ..exact("dropped at 12 s", 12 * SECOND) },
        Backend {
            random: Some((100 * MS, 60 * SECOND)),
            ..exact("crazy: 0.1 to 60 s", 40 * SECOND)
        },
    ]
}

fn pauses(every: Micros, length: Micros) -> Option<Pauses> {
    Some(Pauses { every, length })
}
