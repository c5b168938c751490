#![no_main]
//! Arguments of `upstream_idle_timeout` of any content, one a line.

use libfuzzer_sys::fuzz_target;
use pure::rules::directive::{parse, Error};
use pure::rules::policy::{Learn, Msec};

fuzz_target!(|data: &[u8]| {
    let arguments: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let result = parse(&arguments, time);

    assert_eq!(parse(&[], time), Err(Error::Value(b"")));

    match &result {
        Ok(Some(policy)) => {
            assert_eq!(policy.check(), Ok(()));
            assert!(policy.timeout.is_none_or(|timeout| policy.margin() < timeout));
            assert!(policy.timeout.is_some() || policy.hint || policy.learn == Learn::On);
            assert!(
                policy.learn != Learn::Off || policy.timeout.is_none() || !policy.margin_learned
            );
            assert!(policy.limit(policy.timeout) > 0);
        }
        Ok(None) => assert_eq!(arguments, [b"off"]),
        Err(error) => {
            // the message quotes what is wrong
            let quoted = match error {
                Error::Value(value) | Error::Parameter(value) | Error::Duplicate(value) => value,
                Error::MarginNotLess(value, _) | Error::NothingLearned(value, _) => value,
                Error::NoHint(value) => value,
            };

            assert!(arguments.contains(quoted));
            assert!(error.to_string().contains(&*String::from_utf8_lossy(quoted)));
            return;
        }
    }

    // parameters are in any order, and no more than once
    let mut reversed = arguments.clone();
    reversed[1..].reverse();
    assert_eq!(parse(&reversed, time), result);

    if let [_, parameter, ..] = arguments[..] {
        let twice = [&arguments[..], &[parameter]].concat();
        assert_eq!(parse(&twice, time), Err(Error::Duplicate(parameter)));
    }

    // there are seven of them
    assert!(arguments.len() <= 8);
});

/// Stands in for nginx's times: a number of milliseconds, or of seconds.
fn time(value: &[u8]) -> Option<Msec> {
    let value = core::str::from_utf8(value).ok()?;

    match value.strip_suffix('s') {
        Some(value) => value.parse::<Msec>().ok()?.checked_mul(1000),
        None => value.parse().ok(),
    }
}
