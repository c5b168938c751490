#![forbid(unsafe_code)]
//! The arguments of `upstream_idle_timeout`, read to a policy.

use core::fmt;
use std::string::String;
use std::vec::Vec;

use super::policy::{Learn, Msec, Policy, PolicyError, Probe};
use super::repeat::Repeat;

/// What is wrong with the arguments. Its text is in nginx's wording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<'a> {
    /// The first argument is no time.
    Value(&'a [u8]),
    /// A parameter is unknown, or its value is wrong.
    Parameter(&'a [u8]),
    /// A parameter was there before.
    Duplicate(&'a [u8]),
    /// The margin leaves nothing of the timeout.
    MarginNotLess(&'a [u8], &'a [u8]),
    /// The backend is to tell its timeout, and not to be listened to.
    NoHint(&'a [u8]),
    /// The margin is to be learned, and nothing is.
    NothingLearned(&'a [u8], &'a [u8]),
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy;

        match self {
            Self::Value(value) => write!(f, "invalid value \"{}\"", text(value)),
            Self::Parameter(value) => write!(f, "invalid parameter \"{}\"", text(value)),
            Self::Duplicate(value) => write!(f, "duplicate parameter \"{}\"", text(value)),
            Self::MarginNotLess(margin, timeout) => {
                write!(
                    f,
                    "\"{}\" must be less than the timeout \"{}\"",
                    text(margin),
                    text(timeout)
                )
            }
            Self::NoHint(hint) => write!(f, "\"{}\" leaves \"auto\" no timeout", text(hint)),
            Self::NothingLearned(margin, learn) => {
                write!(f, "\"{}\" is not possible with \"{}\"", text(margin), text(learn))
            }
        }
    }
}

/// Reads the arguments; none for `off`. Times are read by `time`, as nginx does.
pub fn parse<'a>(
    arguments: &[&'a [u8]],
    time: impl Fn(&[u8]) -> Option<Msec>,
) -> Result<Option<Policy>, Error<'a>> {
    let Some((timeout, parameters)) = arguments.split_first() else {
        return Err(Error::Value(b""));
    };

    let mut policy = match *timeout {
        b"off" => {
            return parameters
                .first()
                .map_or(Ok(None), |parameter| Err(Error::Parameter(parameter)));
        }
        b"auto" => Policy::new(None),
        value => Policy::new(Some(time(value).ok_or(Error::Value(value))?)),
    };

    let mut given = Given::default();

    for parameter in parameters {
        let name = given.add(parameter)?;

        set(&mut policy, name, parameter, &time).ok_or(Error::Parameter(parameter))?;
    }

    match policy.check() {
        Err(PolicyError::MarginNotLess) => Err(Error::MarginNotLess(given.get(b"margin"), timeout)),
        Err(PolicyError::NoTimeout) => Err(Error::Value(timeout)),
        Ok(()) if policy.timeout.is_none() && !policy.hint && policy.learn != Learn::On => {
            Err(Error::NoHint(given.get(b"hint")))
        }
        Ok(()) if policy.learn == Learn::Off && given.get(b"margin") == b"margin=auto" => {
            Err(Error::NothingLearned(given.get(b"margin"), given.get(b"learn")))
        }
        Ok(()) => Ok(Some(policy)),
    }
}

/// Sets what a parameter is about; none when it is unknown, or its value is wrong.
fn set(
    policy: &mut Policy,
    name: &[u8],
    parameter: &[u8],
    time: &impl Fn(&[u8]) -> Option<Msec>,
) -> Option<()> {
    let value = parameter.get(name.len()..)?.strip_prefix(b"=")?;

    let time_or_off = || match value {
        b"off" => Some(None),
        _ => time(value).map(Some),
    };

    let on_or_off = || match value {
        b"on" => Some(true),
        b"off" => Some(false),
        _ => None,
    };

    let probe = || match value {
        b"auto" => Some(Probe::Auto),
        _ => time_or_off().map(|age| age.map_or(Probe::Off, Probe::From)),
    };

    let learn = || match value {
        b"on" => Some(Learn::On),
        b"report" => Some(Learn::Report),
        b"off" => Some(Learn::Off),
        _ => None,
    };

    let level = || Repeat::ALL.iter().find(|(name, _)| *name == value).map(|(_, level)| *level);

    match name {
        b"margin" if value == b"auto" => policy.margin_learned = true,
        b"margin" => {
            policy.margin = Some(time(value)?);
            policy.margin_learned = false;
        }
        b"learn" => policy.learn = learn()?,
        b"hint" => policy.hint = on_or_off()?,
        b"probe" => policy.probe = probe()?,
        b"repeat" => policy.repeat = level()?,
        b"non_idempotent" => policy.non_idempotent = time_or_off()?,
        b"fails" => policy.fails = on_or_off()?,
        _ => return None,
    }

    Some(())
}

/// The parameters that were given so far, with their names.
#[derive(Default)]
struct Given<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> Given<'a> {
    /// Adds a parameter, and returns its name.
    fn add(&mut self, parameter: &'a [u8]) -> Result<&'a [u8], Error<'a>> {
        let name = parameter.split(|byte| *byte == b'=').next().unwrap_or(parameter);

        if self.0.iter().any(|(given, _)| *given == name) {
            return Err(Error::Duplicate(parameter));
        }

        self.0.push((name, parameter));

        Ok(name)
    }

    fn get(&self, name: &[u8]) -> &'a [u8] {
        self.0.iter().find(|(given, _)| *given == name).map_or(b"", |(_, parameter)| parameter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plain milliseconds stand in for nginx's times.
    fn time(value: &[u8]) -> Option<Msec> {
        core::str::from_utf8(value).ok()?.parse().ok()
    }

    fn arguments(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(str::as_bytes).collect()
    }

    #[test]
    fn policies() {
        let five = Policy::new(Some(5000));
        let auto = Policy::new(None);

        assert_eq!((five.learn, five.margin_learned), (Learn::Report, false));
        assert_eq!((auto.learn, auto.margin_learned), (Learn::On, true));

        let cases = [
            ("off", None),
            ("5000", Some(five)),
            ("auto", Some(Policy::new(None))),
            ("5000 margin=200", Some(Policy { margin: Some(200), ..five })),
            ("5000 margin=0", Some(Policy { margin: Some(0), ..five })),
            ("5000 hint=on", Some(five)),
            ("5000 hint=off", Some(Policy { hint: false, ..five })),
            ("5000 probe=auto", Some(five)),
            ("5000 probe=0", Some(Policy { probe: Probe::From(0), ..five })),
            ("5000 probe=off", Some(Policy { probe: Probe::Off, ..five })),
            ("5000 repeat=off", Some(Policy { repeat: Repeat::Off, ..five })),
            ("5000 repeat=unwritten", Some(Policy { repeat: Repeat::Unwritten, ..five })),
            ("5000 repeat=refused", Some(five)),
            ("5000 repeat=closed", Some(Policy { repeat: Repeat::Closed, ..five })),
            ("5000 repeat=reused", Some(Policy { repeat: Repeat::Reused, ..five })),
            ("5000 non_idempotent=0", Some(Policy { non_idempotent: Some(0), ..five })),
            ("5000 non_idempotent=off", Some(five)),
            ("5000 fails=on", Some(Policy { fails: true, ..five })),
            ("5000 fails=off", Some(five)),
            (
                "auto fails=on margin=100 probe=50 repeat=closed",
                Some(Policy {
                    fails: true,
                    margin: Some(100),
                    margin_learned: false,
                    probe: Probe::From(50),
                    repeat: Repeat::Closed,
                    ..auto
                }),
            ),
            ("5000 margin=auto", Some(Policy { margin_learned: true, ..five })),
            ("5000 learn=on", Some(Policy { learn: Learn::On, ..five })),
            ("5000 learn=report", Some(five)),
            ("5000 learn=off", Some(Policy { learn: Learn::Off, ..five })),
            ("auto learn=on margin=auto", Some(auto)),
            ("auto learn=report", Some(Policy { learn: Learn::Report, ..auto })),
            ("auto learn=off", Some(Policy { learn: Learn::Off, ..auto })),
            ("auto hint=off", Some(Policy { hint: false, ..auto })),
        ];

        for (line, policy) in cases {
            assert_eq!(parse(&arguments(line), time), Ok(policy), "{line}");
        }
    }

    #[test]
    fn errors() {
        let cases = [
            ("", "invalid value \"\""),
            ("five", "invalid value \"five\""),
            ("0", "invalid value \"0\""),
            ("on", "invalid value \"on\""),
            ("margin=5", "invalid value \"margin=5\""),
            ("off margin=5", "invalid parameter \"margin=5\""),
            ("5000 off", "invalid parameter \"off\""),
            ("5000 margin", "invalid parameter \"margin\""),
            ("5000 margin=", "invalid parameter \"margin=\""),
            ("5000 margin=off", "invalid parameter \"margin=off\""),
            ("5000 margins=5", "invalid parameter \"margins=5\""),
            ("5000 =5", "invalid parameter \"=5\""),
            ("5000 hint=5", "invalid parameter \"hint=5\""),
            ("5000 probe=on", "invalid parameter \"probe=on\""),
            ("5000 fails=", "invalid parameter \"fails=\""),
            ("5000 repeat=on", "invalid parameter \"repeat=on\""),
            ("5000 repeat=", "invalid parameter \"repeat=\""),
            ("5000 repeat=Closed", "invalid parameter \"repeat=Closed\""),
            ("5000 probe=AUTO", "invalid parameter \"probe=AUTO\""),
            ("5000 margin=1 margin=2", "duplicate parameter \"margin=2\""),
            ("5000 hint=on hint=on", "duplicate parameter \"hint=on\""),
            ("5000 margin=5000", "\"margin=5000\" must be less than the timeout \"5000\""),
            ("5000 learn", "invalid parameter \"learn\""),
            ("5000 learn=auto", "invalid parameter \"learn=auto\""),
            ("5000 margin=Auto", "invalid parameter \"margin=Auto\""),
            ("5000 learn=on learn=off", "duplicate parameter \"learn=off\""),
            ("auto hint=off learn=report", "\"hint=off\" leaves \"auto\" no timeout"),
            ("auto learn=off hint=off", "\"hint=off\" leaves \"auto\" no timeout"),
            ("5000 margin=auto learn=off", "\"margin=auto\" is not possible with \"learn=off\""),
        ];

        for (line, message) in cases {
            let error = parse(&arguments(line), time).unwrap_err();
            assert_eq!(std::format!("{error}"), message, "{line}");
        }

        assert_eq!(parse(&[], time), Err(Error::Value(b"")));
    }
}
