//! The tables: strategies compared, in front of many backends and under all loads.

use std::fmt::Write;

use crate::backend::Backend;
use crate::load::Load;
use crate::simulation::report::Report;
use crate::simulation::Simulation;
use crate::strategies::Kind;
use crate::time::SECOND;

/// What came of a backend and a load with each of some strategies, of which the first is the oracle.
pub fn cell(backend: &Backend, load: &Load, kinds: &[Kind], seed: u64) -> Vec<Report> {
    let requests = load.requests(backend.dangerous(), seed);

    kinds
        .iter()
        .map(|kind| {
            let backend = backend.during(load.length);
            let strategy = kind.strategy(&backend);

            Simulation::new(&backend, load, strategy.as_ref(), &requests, seed).run()
        })
        .collect()
}

/// What came of a strategy over all loads.
#[derive(Clone, Default)]
struct Sum {
    runs: f64,
    failures: f64,
    worst: f64,
    after: f64,
    reuses: f64,
    fewest: f64,
    more_than_stock: bool,
}

impl Sum {
    fn add(&mut self, report: &Report, oracle: &Report) {
        // one that reuses next to nothing does not look the worse for it
        let reuses = report.reuses.max(oracle.reuses / 10) as f64;
        let failures = report.failures as f64 * 1000.0 / reuses;
        let share = report.reuses as f64 * 100.0 / oracle.reuses as f64;

        self.fewest = if self.runs > 0.0 { self.fewest.min(share) } else { share };
        self.runs += 1.0;
        self.failures += failures;
        self.worst = self.worst.max(failures);
        self.after += report.failures_after as f64 * 1000.0 / reuses;
        self.reuses += share;
    }

    fn text(&self) -> String {
        let Self { runs, worst, fewest, .. } = *self;
        let (failures, after, reuses) =
            (self.failures / runs, self.after / runs, self.reuses / runs);
        let more = if self.more_than_stock { "!" } else { "" };

        format!("{failures:.2} {worst:.1} {after:.2}{more} ({reuses:.0} {fewest:.0} %)")
    }
}

/// Failures and reuses with some strategies, each in front of each backend.
pub fn compare(backends: &[Backend], others: &[Kind], seeds: u64) {
    let kinds = [&[Kind::Oracle, Kind::Stock], others].concat();
    let head = ["backend"].into_iter().chain(kinds[1..].iter().map(|kind| kind.name()));
    let mut rows = vec![head.map(String::from).collect()];

    for backend in backends {
        let mut sums = vec![Sum::default(); kinds.len() - 1];

        for load in Load::all() {
            for seed in 1..=seeds {
                let reports = cell(backend, &load, &kinds, seed);

                // there is nothing to reuse
                if reports[0].reuses < 100 {
                    continue;
                }

                for (sum, report) in sums.iter_mut().zip(&reports[1..]) {
                    sum.add(report, &reports[0]);
                    sum.more_than_stock |= report.failures > reports[1].failures;
                }
            }
        }

        let name = [String::from(backend.name)];

        rows.push(name.into_iter().chain(sums.iter().map(Sum::text)).collect());
    }

    print(&rows);
}

/// What is learned of backends whose timeout is plain to see: failures after that, reuses, and how long it took.
pub fn goal(backends: &[Backend], seeds: u64) {
    let head = ["load"].into_iter().chain(backends.iter().map(|backend| backend.name));
    let mut rows = vec![head.map(String::from).collect()];

    for load in Load::all() {
        let mut row = vec![String::from(load.name)];

        for backend in backends {
            let (mut failures, mut reuses, mut possible, mut learned) = (0, 0, 0, 0);

            for seed in 1..=seeds {
                let reports = cell(backend, &load, &[Kind::Oracle, Kind::Auto], seed);

                failures += reports[1].failures_after;
                reuses += reports[1].reuses;
                possible += reports[0].reuses;
                learned = learned.max(reports[1].learned.unwrap_or(load.length));
            }

            let share = reuses as f64 * 100.0 / possible as f64;

            row.push(format!("{failures} of {reuses} ({share:.1} %), {} s", learned / SECOND));
        }

        rows.push(row);
    }

    print(&rows);
}

/// Where more requests failed than with stock nginx.
pub fn more(backends: &[Backend], seeds: u64) {
    let head = ["backend", "load", "failures", "stock's", "standard deviations"];
    let mut rows = vec![head.map(String::from).to_vec()];
    let (mut cells, mut none, mut single) = (0, 0, 0);

    for backend in backends {
        for load in Load::all() {
            let (mut failures, mut stock) = (0, 0);

            for seed in 1..=seeds {
                let reports = cell(backend, &load, &[Kind::Auto, Kind::Stock], seed);

                failures += reports[0].failures;
                stock += reports[1].failures;
                single += u64::from(reports[0].failures > reports[1].failures);
            }

            cells += 1;
            none += u64::from(failures + stock == 0);

            if failures > stock {
                rows.push(vec![
                    backend.name.into(),
                    load.name.into(),
                    failures.to_string(),
                    stock.to_string(),
                    format!("{:.1}", deviations(failures, stock)),
                ]);
            }
        }
    }

    print(&rows);
    println!();
    println!(
        "{} of {cells} with {seeds} runs each; no failure at all in {none}; more in {single} of {} runs.",
        rows.len() - 1,
        cells * seeds
    );
}

/// By how many standard deviations of chance one number is above the other.
pub fn deviations(more: u64, less: u64) -> f64 {
    (more as f64 - less as f64) / ((more + less).max(1) as f64).sqrt()
}

/// Connections that lived past their limit, for all loads together.
pub fn watched(backends: &[Backend]) {
    let head = ["backend", "connections", "past the limit", "followed after"];
    let mut rows = vec![head.map(String::from).to_vec()];

    for backend in backends {
        let (mut connections, mut time, mut followed) = (0, 0, vec![]);

        for load in Load::all() {
            for report in cell(backend, &load, &[Kind::Auto], 1) {
                connections += report.watched.connections;
                time += report.watched.time;
                followed.extend(report.followed.map(|after| after / SECOND));
            }
        }

        let mean = time as f64 / connections.max(1) as f64 / SECOND as f64;
        let followed = match (followed.iter().min(), followed.iter().max()) {
            (Some(least), Some(most)) => format!("{least} to {most} s"),
            _ => String::new(),
        };

        rows.push(vec![
            backend.name.into(),
            connections.to_string(),
            format!("{mean:.2} s"),
            followed,
        ]);
    }

    print(&rows);
}

/// As Markdown has it, the first row being the head.
fn print(rows: &[Vec<String>]) {
    let columns = rows[0].len();
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();

    for (n, row) in rows.iter().enumerate() {
        let mut line = String::from("|");

        for (text, width) in row.iter().zip(&widths) {
            // writing to a string does not fail
            let _ = write!(line, " {text:width$} |");
        }

        println!("{line}");

        if n == 0 {
            println!("|{}", " --- |".repeat(columns));
        }
    }
}
