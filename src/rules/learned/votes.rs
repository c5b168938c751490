#![forbid(unsafe_code)]
//! What speaks for a timeout, and what against it.

use core::sync::atomic::Ordering::Relaxed;

use super::ages::{tolerance, Ages, OLDEST};
use super::{Change, Event, Learned, YOUNG};
use crate::rules::outcome::{Evidence, FailedReuse, Failure};
use crate::rules::policy::Msec;

/// So many closes that agree, which nothing outlived, are a timeout; so many that outlived it, a longer one.
const AGREE: u64 = 3;
const RAISE: u64 = 8;

/// They take at least so long: a restart closes many connections at one moment.
const APART: Msec = 2000;

/// A request without an answer says something of the connection only when that was idle for so long.
const SLOW: Msec = 10_000;

impl Learned {
    /// What became of a connection that was idle for so long. The round trip is in microseconds, 0 where it is not known.
    /// Returns the change when the timeout is another one now.
    pub fn observe(&self, now: Msec, event: Event, age: Msec, rtt: u32) -> Option<Change> {
        let age = age.clamp(YOUNG, OLDEST);

        self.take_rtt(rtt);

        match event {
            Event::Answered => self.outlived(age, true),
            Event::Outlived => self.outlived(age, false),
            // nothing has shown a close but failures: then being open shows nothing
            Event::Kept if self.known(now).is_some_and(|ages| !ages.silent) => {
                self.died(now, age, 1, false);
            }
            Event::Kept => self.outlived(age, false),
            Event::Closed => self.died(now, age, 1, false),
            Event::Gone => self.died(now, age, 1, true),
            Event::Failed(failed) => self.failed(now, failed, age),
        }

        self.change(now)
    }

    /// A request failed at that age, before a timeout. The margin has to reach there, but does not grow to more than
    /// twice at once.
    pub fn widen(&self, timeout: Msec, age: Msec) {
        let before = self.failures.load(Relaxed);
        let most = before.saturating_mul(2).max(tolerance(timeout).saturating_mul(1000));
        let wanted = timeout.saturating_sub(age).saturating_mul(1000);

        self.failures.store(wanted.min(most).max(before), Relaxed);
        self.renew();
    }

    /// A longer round trip counts at once, a shorter one by and by.
    fn take_rtt(&self, rtt: u32) {
        if rtt > 0 {
            let before = self.rtt.load(Relaxed);
            let after = rtt.max(before.saturating_sub(before / 8));

            if after != before {
                self.rtt.store(after, Relaxed);
                self.renew();
            }
        }
    }

    fn failed(&self, now: Msec, failed: FailedReuse, age: Msec) {
        match (failed.kind, failed.evidence) {
            // the backend had the connection open
            (_, Evidence::Received) => self.outlived(age, true),
            // it goes away, or takes no bytes
            (Failure::Goaway, _) | (Failure::Timeout, Evidence::Unwritten) => {}
            // a backend that is slow shows it at any age
            (Failure::Timeout, _) if age < SLOW => self.outlived(OLDEST, true),
            (Failure::Timeout, _) => self.died(now, age, 1, true),
            (Failure::Reset | Failure::Eof, _) => self.missed(now, age),
        }
    }

    /// The backend had let go when a request came.
    fn missed(&self, now: Msec, age: Msec) {
        let near = self.known(now).filter(|ages| !ages.silent && age >= ages.least / 2);

        if let Some(ages) = near {
            self.widen(ages.least, age);
        }

        if !near.is_some_and(|ages| ages.hold(age, true)) {
            self.died(now, age, 2, true);
        }
    }

    /// Ages that may be a lower timeout lose a vote when a connection outlives them. Where no close was seen, it has to
    /// be used for that.
    fn outlived(&self, age: Msec, used: bool) {
        let mut lower = self.lower.load();

        if lower.votes > 0 && age >= lower.greatest && (used || !lower.silent) {
            lower.votes = lower.votes.saturating_sub(1);

            match lower.votes {
                0 => self.lower.clear(),
                _ => self.lower.store(lower),
            }
        }
    }

