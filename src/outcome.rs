#![forbid(unsafe_code)]
//! What becomes of a cached connection: why it was closed while idle, or how a request failed on it.

/// Why an idle connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The timer, at the limit of the idle age.
    Margin,
    /// Found past the limit, when a request would have used it.
    Late,
    /// Found dead in the kernel, when a request would have used it.
    Dead,
    /// Idle for too long for a request that must not be repeated.
    NonIdempotent,
    /// The backend closed it, or sent what nobody had asked for.
    Peer,
    /// The cache was full.
    Evicted,
    /// nginx's own keepalive_timeout.
    Keepalive,
    /// The worker process ended.
    Shutdown,
}

impl Close {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Margin,
        Self::Late,
        Self::Dead,
        Self::NonIdempotent,
        Self::Peer,
        Self::Evicted,
        Self::Keepalive,
        Self::Shutdown,
    ];

    /// The name in the status and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Margin => "margin",
            Self::Late => "late",
            Self::Dead => "dead",
            Self::NonIdempotent => "non_idempotent",
            Self::Peer => "peer",
            Self::Evicted => "evicted",
            Self::Keepalive => "keepalive",
            Self::Shutdown => "shutdown",
        }
    }
}

/// How a cached connection failed before it gave one byte of response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The backend reset it.
    Reset,
    /// The backend closed it.
    Eof,
    /// The backend did not answer in time.
    Timeout,
}

impl Failure {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Reset, Self::Eof, Self::Timeout];

    /// The name in the status, the variables and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Eof => "eof",
            Self::Timeout => "timeout",
        }
    }

    /// Whether the backend had let go of the connection, or was about to; a timeout says nothing about that.
    pub fn is_stale(self) -> bool {
        matches!(self, Self::Reset | Self::Eof)
    }
}

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
