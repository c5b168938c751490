#![no_main]
//! Any events of idle connections, in any order and at any ages.

use libfuzzer_sys::fuzz_target;
use pure::rules::learned::{Event, Learned};
use pure::rules::outcome::FailedReuse;
use pure::rules::policy::Msec;

/// What ages are taken for, at the least and at the most.
const YOUNG: Msec = 100;
const OLDEST: Msec = (1 << 28) - 1;

/// A number of any size in few bytes.
type Short = (u16, u8);

fn long((number, shift): Short) -> u64 {
    u64::from(number) << (shift % 49)
}

fn event(n: u8) -> Event {
    match n {
        0..64 => Event::Closed,
        64..96 => Event::Answered,
        96..128 => Event::Outlived,
        128..144 => Event::Kept,
        144..160 => Event::Gone,
        _ => Event::Failed(FailedReuse::ALL[usize::from(n) % FailedReuse::ALL.len()]),
    }
}

fuzz_target!(|input: (Msec, Short, Vec<(u8, Short, Short, Short)>)| {
    let (mut now, hint, events) = input;
    let hint = long(hint);

    let learned = Learned::default();
    let (mut youngest, mut oldest) = (OLDEST, 0);
    let mut dead = 0;

    for (n, age, later, rtt) in events {
        let (event, age) = (event(n), long(age));
        let before = learned.timeout(now);

        assert_eq!(learned.timeout(now).is_some(), learned.limit(now, None).is_some());

        let change = learned.observe(now, event, age, u32::try_from(long(rtt)).unwrap_or(u32::MAX));
        let timeout = learned.timeout(now);

        youngest = youngest.min(age.clamp(YOUNG, OLDEST));
        oldest = oldest.max(age.clamp(YOUNG, OLDEST));
        dead += match event {
            Event::Answered | Event::Outlived => 0,
            _ => 1,
        };

        match event {
            // to live on is to end no other's life
            Event::Answered | Event::Outlived => assert_eq!(timeout, before),
            // one is no timeout yet
            _ => assert!(before.is_some() || timeout.is_none() || dead > 1),
        }

        if let Some(change) = change {
            assert_eq!(timeout, Some(change.now));
            assert_ne!(change.before, Some(change.now));
        }

        // nothing is used for longer than was seen
        let limit = learned.limit(now, None);
        assert!(timeout.is_none_or(|timeout| timeout <= oldest));
        // nor for much less
        assert!(youngest == YOUNG || timeout.is_none_or(|timeout| timeout >= youngest / 4 * 3));
        assert!(limit <= timeout);

        // what is seen counts more than what is told
        let told = learned.limit(now, Some(hint));
        assert!(if limit.is_some() { told == limit } else { told <= Some(hint) });

        if let Some(shown) = learned.shown(now) {
            assert_eq!(Some(shown.timeout), timeout);
            assert_eq!(shown.timeout.checked_sub(shown.before), limit);
            assert!(shown.before <= shown.timeout / 2);
            assert!(shown.margin.spread <= oldest - youngest);
            assert!(shown.margin.failures <= OLDEST);
            assert!(shown.closes > 0);
        }

        // one connection is watched at a time
        assert!(!(learned.watch(now, now) && now < Msec::MAX && learned.watch(now, now)));

        // what is taken over is the same
        let other = Learned::default();
        other.absorb(&learned);
        assert_eq!(other.shown(now), learned.shown(now));
        assert_eq!(other.heeds_answer(age), learned.heeds_answer(age));

        now = now.saturating_add(long(later));
    }
});
