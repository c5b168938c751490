#![forbid(unsafe_code)]
//! What became of a request on a cached connection, from what is seen of the connection when nginx is done with it.

use crate::counters::Failure;

/// What is seen of a connection that gave nginx no byte of a response, and up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// nginx's timer went off, for reading or for writing.
    pub timed_out: bool,
    /// nginx read the end of the stream.
    pub eof: bool,
    /// A read failed.
    pub read_error: bool,
    /// A write failed.
    pub write_error: bool,
    /// The connection is TLS, where a reset while nginx reads looks like the end of the stream.
    pub tls: bool,
    /// Whether the connection is closed in the kernel, both ways; a unix socket does not tell.
    pub closed: Option<bool>,
    /// The socket has a broken pipe to report: the backend has answered with a reset to what came after its FIN.
    pub broken_pipe: bool,
}

impl Seen {
    /// The kind of failure, if it is one of the connection.
    pub fn failure(&self) -> Option<Failure> {
        if self.timed_out {
            return Some(Failure::Timeout);
        }

        let closed = self.closed == Some(true);

        if self.eof {
            let reset = self.tls && closed && !self.broken_pipe;

            return Some(if reset { Failure::Reset } else { Failure::Eof });
        }

        // writing to a unix socket that the backend has closed: there is no other sign of it
        if self.write_error && self.closed.is_none() {
            return Some(Failure::Eof);
        }

        // a reset that waited in the socket leaves no flag: nginx asked the socket for its error before it wrote
        (self.read_error || self.write_error || closed).then_some(Failure::Reset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Seen = Seen {
        timed_out: false,
        eof: false,
        read_error: false,
        write_error: false,
        tls: false,
        closed: Some(false),
        broken_pipe: false,
    };

    #[test]
    fn tcp() {
        let gone = Seen { closed: Some(true), ..NOTHING };

        let cases = [
            ("RST while waiting", Seen { read_error: true, ..gone }, Some(Failure::Reset)),
            ("FIN while waiting", Seen { eof: true, ..NOTHING }, Some(Failure::Eof)),
            ("RST queued at reuse", gone, Some(Failure::Reset)),
            (
                "FIN queued at reuse, then RST",
                Seen { eof: true, broken_pipe: true, ..gone },
                Some(Failure::Eof),
            ),
            ("RST while sending", Seen { write_error: true, ..gone }, Some(Failure::Reset)),
            ("timeout", Seen { timed_out: true, ..NOTHING }, Some(Failure::Timeout)),
            ("timeout, then RST", Seen { timed_out: true, ..gone }, Some(Failure::Timeout)),
            ("nothing of the connection", NOTHING, None),
        ];

        for (name, seen, failure) in cases {
            assert_eq!(seen.failure(), failure, "{name}");
        }
    }

    #[test]
    fn tls() {
        let open = Seen { tls: true, ..NOTHING };
        let gone = Seen { closed: Some(true), ..open };

        let cases = [
            ("RST while waiting", Seen { eof: true, ..gone }, Some(Failure::Reset)),
            ("RST queued at reuse", gone, Some(Failure::Reset)),
            ("close_notify or FIN", Seen { eof: true, ..open }, Some(Failure::Eof)),
            (
                "FIN queued at reuse, then RST",
                Seen { eof: true, broken_pipe: true, ..gone },
                Some(Failure::Eof),
            ),
            ("timeout", Seen { timed_out: true, ..open }, Some(Failure::Timeout)),
            ("nothing of the connection", open, None),
        ];

        for (name, seen, failure) in cases {
            assert_eq!(seen.failure(), failure, "{name}");
        }
    }

    #[test]
    fn unix_socket() {
        let socket = Seen { closed: None, ..NOTHING };

        let cases = [
            ("closed while waiting", Seen { eof: true, ..socket }, Some(Failure::Eof)),
            ("reset while waiting", Seen { read_error: true, ..socket }, Some(Failure::Reset)),
            ("closed at reuse", Seen { write_error: true, ..socket }, Some(Failure::Eof)),
            ("timeout", Seen { timed_out: true, ..socket }, Some(Failure::Timeout)),
            ("nothing of the connection", socket, None),
        ];

        for (name, seen, failure) in cases {
            assert_eq!(seen.failure(), failure, "{name}");
        }
    }
}
