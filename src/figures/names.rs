#![forbid(unsafe_code)]
//! Names of upstreams and peers, which may be any bytes, as text.

use core::fmt::{self, Write};

use super::status::Format;

/// A name between double quotes, with the escapes of the format. Both are UTF-8, which a name need not be: a byte that
/// is not is shown as the text `\xff`, and, lest two names look alike, the backslash of a name that has such a text as
/// `\x5c`.
pub struct Quoted<'a>(pub &'a [u8], pub Format);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;

        for chunk in self.0.utf8_chunks() {
            let mut rest = chunk.valid().chars();

            while let Some(c) = rest.next() {
                match c {
                    '\\' if is_rest_of_escape(rest.as_str()) => f.write_str("\\\\x5c"),
                    '"' | '\\' => write!(f, "\\{c}"),
                    '\n' => f.write_str("\\n"),
                    c if c < ' ' && self.1 == Format::Json => write!(f, "\\u{:04x}", u32::from(c)),
                    c => f.write_char(c),
                }?;
            }

            for byte in chunk.invalid() {
                write!(f, "\\\\x{byte:02x}")?;
            }
        }

        f.write_char('"')
    }
}

/// Whether a backslash before this text would be read as the escape of a byte.
fn is_rest_of_escape(text: &str) -> bool {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');

    matches!(text.as_bytes(), [b'x', a, b, ..] if is_digit(*a) && is_digit(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn quoted() {
        let cases: [(&[u8], &str, &str); 7] = [
            // name, in JSON, in Prometheus' format
            (b"u", "\"u\"", "\"u\""),
            (b"a b", "\"a b\"", "\"a b\""),
            (b"a\"b\\c", "\"a\\\"b\\\\c\"", "\"a\\\"b\\\\c\""),
            (b"a\nb", "\"a\\nb\"", "\"a\\nb\""),
            (b"a\tb\x01", "\"a\\u0009b\\u0001\"", "\"a\tb\x01\""),
            ("\u{e4}\u{20ac}".as_bytes(), "\"\u{e4}\u{20ac}\"", "\"\u{e4}\u{20ac}\""),
            (b"a\xffb\xe2\x82", r#""a\\xffb\\xe2\\x82""#, r#""a\\xffb\\xe2\\x82""#),
        ];

        for (name, json, prometheus) in cases {
            assert_eq!(std::format!("{}", Quoted(name, Format::Json)), json);
            assert_eq!(std::format!("{}", Quoted(name, Format::Prometheus)), prometheus);
        }
    }

    /// The text of a name that stands between quotes.
    fn unquoted(name: &[u8], format: Format) -> String {
        let quoted = std::format!("{}", Quoted(name, format));
        let text = quoted.strip_prefix('"').unwrap().strip_suffix('"').unwrap();

        text.replace("\\\\", "\\")
    }

    #[test]
    fn names_that_are_not_utf8() {
        let cases: [(&[u8], &str); 10] = [
            // name, as it is shown
            (b"a\xff", r"a\xff"),
            (br"a\xff", r"a\x5cxff"),
            (br"a\x5cxff", r"a\x5cx5cxff"),
            (br"a\xFF", r"a\xFF"),
            (br"a\xf", r"a\xf"),
            (b"a\\\xff", r"a\\xff"),
            (b"a\\x\xff", r"a\x\xff"),
            (b"a\\xf\xff", r"a\xf\xff"),
            (b"a\xed\xa0\x80", r"a\xed\xa0\x80"),
            (b"\xc3\xa4\xc3", "\u{e4}\\xc3"),
        ];

        for (name, shown) in cases {
            assert_eq!(unquoted(name, Format::Json), shown);
            assert_eq!(unquoted(name, Format::Prometheus), shown);
        }
    }

    #[test]
    fn no_two_names_look_alike() {
        let parts: [&[u8]; 9] =
            [b"\\", b"x", b"f", b"5c", b"ff", b"\xff", b"\xfe", b"\xc3", "\u{e4}".as_bytes()];
        let mut names = vec![vec![]];

        for _ in 0..5 {
            let longer = names.iter().flat_map(|name: &Vec<u8>| {
                parts.iter().map(move |part| [name.as_slice(), part].concat())
            });
            names.extend(longer.collect::<Vec<_>>());
            names.sort();
            names.dedup();
        }

        for format in [Format::Json, Format::Prometheus] {
            let mut shown: Vec<_> =
                names.iter().map(|name| std::format!("{}", Quoted(name, format))).collect();
            shown.sort();
            shown.dedup();

            assert_eq!(shown.len(), names.len());
        }
    }
}
