#![forbid(unsafe_code)]
//! What became of a request whose connection failed, by what its socket tells afterwards.
//!
//! TCP acknowledges what the peer's kernel has taken. What is not acknowledged when the connection is over has not
//! arrived, or its acknowledgement was lost; which of them, the order of the events may tell.

use crate::rules::outcome::{Evidence, FailedReuse, Failure};

/// What is seen of a connection on which a reuse has failed.
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
    /// A GOAWAY says that the request will not be carried out.
    pub goaway: bool,
    /// The connection is TLS, where a reset while nginx reads looks like the end of the stream.
    pub tls: bool,
    /// How many bytes of this try the kernel took, where it is known.
    pub written: Option<u64>,
    /// What the kernel tells of a TCP connection.
    pub tcp: Option<Tcp>,
}

/// What the kernel tells of a TCP connection, asked in the order of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// What is left of the connection.
    pub state: State,
    /// How many bytes a segment holds at the most.
    pub segment: u64,
    /// A reset came after the peer's FIN: the socket has EPIPE to report.
    pub broken_pipe: bool,
    /// How many bytes are not acknowledged, or not sent.
    pub unacknowledged: u64,
}

/// The state of a TCP connection, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The peer has not ended its side.
    Open,
    /// The peer has sent its FIN.
    CloseWait,
    /// It is over, both ways.
    Close,
}

impl Seen {
    /// How the reuse failed; none where it is not the connection that did.
    pub fn failed_reuse(&self) -> Option<FailedReuse> {
        let kind = self.kind()?;

        Some(FailedReuse::new(kind, self.evidence(kind)))
    }

    fn kind(&self) -> Option<Failure> {
        let reset = self.has_state(State::Close);
        // a reset that comes after a FIN does not hide it
        let fin = self.tcp.is_some_and(|tcp| tcp.broken_pipe);

        if self.timed_out {
            Some(Failure::Timeout)
        } else if self.goaway {
            Some(Failure::Goaway)
        } else if fin {
            Some(Failure::Eof)
        } else if self.eof {
            Some(if self.tls && reset { Failure::Reset } else { Failure::Eof })
        } else if self.write_error && self.tcp.is_none() {
            // writing to a unix socket that the backend has closed: there is no other sign of it
            Some(Failure::Eof)
        } else if self.read_error || self.write_error || reset {
            // one that waited in the socket leaves no flag: nginx asks the socket for its error before it writes
            Some(Failure::Reset)
        } else {
            None
        }
    }

    fn evidence(&self, kind: Failure) -> Evidence {
        let (Some(written), false) = (self.written, self.goaway) else {
            // a GOAWAY is the backend's word, and no proof
            return Evidence::Unknown;
        };

        if written == 0 {
            return Evidence::Unwritten;
        }

        // a unix socket tells nothing, and a reset alone neither: the backend may have read all, and then died
        let Some(tcp) = self.tcp.filter(|_| kind != Failure::Reset) else {
            return Evidence::Unknown;
        };

        let arrived = tcp.unacknowledged < written;

        match kind {
            Failure::Timeout if arrived => Evidence::Received,
            Failure::Timeout => Evidence::Unknown,
            _ => tcp.after_fin(arrived, written),
        }
    }

    fn has_state(&self, state: State) -> bool {
        self.tcp.is_some_and(|tcp| tcp.state == state)
    }
}

