//! What the rules promise, in front of all backends and under shorter loads.

use crate::backend::Backend;
use crate::catalog;
use crate::load::Load;
use crate::simulation::report::Report;
use crate::strategies::Kind;
use crate::table::{cell, deviations};
use crate::time::{MS, SECOND};

const SEEDS: std::ops::Range<u64> = 101..103;

/// Long enough for something to be learned, and for a timeout to change.
fn loads() -> Vec<Load> {
    Load::all().into_iter().map(|load| Load { length: load.length / 8, ..load }).collect()
}

/// One that keeps all workers busy, and some connections idle.
fn usual() -> Load {
    let load = Load::all().into_iter().find(|load| load.name == "100/s, 4 workers, 40 ms");

    Load { length: 400 * SECOND, ..load.unwrap() }
}

fn learned(backend: &Backend, load: &Load, seed: u64) -> [Report; 2] {
    let reports = cell(backend, load, &[Kind::Oracle, Kind::Auto], seed);

    reports.try_into().ok().unwrap()
}

#[test]
fn no_more_failures_than_with_stock_nginx() {
    for backend in [catalog::plain(), catalog::known(), catalog::unseen()].concat() {
        let (mut all, mut all_stock) = (0, 0);

        for load in loads() {
            let (mut failures, mut stock) = (0, 0);

            for seed in SEEDS {
                let reports = cell(&backend, &load, &[Kind::Auto, Kind::Stock], seed);

                failures += reports[0].failures;
                stock += reports[1].failures;
            }

            let by_chance = deviations(failures, stock) < 3.0;
            assert!(by_chance, "{}, {}: {failures} for {stock}", backend.name, load.name);

            all += failures;
            all_stock += stock;
        }

        let by_chance = deviations(all, all_stock) < 2.0;
        assert!(by_chance, "{}: {all} for {all_stock}", backend.name);
    }
}

/// Losses apart, which make a packet later than any round trip.
#[test]
fn none_where_each_connection_is_closed_at_the_same_age() {
    for backend in catalog::plain() {
        for load in loads().iter().filter(|load| load.loss == 0.0) {
            for seed in SEEDS {
                let [oracle, report] = learned(&backend, load, seed);
                let share = report.reuses as f64 / oracle.reuses as f64;
                let far = load.round_trip.max(load.later.unwrap_or(0)) > 10 * MS;

                let name = format!("{}, {}: {share}", backend.name, load.name);

                // a way that gets longer at once may cost one
                let most = u64::from(load.later.is_some());

                assert!(report.failures_after <= most, "{name}");
                assert!(share > if far { 0.9 } else { 0.96 }, "{name}");
            }
        }
    }
}

#[test]
fn a_minute_is_enough() {
    for seed in SEEDS {
        let [_, report] = learned(&catalog::plain()[0], &usual(), seed);

        assert!(report.learned.is_some_and(|at| at < 60 * SECOND), "{:?}", report.learned);
    }
}

#[test]
fn a_change_is_followed() {
    let exact = Backend::exact;

    let changes = [
        Backend { changed: Some(2 * SECOND), ..exact("5 -> 2 s", 5 * SECOND) },
        Backend { changed: Some(8 * SECOND), ..exact("2 -> 8 s", 2 * SECOND) },
    ];

    for backend in changes {
        for seed in SEEDS {
            let load = usual();
            let [_, report] = learned(&backend, &load, seed);

            let followed = report.followed.is_some_and(|after| after < 120 * SECOND);
            assert!(followed, "{}: {:?}", backend.name, report.followed);

            let last = report.last_failure.unwrap_or(0).saturating_sub(load.length / 2);
            assert!(last < 10 * SECOND, "{}: {last}", backend.name);
        }
    }
}

#[test]
fn what_befalls_some_is_no_timeout() {
    let exact = Backend::exact;

    let backends = [
        Backend { restarts: Some(20 * SECOND), ..exact("restarts/20 s", 5 * SECOND) },
        Backend { requests: Some(100), ..exact("100 requests", 5 * SECOND) },
        Backend { early: 0.05, ..exact("5 % early", 5 * SECOND) },
    ];

    for backend in backends {
        for seed in SEEDS {
            let [oracle, report] = learned(&backend, &usual(), seed);
            let share = report.reuses as f64 / oracle.reuses as f64;

            assert!(share > 0.97, "{}: {share}", backend.name);
        }
    }
}

#[test]
fn what_is_closed_at_once_is_not_used() {
    let crazy = catalog::known().into_iter().find(|backend| backend.name == "crazy: at once");

    for load in loads() {
        for seed in SEEDS {
            let [_, report] = learned(crazy.as_ref().unwrap(), &load, seed);

            assert_eq!(report.failures_after, 0, "{}", load.name);
        }
    }
}
