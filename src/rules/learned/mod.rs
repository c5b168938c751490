#![forbid(unsafe_code)]
//! At what idle age a backend closes its connections, learned from what becomes of them.
//!
//! It is kept once for each peer, in memory that worker processes share. Each word is true by itself, and what a worker
//! writes over another's is learned again: there is no lock, and all orders are relaxed.
//!
//! Closes at one age are a timeout when three agree that were not at one moment, and nothing outlived them. A lower one
//! takes its place in the same way, a higher one when eight in a row were higher. Failures show an age where no close is
//! seen; what they alone have shown is forgotten after a day.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::outcome::FailedReuse;
use super::policy::{default_margin, Msec};
use ages::{Ages, Cluster};
use margin::Margin;

mod ages;
pub mod margin;
mod votes;

/// Younger connections count as this old. Where the backend closes them so early, there is nothing to be reused.
const YOUNG: Msec = 100;

/// What failures alone have shown is forgotten after so long.
const FORGET: Msec = 24 * 3600 * 1000;

/// A connection is watched so long after the last one, and so long when nothing came of that.
const WATCH: Msec = 2000;
const LULL: Msec = 60_000;

/// What became of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The backend closed it at that age.
    Closed,
    /// The backend had closed it by that age.
    Gone,
    /// A request on it was answered.
    Answered,
    /// A request on it failed.
    Failed(FailedReuse),
    /// nginx closed it, and the backend had not.
    Outlived,
    /// nginx closed it when `keepalive_timeout` was over, and the backend had not.
    Kept,
}

/// What is known of a peer. All zero is the value to begin with.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Learned {
    timeout: Cluster,
    /// Ages that may become a lower timeout, or a higher one.
    lower: Cluster,
    higher: Cluster,
    /// What failures have added to the margin, in microseconds.
    failures: AtomicU64,
    next_watch: AtomicU64,
    /// When the timeout changed by so much that it was told, and to what; 0 if it never did.
    changed: AtomicU64,
    told: AtomicU32,
    closes: AtomicU32,
    /// In microseconds; 0 while it is not known.
    rtt: AtomicU32,
    /// Another number whenever the limit may be another one.
    version: AtomicU32,
}

/// A learned timeout that is another one, by more than a tenth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it was, if it was known.
    pub before: Option<Msec>,
    /// What it is now.
    pub now: Msec,
}

/// What is shown of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The timeout.
    pub timeout: Msec,
    /// The parts of the margin.
    pub margin: Margin,
    /// How long before the timeout connections are let go.
    pub before: Msec,
    /// From how many closes it was learned.
    pub closes: u32,
    /// For how long it has been about this.
    pub lasted: Msec,
}

impl Learned {
    /// From what idle age on a connection must not be used, as far as that is known. What is learned counts more than
    /// what the backend tells.
    pub fn limit(&self, now: Msec, hint: Option<Msec>) -> Option<Msec> {
        match self.known(now) {
            Some(ages) => Some(limit_of(&ages, &self.margin_of(&ages))),
            None => hint.map(|hint| hint.saturating_sub(default_margin(hint))),
        }
    }

    /// A number by which it is seen that the limit may be another one than it was. That what failures have shown is
    /// forgotten is not.
    pub fn version(&self) -> u32 {
        self.version.load(Relaxed)
    }

    /// The idle age at which the backend closes, if it is known. Where no close was ever seen, it is some way before the
    /// least that failed, and 0 where the backend closes at once.
    pub fn timeout(&self, now: Msec) -> Option<Msec> {
        self.known(now).map(|ages| timeout_of(&ages))
    }

    /// How long before a timeout connections are to be let go, if anything was seen of the backend.
    pub fn margin_before(&self, now: Msec, timeout: Msec) -> Option<Msec> {
        if self.rtt.load(Relaxed) == 0 {
            return None;
        }

        let margin = match self.known(now) {
            Some(ages) => self.margin_of(&ages),
            None => self.margin_without_spread(),
        };

        Some(margin.before(timeout))
    }

    /// What is shown of it, when it is known.
    pub fn shown(&self, now: Msec) -> Option<Shown> {
        let ages = self.known(now)?;
        let (timeout, margin) = (timeout_of(&ages), self.margin_of(&ages));

        Some(Shown {
            timeout,
            margin,
            before: timeout.saturating_sub(limit_of(&ages, &margin)),
            closes: self.closes.load(Relaxed),
            lasted: now.saturating_sub(self.changed.load(Relaxed)),
        })
    }

    /// Whether it tells anything that a request was answered on a connection of that age: it speaks against a lower
    /// timeout.
    #[inline]
    pub fn heeds_answer(&self, age: Msec) -> bool {
        self.lower.begins_by(age.max(YOUNG))
    }

