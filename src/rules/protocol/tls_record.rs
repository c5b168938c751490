#![forbid(unsafe_code)]
//! The end of a TLS connection, known by its outside.

/// How many bytes are looked at.
pub const LEN: usize = 5;

const ALERT: u8 = 21;
const APPLICATION_DATA: u8 = 23;

/// An alert of two bytes, its type, and the tag: in TLS 1.3 it looks like data.
const SEALED_ALERT: u16 = 2 + 1 + 16;

/// Whether a record that begins so is an alert, such as close_notify.
pub fn is_alert(record: [u8; LEN]) -> bool {
    let [kind, _, _, high, low] = record;

    kind == ALERT || kind == APPLICATION_DATA && u16::from_be_bytes([high, low]) == SEALED_ALERT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts() {
        let cases = [
            ("TLS 1.2", [21, 3, 3, 0, 26], true),
            ("TLS 1.3", [23, 3, 3, 0, 19], true),
            ("data", [23, 3, 3, 0, 40], false),
            ("a handshake", [22, 3, 3, 0, 19], false),
            ("a long record", [23, 3, 3, 1, 19], false),
        ];

        for (name, record, alert) in cases {
            assert_eq!(is_alert(record), alert, "{name}");
        }
    }
}
