#![no_main]
//! Headers `Keep-Alive` of any content, one a line.

use libfuzzer_sys::fuzz_target;
use pure::rules::protocol::keep_alive::KeepAlive;

fuzz_target!(|data: &[u8]| {
    let headers: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let all = read(&headers);

    // several headers say what one says with all of their parameters, in any order
    assert_eq!(read(&[&headers.join(&b","[..])]), all);
    assert_eq!(read(&headers.iter().rev().copied().collect::<Vec<_>>()), all);

    // a parameter of another name says nothing
    for junk in [&b"foo=1"[..], b"xtimeout=1", b"maxx=0", b"timeout", b"max", b"=0", b""] {
        assert_eq!(read(&[&headers.join(&b","[..]), junk]), all);
        assert_eq!(read(&[&[junk, b";", &headers.join(&b";"[..])].concat()]), all);
    }

    // one more header lowers a timeout, if it does anything
    let without = read(headers.get(1..).unwrap_or_default());

    assert!(all.exhausted || !without.exhausted);
    assert!(without.timeout.is_none_or(|timeout| all.timeout.is_some_and(|all| all <= timeout)));
    assert_eq!(all.hint(), if all.exhausted { Some(0) } else { all.timeout });

    // what is made of them is in them
    assert!(all.timeout.is_none_or(|timeout| numbers(data)
        .any(|n| n == u128::from(timeout) || n * 1000 == u128::from(timeout))));
    assert!(!all.exhausted || numbers(data).any(|n| n == 0));

    numbers(data).for_each(number);

    // without Connection, it says nothing; with that, it says what it said
    for connection in data.split(|byte| *byte == b'\n') {
        let mut told = KeepAlive { named: false, ..all };
        assert_eq!(told.hint(), None);

        told.read_connection(connection);
        assert_eq!(told.hint(), if told.named { all.hint() } else { None });
        assert!(
            !told.named || connection.to_ascii_lowercase().windows(10).any(|w| w == b"keep-alive")
        );
    }
});

fn read(headers: &[&[u8]]) -> KeepAlive {
    let mut keep_alive = KeepAlive { named: true, ..KeepAlive::default() };

    headers.iter().for_each(|header| keep_alive.read(header));

    keep_alive
}

/// The numbers in the text that are not too long for one.
fn numbers(data: &[u8]) -> impl Iterator<Item = u128> + '_ {
    data.split(|byte| !byte.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .filter_map(|digits| core::str::from_utf8(digits).ok()?.parse().ok())
        .filter(|n: &u128| *n < 1 << 100)
}

/// A plain number is taken for what it is, if it fits.
fn number(n: u128) {
    for (header, scale) in [
        (format!("timeout={n}"), 1000),
        (format!("max=1, TimeOut = \"00{n}\" ;"), 1000),
        (format!("timeout={n} S"), 1000),
        (format!("timeout={n}ms, timeout=-{n}"), 1),
    ] {
        let timeout = read(&[header.as_bytes()]).timeout;
        assert_eq!(timeout, u64::try_from(n * scale).ok(), "{header}");
    }

    assert_eq!(read(&[format!("max={n}").as_bytes()]).exhausted, n == 0);
}