    /// Whether a connection may be watched: live on past its limit, unused, to show when the backend closes it. Until
    /// `end_watch`, or that time, no other may.
    pub fn watch(&self, now: Msec, until: Msec) -> bool {
        let next = self.next_watch.load(Relaxed);
        let until = until.max(now.saturating_add(WATCH));

        now >= next && self.next_watch.compare_exchange(next, until, Relaxed, Relaxed).is_ok()
    }

    /// The watched connection is no more; whether it has shown when the backend closes it.
    pub fn end_watch(&self, now: Msec, shown: bool) {
        let pause = if shown { WATCH } else { LULL };

        self.next_watch.store(now.saturating_add(pause), Relaxed);
    }

    /// Takes over what was learned elsewhere.
    pub fn absorb(&self, other: &Self) {
        self.timeout.copy(&other.timeout);
        self.lower.copy(&other.lower);
        self.higher.copy(&other.higher);

        for (mine, theirs) in [
            (&self.failures, &other.failures),
            (&self.next_watch, &other.next_watch),
            (&self.changed, &other.changed),
        ] {
            mine.store(theirs.load(Relaxed), Relaxed);
        }

        for (mine, theirs) in
            [(&self.told, &other.told), (&self.closes, &other.closes), (&self.rtt, &other.rtt)]
        {
            mine.store(theirs.load(Relaxed), Relaxed);
        }

        self.renew();
    }

    /// The limit may be another one.
    fn renew(&self) {
        self.version.fetch_add(1, Relaxed);
    }

    fn known(&self, now: Msec) -> Option<Ages> {
        let ages = self.timeout.load();
        let forgotten = ages.silent && self.timeout.lasted(now) > FORGET;

        (ages.votes > 0 && !forgotten).then_some(ages)
    }

    fn margin_of(&self, ages: &Ages) -> Margin {
        Margin { spread: ages.spread(), ..self.margin_without_spread() }
    }

    fn margin_without_spread(&self) -> Margin {
        Margin {
            rtt: Msec::from(self.rtt.load(Relaxed).div_ceil(1000)),
            spread: 0,
            failures: self.failures.load(Relaxed) / 1000,
        }
    }
}

fn timeout_of(ages: &Ages) -> Msec {
    match ages.least {
        ..=YOUNG => 0,
        // it let go at an age that may be lower than what was seen
        least if ages.silent => least.saturating_sub(least / 4),
        least => least,
    }
}

