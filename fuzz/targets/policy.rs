#![no_main]
//! Any policy that is no mistake, and a connection that is idle at any times.

use libfuzzer_sys::fuzz_target;
use pure::rules::outcome::Close;
use pure::rules::policy::{idle_since, Msec, Policy, Verdict};

type Times = (Option<Msec>, Option<Msec>, Option<Msec>, Option<Msec>, Msec);
type Connection = (Msec, Msec, Option<Msec>, Option<Msec>);

const LATE: Verdict = Verdict::Close(Close::Late);

fuzz_target!(|input: (Times, Connection, Msec, Msec, bool, bool)| {
    let (times, (started, released, told, last_data), now, later, hint, idempotent) = input;
    let (timeout, margin, probe, non_idempotent, keepalive_timeout) = times;

    let policy =
        Policy { margin, hint, probe, non_idempotent, keepalive_timeout, ..Policy::new(timeout) };

    if policy.check().is_err() {
        assert!(timeout.is_some_and(|timeout| timeout == 0 || margin >= Some(timeout)));
        return;
    }

    assert!(timeout.is_none_or(|timeout| policy.margin() < timeout));

    let since = idle_since(started, released, || last_data);
    let idle = policy.idle(since, told);

    // idle times begin with the try, or with the last byte
    assert!(since >= started && since <= started.max(last_data.unwrap_or(released)));

    let limit = policy.limit(policy.timeout(told));

    // what the backend says makes nothing longer that is configured
    assert!(timeout.is_none() || limit <= policy.limit(timeout));
    assert!(hint && told.is_some() || limit == policy.limit(timeout));

    // the monotonic clock does not go back
    let now = now.max(since);
    let verdict = policy.verdict(&idle, now, idempotent);

    assert_eq!(idle.age(now), now - since);
    assert!(idle.deadline() == since.saturating_add(limit) || idle.deadline() - since < limit);
    assert!(idle.deadline() - since < 1 << 40);
    assert_eq!(verdict == LATE, now >= idle.deadline());

    // a connection does not get better with time
    let later = later.max(now);

    assert!(verdict != LATE || policy.verdict(&idle, later, idempotent) == LATE);

    // nor is it better for a request that must not be repeated
    let (get, post) = (policy.verdict(&idle, now, true), policy.verdict(&idle, now, false));

    assert_ne!(get, Verdict::Close(Close::NonIdempotent));
    assert!(
        post == get || post == Verdict::Close(Close::NonIdempotent) && non_idempotent.is_some()
    );
    assert!(get != Verdict::Reuse || probe.is_none_or(|probe| idle.age(now) < probe));
});
