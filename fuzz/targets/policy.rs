#![no_main]
//! Any policy that is no mistake, and a connection that is idle at any times.

use libfuzzer_sys::fuzz_target;
use pure::rules::idle::{idle_since, Idle};
use pure::rules::learned::Learned;
use pure::rules::outcome::Close;
use pure::rules::policy::{Msec, Policy, Probe, Verdict};

type Times = (Option<Msec>, Option<Msec>, Option<Msec>, Option<Msec>, Msec);
type Connection = (Msec, Msec, Option<Msec>, Option<Msec>);

const LATE: Verdict = Verdict::Close(Close::Late);

fuzz_target!(|input: (Times, Connection, Msec, Msec, [bool; 5])| {
    let (times, (started, released, told, last_data), now, later, flags) = input;
    let (timeout, margin, from, non_idempotent, keepalive_timeout) = times;
    let [hint, auto, looks, repeatable, covered] = flags;

    let probe = match from.filter(|_| looks) {
        _ if auto => Probe::Auto,
        Some(from) => Probe::From(from),
        None => Probe::Off,
    };

    let policy =
        Policy { margin, hint, probe, non_idempotent, keepalive_timeout, ..Policy::new(timeout) };

    if policy.check().is_err() {
        assert!(timeout.is_some_and(|timeout| timeout == 0 || margin >= Some(timeout)));
        return;
    }

    assert!(timeout.is_none_or(|timeout| policy.margin() < timeout));

    let since = idle_since(started, released, || last_data);
    let nothing = Learned::default();
    let idle = policy.idle(since, told, policy.known_limit(told, &nothing, 0));

    // idle times begin with the try, or with the last byte
    assert!(since >= started && since <= started.max(last_data.unwrap_or(released)));

    let limit = policy.limit(policy.timeout(told));

    // what the backend says makes nothing longer that is configured
    assert!(timeout.is_none() || limit <= policy.limit(timeout));
    assert!(hint && told.is_some() || limit == policy.limit(timeout));

    // the monotonic clock does not go back
    let now = now.max(since);
    let verdict = verdict_of(&policy, &idle, now, repeatable, covered);

    assert_eq!(idle.age(now), now - since);
    assert!(idle.deadline() == since.saturating_add(limit) || idle.deadline() - since < limit);
    assert!(idle.deadline() - since < 1 << 40);
    assert_eq!(verdict == LATE, now >= idle.deadline());

    // a connection does not get better with time
    let later = later.max(now);

    assert!(verdict != LATE || verdict_of(&policy, &idle, later, repeatable, covered) == LATE);

    // nor is it better for a request that nginx can't repeat
    let [get, post] = [true, false].map(|able| verdict_of(&policy, &idle, now, able, covered));

    assert_ne!(get, Verdict::Close(Close::NonIdempotent));
    assert!(
        post == get || post == Verdict::Close(Close::NonIdempotent) && non_idempotent.is_some()
    );

    // a look is left out only where it was not asked for, or costs nobody anything
    assert!(
        get != Verdict::Reuse
            || match probe {
                Probe::Auto => covered && idle.age(now) < 1000,
                Probe::From(from) => idle.age(now) < from,
                Probe::Off => true,
            }
    );
});

fn verdict_of(policy: &Policy, idle: &Idle, now: Msec, repeatable: bool, covered: bool) -> Verdict {
    policy.verdict(idle, now, || repeatable, || covered)
}
