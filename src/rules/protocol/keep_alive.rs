#![forbid(unsafe_code)]
//! The `Keep-Alive` header of a response: `timeout=5, max=100`.
//!
//! It is about the connection that it comes on only where `Connection` names it: without that, a proxy on the way has
//! passed it on, of a connection of its own.
//!
//! No standard defines its syntax, so reading is lenient about case, order, spaces, quotes and separators. What it says
//! is taken only when it is a plain number that fits: everything else is passed over, and says nothing.

use crate::rules::policy::{lower, Msec};

/// What a backend says about an idle connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepAlive {
    /// After which idle time the backend closes it.
    pub timeout: Option<Msec>,
    /// The backend takes no more requests on it.
    pub exhausted: bool,
    /// The header is about this connection.
    pub named: bool,
}

impl KeepAlive {
    /// Takes in the value of a header if it is of the form that most servers send, response after response.
    pub fn read_usual(&mut self, header: &[u8]) -> bool {
        let seconds = header.strip_prefix(b"timeout=").and_then(number);
        let timeout = seconds.and_then(|seconds| seconds.checked_mul(1000));

        self.timeout = lower(self.timeout, timeout);

        timeout.is_some()
    }

    /// Takes in the value of a header; of several timeouts, the lowest counts.
    pub fn read(&mut self, header: &[u8]) {
        for parameter in header.split(|byte| matches!(byte, b',' | b';')) {
            let mut halves = parameter.splitn(2, |byte| *byte == b'=');

            let (Some(name), Some(value)) = (halves.next(), halves.next()) else {
                continue;
            };

            let (name, value) = (name.trim_ascii(), unquoted(value));

            if name.eq_ignore_ascii_case(b"timeout") {
                self.timeout = lower(self.timeout, timeout(value));
            } else if name.eq_ignore_ascii_case(b"max") {
                self.exhausted |= number(value) == Some(0);
            }
        }
    }

    /// Takes in the value of a `Connection` header if it is what most servers send.
    pub fn read_usual_connection(&mut self, header: &[u8]) -> bool {
        let usual = header == b"keep-alive";

        self.named |= usual;

        usual
    }

    /// Takes in the value of a `Connection` header.
    pub fn read_connection(&mut self, header: &[u8]) {
        self.named |= header
            .split(|byte| *byte == b',')
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"keep-alive"));
    }

    /// The timeout for the connection; none at all is left of one that takes no more requests.
    pub fn hint(&self) -> Option<Msec> {
        if !self.named {
            None
        } else if self.exhausted {
            Some(0)
        } else {
            self.timeout
        }
    }
}

fn unquoted(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();

    value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""))
        .map_or(value, |value| value.trim_ascii())
}

/// Seconds, unless a unit says otherwise.
fn timeout(value: &[u8]) -> Option<Msec> {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (value, unit) = value.split_at_checked(digits)?;
    let unit = unit.trim_ascii();

    let scale = if unit.is_empty() || unit.eq_ignore_ascii_case(b"s") {
        1000
    } else if unit.eq_ignore_ascii_case(b"ms") {
        1
    } else {
        return None;
    };

    number(value)?.checked_mul(scale)
}

/// Digits, and nothing else: not a sign, as str::parse() would take.
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }

    value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;

        number.checked_mul(10)?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[&[u8]]) -> KeepAlive {
        let mut keep_alive = KeepAlive { named: true, ..KeepAlive::default() };

        for header in headers {
            keep_alive.read(header);
        }

        keep_alive
    }

    #[test]
    fn timeout() {
        let cases: [(&[u8], Option<Msec>); 40] = [
            // what servers send: Node, Apache httpd, Tomcat, gunicorn with a unit
            (b"timeout=5", Some(5000)),
            (b"timeout=5, max=100", Some(5000)),
            (b"timeout=20", Some(20_000)),
            (b"timeout=2s", Some(2000)),
            // the order, the case, spaces, quotes, separators
            (b"max=100, timeout=5", Some(5000)),
            (b"Timeout=5", Some(5000)),
            (b"TIMEOUT=5", Some(5000)),
            (b" timeout = 5 ", Some(5000)),
            (b"\ttimeout=\t5", Some(5000)),
            (b"timeout=\"5\"", Some(5000)),
            (b"timeout=\" 5 \"", Some(5000)),
            (b"max=5;timeout=7", Some(7000)),
            (b",,timeout=5,,", Some(5000)),
            (b"5, timeout=5", Some(5000)),
            (b"foo=\"a=b\", timeout=5", Some(5000)),
            // units
            (b"timeout=5S", Some(5000)),
            (b"timeout=5 s", Some(5000)),
            (b"timeout=1500ms", Some(1500)),
            (b"timeout=5m", None),
            (b"timeout=5sec", None),
            // no number
            (b"", None),
            (b"timeout", None),
            (b"timeout=", None),
            (b"timeout=s", None),
            (b"timeout=-5", None),
            (b"timeout=+5", None),
            (b"timeout=5.5", None),
            (b"timeout=0x5", None),
            (b"timeout==5", None),
            (b"timeout=5=6", None),
            (b"timeout=five", None),
            (b"timeout=\"5", None),
            (b"timeout=\xff", None),
            (b"xtimeout=5", None),
            (b"timeoutx=5", None),
            // the ends of what fits
            (b"timeout=0", Some(0)),
            (b"timeout=007", Some(7000)),
            (b"timeout=18446744073709551", Some(18_446_744_073_709_551_000)),
            (b"timeout=18446744073709552", None),
            (b"timeout=99999999999999999999999999", None),
        ];

        for (header, timeout) in cases {
            assert_eq!(read(&[header]).timeout, timeout, "{}", header.escape_ascii());
        }
    }

    #[test]
    fn several() {
        assert_eq!(read(&[b"timeout=5, timeout=3"]).timeout, Some(3000));
        assert_eq!(read(&[b"timeout=3", b"timeout=5"]).timeout, Some(3000));
        assert_eq!(read(&[b"timeout=x", b"timeout=5"]).timeout, Some(5000));
        assert_eq!(read(&[b"timeout=5", b"timeout=x"]).timeout, Some(5000));
        assert_eq!(read(&[]).hint(), None);
    }

    #[test]
    fn named_by_connection() {
        let cases: [(&[&[u8]], bool); 9] = [
            (&[b"keep-alive"], true),
            (&[b"Keep-Alive"], true),
            (&[b" foo , KEEP-ALIVE "], true),
            (&[b"foo", b"keep-alive"], true),
            (&[b"keep-alive", b"foo"], true),
            (&[], false),
            (&[b""], false),
            (&[b"close"], false),
            (&[b"keep-alives, x-keep-alive"], false),
        ];

        for (headers, named) in cases {
            let mut keep_alive = KeepAlive::default();
            keep_alive.read(b"timeout=5");

            for header in headers {
                keep_alive.read_connection(header);
            }

            assert_eq!(keep_alive.hint(), named.then_some(5000), "{headers:?}");
        }
    }

    #[test]
    fn exhausted() {
        let cases: [(&[u8], bool); 7] = [
            (b"timeout=5, max=0", true),
            (b"MAX = \"0\"", true),
            (b"max=00", true),
            (b"max=1", false),
            (b"max=-0", false),
            (b"max=", false),
            (b"max", false),
        ];

        for (header, exhausted) in cases {
            assert_eq!(read(&[header]).exhausted, exhausted, "{}", header.escape_ascii());
        }

        assert_eq!(read(&[b"timeout=5, max=0"]).hint(), Some(0));
        assert_eq!(read(&[b"timeout=5, max=1"]).hint(), Some(5000));
    }
}