fn limit_of(ages: &Ages, margin: &Margin) -> Msec {
    let timeout = timeout_of(ages);

    match ages.silent {
        true => timeout,
        false => timeout.saturating_sub(margin.before(timeout)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::outcome::{Evidence, Failure};

    /// Closes at that age, with that round trip, and the time after them.
    fn closed(n: usize, age: Msec, rtt: u32) -> (Learned, Msec) {
        let (learned, mut now) = (Learned::default(), 1_000_000);

        for _ in 0..n {
            learned.observe(now, Event::Closed, age, rtt);
            now = now.saturating_add(3000);
        }

        (learned, now)
    }

    #[test]
    fn what_is_seen_counts_more_than_what_is_told() {
        let (nothing, now) = closed(0, 0, 0);
        let hints = [None, Some(5000), Some(1000)];

        assert_eq!(hints.map(|hint| nothing.limit(now, hint)), [None, Some(4000), Some(500)]);

        let (six, now) = closed(3, 6000, 0);
        assert_eq!(hints.map(|hint| six.limit(now, hint)), [Some(5990); 3]);
        assert_eq!(six.limit(now, Some(60_000)), Some(5990));
    }

    #[test]
    fn the_round_trip_counts_twice() {
        for (rtt, expected) in [(1, 4988), (2000, 4986), (2001, 4984), (40_000, 4910)] {
            let (learned, now) = closed(3, 5000, rtt);
            assert_eq!(learned.limit(now, None), Some(expected), "{rtt}");
        }

        // never more than half
        let (learned, now) = closed(3, 5000, 5_000_000);
        assert_eq!(learned.limit(now, None), Some(2500));

        // a longer one counts at once, a shorter one by and by
        let (learned, now) = closed(3, 5000, 2000);

        for (rtt, expected) in [(40_000, 4910), (2000, 4920), (2000, 4928)] {
            learned.observe(now, Event::Closed, 5000, rtt);
            assert_eq!(learned.limit(now, None), Some(expected));
        }
    }

    #[test]
    fn a_margin_before_another_timeout() {
        let (learned, now) = closed(0, 0, 0);
        assert_eq!(learned.margin_before(now, 9000), None);

        learned.observe(now, Event::Outlived, 8000, 20_000);
        assert_eq!(learned.margin_before(now, 9000), Some(50));
        assert_eq!(learned.margin_before(now, 60), Some(30));

        learned.widen(9000, 8900);
        assert_eq!(learned.margin_before(now, 9000), Some(130));
        learned.widen(9000, 8000);
        assert_eq!(learned.margin_before(now, 9000), Some(10 + 20 + 562));
    }

    #[test]
    fn another_limit_is_another_version() {
        let (learned, mut now) = closed(3, 5000, 2000);
        let reset = Event::Failed(FailedReuse::new(Failure::Reset, Evidence::Unknown));

        for (event, age, rtt) in [
            (Event::Closed, 4900, 0),
            (Event::Outlived, 2000, 40_000),
            (reset, 4500, 0),
            (Event::Kept, 4990, 0),
        ] {
            let before = (learned.limit(now, None), learned.version());
            learned.observe(now, event, age, rtt);
            now = now.saturating_add(3000);

            assert_ne!(learned.limit(now, None), before.0, "{event:?}");
            assert_ne!(learned.version(), before.1, "{event:?}");
        }

        let before = learned.version();
        learned.observe(now, Event::Answered, 100, 0);
        assert_eq!(learned.version(), before);
        Learned::default().absorb(&learned);
        learned.absorb(&Learned::default());
        assert_ne!(learned.version(), before);
    }

    #[test]
    fn one_is_watched_at_a_time() {
        let (learned, _) = closed(0, 0, 0);

        assert!(learned.watch(10_000, 70_000));
        assert!(!learned.watch(69_999, 99_999));

        learned.end_watch(11_000, true);
        assert!(!learned.watch(12_999, 70_000));
        assert!(learned.watch(13_000, 70_000));

        learned.end_watch(14_000, false);
        assert!(!learned.watch(73_999, 99_999));
        assert!(learned.watch(74_000, 99_999));

        // its worker was killed
        assert!(learned.watch(99_999, 100_000));
        assert!(!learned.watch(101_998, 200_000));
        assert!(learned.watch(101_999, 200_000));
    }

    #[test]
    fn changes() {
        let (learned, mut now) = closed(2, 5000, 0);
        let change = |before, now| Some(Change { before, now });

        assert_eq!(learned.observe(now, Event::Closed, 5000, 0), change(None, 5000));
        assert_eq!(learned.observe(now, Event::Closed, 5000, 0), None);

        let mut seen = std::vec![];

        for age in [[4700; 3], [4400; 3], [2000; 3], [0; 3]].concat() {
            now = now.saturating_add(3000);
            seen.extend(learned.observe(now, Event::Closed, age, 0));
        }

        // a tenth in all, in two steps; and the backend that closes at once
        let expected = [(Some(5000), 4400), (Some(4400), 2000), (Some(2000), 0)];
        assert_eq!(seen, expected.map(|(before, now)| Change { before, now }));
        assert_eq!(learned.shown(now + 7000).map(|shown| shown.lasted), Some(7000));
    }

    #[test]
    fn what_is_shown() {
        let (learned, now) = closed(5, 5000, 2000);
        let margin = Margin { rtt: 2, spread: 0, failures: 0 };

        let shown = learned.shown(now).unwrap();
        let lasted = now - 1_006_000;
        assert_eq!(shown, Shown { timeout: 5000, margin, before: 14, closes: 5, lasted });

        let reset = Event::Failed(FailedReuse::new(Failure::Reset, Evidence::Unknown));
        learned.observe(now, reset, 4970, 0);
        let shown = learned.shown(now).unwrap();
        assert_eq!((shown.margin.failures, shown.before), (30, 42));

        assert_eq!(Learned::default().shown(now), None);

        // what failures alone have shown has its margin in it
        let silent = Learned::default();
        silent.observe(now, reset, 40_000, 1000);
        silent.observe(now + 2000, reset, 40_000, 1000);
        let shown = silent.shown(now + 2000).unwrap();
        assert_eq!((shown.timeout, shown.before), (30_000, 0));
    }

    #[test]
    fn it_is_taken_over_whole() {
        let (learned, now) = closed(3, 5000, 2000);
        let copy = Learned::default();

        learned.observe(now, Event::Closed, 2000, 0);
        learned.observe(now, Event::Closed, 9000, 0);
        learned.widen(5000, 4900);
        learned.watch(now, now + 60_000);

        copy.absorb(&learned);

        copy.version.store(learned.version(), Relaxed);
        assert_eq!(std::format!("{copy:?}"), std::format!("{learned:?}"));
        assert_eq!(size_of::<Learned>(), 88);
    }
}