    /// The backend has let go of a connection.
    fn died(&self, now: Msec, age: Msec, votes: u64, silent: bool) {
        let known = self.known(now);

        if known.is_some_and(|ages| ages.hold(age, silent)) {
            let mut ages = self.timeout.load();

            ages.join(age, votes, silent);
            return self.confirm(now, ages, 1);
        }

        let above = known.is_some_and(|ages| age > ages.least);
        let (cluster, enough) = if above { (&self.higher, RAISE) } else { (&self.lower, AGREE) };
        let mut ages = cluster.load();

        if ages.hold(age, silent) || above && ages.votes > 0 {
            ages.join(age, votes, silent);
        } else if age < ages.least || ages.votes <= 1 {
            ages = Ages { least: age, greatest: age, votes, silent };
            cluster.begin(now);
        } else {
            ages.votes = ages.votes.saturating_sub(1);
        }

        cluster.store(ages);

        if above {
            self.outlived(age, true);
        }

        if ages.votes >= enough && cluster.lasted(now) >= APART {
            self.closes.store(0, Relaxed);
            self.confirm(now, ages, enough);
        }
    }

    /// These are the timeout, for so many closes more.
    fn confirm(&self, now: Msec, ages: Ages, closes: u64) {
        let failures = self.failures.load(Relaxed);
        let closes = u32::try_from(closes).unwrap_or(u32::MAX);

        self.timeout.store(ages);
        self.timeout.begin(now);
        self.lower.clear();
        self.higher.clear();
        // it takes half an hour of closes to fall by half
        self.failures.store(failures.saturating_sub(failures.div_ceil(1024)), Relaxed);
        self.closes.store(self.closes.load(Relaxed).saturating_add(closes), Relaxed);
        self.renew();
    }