impl Tcp {
    /// The evidence where nginx has read the end of the stream.
    fn after_fin(&self, arrived: bool, written: u64) -> Evidence {
        let fin = self.broken_pipe || self.state == State::CloseWait;

        match (fin, arrived) {
            // a connection that is over reads as its end, whatever has ended it
            (false, _) => Evidence::Unknown,
            (true, true) => Evidence::Received,
            // of several segments the backend may have read one, and not yet acknowledged it
            (true, false) if self.broken_pipe && written <= self.segment => Evidence::Refused,
            (true, false) => Evidence::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use Evidence::*;
    use Failure::{Eof, Goaway, Reset, Timeout};

    const TCP: Tcp =
        Tcp { state: State::Open, segment: 1448, broken_pipe: false, unacknowledged: 0 };

    /// A request of 100 bytes that was acknowledged, and no failure yet.
    const SENT: Seen = Seen {
        timed_out: false,
        eof: false,
        read_error: false,
        write_error: false,
        goaway: false,
        tls: false,
        written: Some(100),
        tcp: Some(TCP),
    };

    fn tcp(state: State, broken_pipe: bool, unacknowledged: u64) -> Option<Tcp> {
        Some(Tcp { state, broken_pipe, unacknowledged, ..TCP })
    }

    type Case<'a> = (&'a str, Seen, Option<(Failure, Evidence)>);

    fn check(cases: &[Case<'_>]) {
        for (name, seen, expected) in cases {
            let expected = expected.map(|(kind, evidence)| FailedReuse::new(kind, evidence));

            assert_eq!(seen.failed_reuse(), expected, "{name}");

            if let Some(failed) = expected {
                assert!(FailedReuse::ALL.contains(&failed), "{name} has no number");
            }
        }
    }

    #[test]
    fn fin() {
        let eof = Seen { eof: true, ..SENT };
        let long = Seen { written: Some(1449), ..eof };

        check(&[
            // the FIN came before the request did, and the kernel has refused it since
            ("refused", Seen { tcp: tcp(State::Close, true, 100), ..eof }, Some((Eof, Refused))),
            (
                "refused, and nginx has not read the end",
                Seen { tcp: tcp(State::Close, true, 100), ..SENT },
                Some((Eof, Refused)),
            ),
            (
                "the reset came between two questions",
                Seen { tcp: tcp(State::CloseWait, true, 100), ..eof },
                Some((Eof, Refused)),
            ),
            (
                "refused, a whole segment",
                Seen { written: Some(1448), tcp: tcp(State::Close, true, 1448), ..eof },
                Some((Eof, Refused)),
            ),
            (
                "refused, more than a segment",
                Seen { tcp: tcp(State::Close, true, 1449), ..long },
                Some((Eof, Closed)),
            ),
            (
                "no reset yet, or never one",
                Seen { tcp: tcp(State::CloseWait, false, 100), ..eof },
                Some((Eof, Closed)),
            ),
            // the backend's kernel has acknowledged it, and then came the FIN
            (
                "received",
                Seen { tcp: tcp(State::CloseWait, false, 0), ..eof },
                Some((Eof, Received)),
            ),
            (
                "a part was received",
                Seen { tcp: tcp(State::CloseWait, false, 1), ..long },
                Some((Eof, Received)),
            ),
            (
                "received, then reset",
                Seen { tcp: tcp(State::Close, true, 0), ..eof },
                Some((Eof, Received)),
            ),
            // the end of the stream without a sign of a FIN
            (
                "over, for whatever reason",
                Seen { tcp: tcp(State::Close, false, 100), ..eof },
                Some((Eof, Unknown)),
            ),
            ("not over", Seen { tcp: tcp(State::Open, false, 100), ..eof }, Some((Eof, Unknown))),
            (
                "found before it was sent",
                Seen { written: Some(0), tcp: tcp(State::Close, true, 0), ..eof },
                Some((Eof, Unwritten)),
            ),
        ]);
    }

    #[test]
    fn rst() {
        let gone = Seen { tcp: tcp(State::Close, false, 100), ..SENT };

        check(&[
            ("while waiting", Seen { read_error: true, ..gone }, Some((Reset, Unknown))),
            (
                "acknowledged before",
                Seen { read_error: true, tcp: tcp(State::Close, false, 0), ..SENT },
                Some((Reset, Unknown)),
            ),
            ("while sending", Seen { write_error: true, ..gone }, Some((Reset, Unknown))),
            (
                "queued at reuse",
                Seen { written: Some(0), tcp: tcp(State::Close, false, 0), ..SENT },
                Some((Reset, Unwritten)),
            ),
            ("nothing of the connection", SENT, None),
        ]);
    }

    #[test]
    fn timeout() {
        let late = Seen { timed_out: true, ..SENT };

        check(&[
            ("received", late, Some((Timeout, Received))),
            (
                "dropped on the way",
                Seen { tcp: tcp(State::Open, false, 100), ..late },
                Some((Timeout, Unknown)),
            ),
            (
                "a part was received",
                Seen { tcp: tcp(State::Open, false, 99), ..late },
                Some((Timeout, Received)),
            ),
            ("never sent", Seen { written: Some(0), ..late }, Some((Timeout, Unwritten))),
            (
                "reset since",
                Seen { tcp: tcp(State::Close, false, 100), ..late },
                Some((Timeout, Unknown)),
            ),
            // what nginx had not read when it gave up does not make it an idle close
            (
                "FIN since",
                Seen { tcp: tcp(State::CloseWait, false, 100), ..late },
                Some((Timeout, Unknown)),
            ),
        ]);
    }

    #[test]
    fn goaway() {
        let goaway = Seen { goaway: true, ..SENT };

        check(&[
            ("the connection is open", goaway, Some((Goaway, Unknown))),
            (
                "and closed",
                Seen { eof: true, tcp: tcp(State::CloseWait, false, 0), ..goaway },
                Some((Goaway, Unknown)),
            ),
        ]);
    }

    #[test]
    fn tls() {
        let open = Seen { tls: true, ..SENT };
        let uncounted = Seen { written: None, eof: true, ..open };

        check(&[
            (
                "RST while waiting",
                Seen { eof: true, tcp: tcp(State::Close, false, 100), ..open },
                Some((Reset, Unknown)),
            ),
            (
                "FIN, then RST",
                Seen { eof: true, tcp: tcp(State::Close, true, 100), ..open },
                Some((Eof, Refused)),
            ),
            (
                "FIN",
                Seen { eof: true, tcp: tcp(State::CloseWait, false, 100), ..open },
                Some((Eof, Closed)),
            ),
            // the peer is still there, whose TLS has come to an end
            ("close_notify", Seen { eof: true, ..open }, Some((Eof, Unknown))),
            ("unknown how much was written", uncounted, Some((Eof, Unknown))),
        ]);
    }

    #[test]
    fn unix_socket() {
        let socket = Seen { tcp: None, ..SENT };
        let unsent = Seen { written: Some(0), ..socket };

        check(&[
            ("closed while waiting", Seen { eof: true, ..socket }, Some((Eof, Unknown))),
            ("reset while waiting", Seen { read_error: true, ..socket }, Some((Reset, Unknown))),
            ("closed at reuse", Seen { write_error: true, ..unsent }, Some((Eof, Unwritten))),
            ("timeout", Seen { timed_out: true, ..socket }, Some((Timeout, Unknown))),
            ("nothing of the connection", socket, None),
        ]);
    }
}
