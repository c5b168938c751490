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
    /// The backend closed it.
    Peer,
    /// The backend sent what nobody had asked for: a PING, a GOAWAY, a 408.
    Unasked,
    /// The cache was full.
    Evicted,
    /// nginx's own keepalive_timeout.
    Keepalive,
    /// The backend closed it past the limit, where nginx had kept it to see when that is.
    Watched,
    /// The worker process ended.
    Shutdown,
}

impl Close {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Margin,
        Self::Late,
        Self::Dead,
        Self::NonIdempotent,
        Self::Peer,
        Self::Unasked,
        Self::Evicted,
        Self::Keepalive,
        Self::Watched,
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
            Self::Unasked => "unasked",
            Self::Evicted => "evicted",
            Self::Keepalive => "keepalive",
            Self::Watched => "watched",
            Self::Shutdown => "shutdown",
        }
    }
}

/// How a reuse failed: it gave no response header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The backend reset the connection.
    Reset,
    /// The backend closed the connection.
    Eof,
    /// The backend said that it takes no such request on the connection any more, in HTTP/2.
    Goaway,
    /// The backend did not answer in time.
    Timeout,
}

impl Failure {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Reset, Self::Eof, Self::Goaway, Self::Timeout];

    /// The name in the status, the variables and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Eof => "eof",
            Self::Goaway => "goaway",
            Self::Timeout => "timeout",
        }
    }
}

/// What is known of the request on a reuse that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It never left nginx.
    Unwritten,
    /// The peer's kernel refused it: the backend had closed the connection before it came.
    Refused,
    /// It had not arrived when the backend ended its side of the connection.
    Closed,
    /// It may have been received, or not.
    Unknown,
    /// It was received, and has come to nothing.
    Received,
}

impl Evidence {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Unwritten, Self::Refused, Self::Closed, Self::Unknown, Self::Received];

    /// The name in the status, the variables and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unwritten => "unwritten",
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Unknown => "unknown",
            Self::Received => "received",
        }
    }
}

/// A reuse that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedReuse {
    /// How it failed.
    pub kind: Failure,
    /// What became of the request.
    pub evidence: Evidence,
}

impl FailedReuse {
    /// What there can be: a number each, by which they are counted.
    pub const ALL: [Self; 12] = [
        Self::new(Failure::Reset, Evidence::Unwritten),
        Self::new(Failure::Reset, Evidence::Unknown),
        Self::new(Failure::Reset, Evidence::Received),
        Self::new(Failure::Eof, Evidence::Unwritten),
        Self::new(Failure::Eof, Evidence::Refused),
        Self::new(Failure::Eof, Evidence::Closed),
        Self::new(Failure::Eof, Evidence::Unknown),
        Self::new(Failure::Eof, Evidence::Received),
        Self::new(Failure::Goaway, Evidence::Unknown),
        Self::new(Failure::Timeout, Evidence::Unwritten),
        Self::new(Failure::Timeout, Evidence::Unknown),
        Self::new(Failure::Timeout, Evidence::Received),
    ];

    /// A failure of that kind, with that evidence.
    pub const fn new(kind: Failure, evidence: Evidence) -> Self {
        Self { kind, evidence }
    }

    /// Whether the backend had let the connection go before the request came, as far as can be told.
    pub fn shows_close(self) -> bool {
        matches!(self.kind, Failure::Reset | Failure::Eof) && self.evidence != Evidence::Received
    }

    /// Whether it counts as a failure of the server, which has every right to close an idle connection. `early` tells
    /// that it came before the idle age at which nginx expects that.
    pub fn blames_server(self, early: bool) -> bool {
        match self.evidence {
            Evidence::Unwritten | Evidence::Refused | Evidence::Closed => false,
            // a server that goes away in good order has said so
            Evidence::Unknown => early && self.kind != Failure::Goaway,
            Evidence::Received => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blame() {
        use Evidence::*;
        use Failure::*;

        let cases = [
            // kind, evidence, whether the server is to blame: early, and late
            (Reset, Unwritten, false, false),
            (Eof, Refused, false, false),
            (Eof, Closed, false, false),
            (Reset, Unknown, true, false),
            (Timeout, Unknown, true, false),
            (Goaway, Unknown, false, false),
            (Reset, Received, true, true),
            (Eof, Received, true, true),
            (Timeout, Received, true, true),
        ];

        for (kind, evidence, early, late) in cases {
            let failed = FailedReuse::new(kind, evidence);

            assert_eq!(failed.blames_server(true), early, "{failed:?}, early");
            assert_eq!(failed.blames_server(false), late, "{failed:?}, late");
        }
    }
}