    /// Whether the timeout is another one than was told; one of the workers gets to know.
    fn change(&self, now: Msec) -> Option<Change> {
        // one more, since zero is none
        let told = self.told.load(Relaxed);
        let before = told.checked_sub(1).map(Msec::from);
        let timeout = self.timeout(now)?;

        if before.is_some_and(|before| timeout.abs_diff(before) <= before / 10) {
            return None;
        }

        let tell = u32::try_from(timeout).unwrap_or(u32::MAX).saturating_add(1);

        self.told.compare_exchange(told, tell, Relaxed, Relaxed).ok()?;
        self.changed.store(now, Relaxed);

        Some(Change { before, now: timeout })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::learned::FORGET;
    use Event::{Answered, Closed, Gone, Kept, Outlived};

    use std::vec::Vec;

    const RESET: Event = failed(Failure::Reset, Evidence::Unknown);
    const SILENCE: Event = failed(Failure::Timeout, Evidence::Unknown);

    const fn failed(kind: Failure, evidence: Evidence) -> Event {
        Event::Failed(FailedReuse::new(kind, evidence))
    }

    /// So many of the same.
    fn times(n: usize, event: Event, age: Msec) -> Vec<(Event, Msec)> {
        std::vec![(event, age); n]
    }

    /// What is known after these events, 3 s apart, and the time.
    fn after(events: &[(Event, Msec)]) -> (Learned, Msec) {
        let (learned, mut now) = (Learned::default(), 1_000_000);

        for (event, age) in events {
            learned.observe(now, *event, *age, 0);
            now = now.saturating_add(3000);
        }

        (learned, now)
    }

    fn limit(events: &[(Event, Msec)]) -> Option<Msec> {
        let (learned, now) = after(events);

        learned.limit(now, None)
    }

    /// The limit when 5 s were learned, and then this happens.
    fn then(events: &[(Event, Msec)]) -> Option<Msec> {
        limit(&[&times(3, Closed, 5000), events].concat())
    }

    /// What is seen one after another, and the timeout that it makes.
    type Case = (&'static [(Event, Msec)], Option<Msec>);

    #[test]
    fn closes_that_agree() {
        let cases: [Case; 9] = [
            (&[(Closed, 5000); 2], None),
            (&[(Closed, 5000); 3], Some(4990)),
            (&[(Closed, 5000), (Closed, 5040), (Closed, 5001)], Some(5001 - 10 - 38)),
            // a failure counts twice, and at its age the backend may have let go for long
            (&[(RESET, 5000), (Closed, 5000)], Some(4990)),
            (&[(RESET, 9000), (Closed, 5000)], None),
            // one that is found dead counts as once
            (&[(Gone, 5000), (Gone, 5000), (Closed, 5000)], Some(4990)),
            // others take their place when they are lower, or have as much for them
            (&[(Closed, 3000), (Closed, 5000), (Closed, 5000), (Closed, 5000)], Some(4990)),
            (&[(Closed, 5000), (Closed, 5000), (Closed, 3000), (Closed, 3000)], None),
            (
                &[(Closed, 5000), (Closed, 5000), (Closed, 3000), (Closed, 3000), (Closed, 3000)],
                Some(2990),
            ),
        ];

        for (events, expected) in cases {
            assert_eq!(limit(events), expected, "{events:?}");
        }
    }

    #[test]
    fn one_moment_shows_nothing() {
        let learned = Learned::default();

        for now in (10_000..11_999).step_by(13) {
            learned.observe(now, Closed, 5000, 0);
        }

        assert_eq!(learned.limit(11_999, None), None);
        learned.observe(11_999, Closed, 5000, 0);
        assert_eq!(learned.limit(11_999, None), None);
        learned.observe(12_000, Closed, 5000, 0);
        assert_eq!(learned.limit(12_000, None), Some(4990));
    }

    #[test]
    fn restarts_lower_nothing() {
        let (learned, mut now) = after(&times(3, Closed, 5000));

        for restart in 1..50 {
            // all connections go at one moment, each at its own age
            for age in [40, 300, 900, 1400, 1800, 2100, 2300, 3100, 4000] {
                learned.observe(now, Closed, age + restart, 0);
            }

            // others live on as before
            for event in [Answered, Closed] {
                now += 10_000;
                learned.observe(now, event, 5000, 0);
            }
        }

        assert_eq!(learned.timeout(now), Some(5000));
    }

    #[test]
    fn what_lives_on_speaks_against_a_lower_one() {
        let low = [(Closed, 2000); 2];

        assert_eq!(then(&low), Some(4990));
        assert_eq!(then(&[(Closed, 2000); 3]), Some(1990));

        for (event, age, speaks) in [
            (Answered, 2000, true),
            (Outlived, 2000, true),
            (Answered, 1999, false),
            (Outlived, 1999, false),
            (failed(Failure::Timeout, Evidence::Received), 2000, true),
            (failed(Failure::Eof, Evidence::Received), 2000, true),
            (failed(Failure::Goaway, Evidence::Unknown), 4900, false),
            (failed(Failure::Timeout, Evidence::Unwritten), 4900, false),
            (SILENCE, 9999, true),
            (Closed, 5000, true),
            (Closed, 20_000, true),
        ] {
            let expected = if speaks { 4990 } else { 1990 };
            let events = [&low[..], &[(event, age), (Closed, 2000)]].concat();

            assert_eq!(then(&events), Some(expected), "{event:?} {age}");
        }
    }

    #[test]
    fn a_higher_one() {
        assert_eq!(then(&times(7, Closed, 20_000)), Some(4990));
        assert_eq!(then(&times(8, Closed, 20_000)), Some(19_990));
        assert_eq!(then(&times(8, Kept, 60_000)), Some(59_990));
        assert_eq!(then(&times(99, Outlived, 60_000)), Some(4990));

        let mut interrupted = times(9, Closed, 20_000);
        interrupted[4] = (Closed, 5000);
        assert_eq!(then(&interrupted), Some(4990));

        // they need not agree: the least of them
        let ages = [18, 17, 16, 15, 14, 13, 12, 11].map(|s| (Closed, s * 1000));
        assert_eq!(then(&ages), Some(11_000 - 10 - 687));
    }

    #[test]
    fn the_edges_of_what_agrees() {
        // the least rises by a part of 32, and the spread is a tolerance at the most
        assert_eq!(then(&[(Closed, 5312)]), Some(5010 - 10 - 302));
        assert_eq!(then(&[(Closed, 5312), (Closed, 5000)]), Some(5000 - 10 - 310));
        assert_eq!(then(&[(Closed, 5313)]), Some(4990));
        assert_eq!(then(&[(Closed, 4688)]), Some(4688 - 10 - 293));
        assert_eq!(then(&[(Closed, 4687)]), Some(4990));
    }

    #[test]
    fn failures_widen_the_margin() {
        assert_eq!(then(&[(RESET, 4900)]), Some(4890));
        assert_eq!(then(&[(RESET, 4900), (RESET, 4950)]), Some(4890));
        // no more than the tolerance at once, and then twice as far
        assert_eq!(then(&[(RESET, 4500)]), Some(4678));
        assert_eq!(then(&[(RESET, 4500), (Closed, 5000), (RESET, 4500)]), Some(4490));
        // what is farther off counts as closes, too
        assert_eq!(then(&[(RESET, 4500), (RESET, 4500)]), Some(3375));
        // it falls by a part of 1024 with each close
        assert_eq!(then(&[(RESET, 4900), (Closed, 5000)]), Some(4891));
        assert_eq!(then(&[&[(RESET, 4900)][..], &times(1000, Closed, 5000)].concat()), Some(4953));
        // it is not for what is no matter of a margin
        assert_eq!(then(&[(RESET, 2499)]), Some(4990));
    }

    #[test]
    fn nobody_sees_a_close() {
        const DROPPED: [(Event, Msec); 2] = [(RESET, 38_000), (RESET, 52_000)];

        let cases: [Case; 6] = [
            (&DROPPED, Some(28_500)),
            (&[(RESET, 52_000), (RESET, 38_000)], None),
            (&[(RESET, 38_000), (Answered, 38_000), (Answered, 38_000), (RESET, 38_000)], None),
            // that it seems to be open shows nothing
            (&[(RESET, 38_000), (Outlived, 60_000), (Kept, 60_000), (RESET, 38_000)], Some(28_500)),
            (&[(SILENCE, 40_000); 3], Some(30_000)),
            (&[(SILENCE, 9999); 9], None),
        ];

        for (events, expected) in cases {
            assert_eq!(limit(events), expected, "{events:?}");
        }

        for (events, expected) in [
            (times(9, Kept, 60_000), 28_500),
            // a close that is seen, near enough
            (times(1, Closed, 38_100), 37_890),
            (times(1, Closed, 60_000), 28_500),
        ] {
            assert_eq!(limit(&[&DROPPED[..], &events].concat()), Some(expected), "{events:?}");
        }

        let (learned, now) = after(&DROPPED);
        assert_eq!(learned.limit(now - 3000 + FORGET, None), Some(28_500));
        assert_eq!(learned.limit(now - 3000 + FORGET + 1, None), None);
    }

    #[test]
    fn closes_at_once() {
        assert_eq!(limit(&[(Closed, 0); 3]), Some(0));
        assert_eq!(limit(&[(Closed, 100); 3]), Some(0));
        assert_eq!(limit(&[(Closed, 101); 3]), Some(91));
        assert_eq!(limit(&[(Closed, 0), (Answered, 0), (Closed, 3), (Answered, 1)]), None);
        assert_eq!(limit(&[times(3, Closed, 0), times(8, Closed, 5000)].concat()), Some(4990));
    }

    #[test]
    fn answers_matter_to_a_lower_one() {
        let (learned, now) = after(&[(Closed, 2000)]);

        assert_eq!([1999, 2000].map(|age| learned.heeds_answer(age)), [false, true]);
        learned.observe(now, Answered, 2000, 0);
        assert!(!learned.heeds_answer(Msec::MAX));

        // the youngest are all alike
        assert!(after(&[(Closed, 0)]).0.heeds_answer(0));
    }

    #[test]
    fn any_number() {
        for age in [0, 1, YOUNG, YOUNG + 1, OLDEST - 1, OLDEST, Msec::MAX] {
            for now in [0, 1, Msec::MAX] {
                let learned = Learned::default();

                for event in [Closed, Gone, RESET, SILENCE, Answered, Outlived, Kept].repeat(5) {
                    learned.observe(now, event, age, u32::MAX);
                    learned.observe(0, event, age, 0);

                    assert!(learned.limit(now, Some(Msec::MAX)).is_some());
                    assert!(learned.limit(now, None).is_none_or(|limit| limit <= age.max(YOUNG)));
                }
            }
        }
    }

    /// Workers write over what others have written, and it is none the worse for it.
    #[test]
    fn workers() {
        let learned = Learned::default();

        std::thread::scope(|scope| {
            for worker in 0..4_u64 {
                let learned = &learned;

                scope.spawn(move || {
                    for i in 0..200_000_u64 {
                        let now = 1_000_000 + i / 10;
                        let (event, age) = match (i + worker) % 7 {
                            0 | 1 => (Closed, 5000 + (i * 7 + worker) % 12),
                            2 if i % 63 == 0 && i > 50_000 => (Closed, i % 4600),
                            2 => (Outlived, 4980),
                            3 => (Kept, 4999),
                            _ => (Answered, i % 4980),
                        };

                        learned.observe(now, event, age, 100);

                        let limit = learned.limit(now, None);
                        assert!(limit.is_none_or(|limit| (4900..5000).contains(&limit)));
                    }
                });
            }
        });

        assert!((4900..5000).contains(&learned.limit(2_000_000, None).unwrap()));
    }
}
