#![forbid(unsafe_code)]
//! What became of a request whose connection failed, by what its socket tells afterwards.
//!
//! TCP acknowledges what the peer's kernel has taken. What is not acknowledged when the connection is over has not
//! arrived, or its acknowledgement was lost; which of them, the order of the events may tell.

use super::outcome::{Evidence, FailedReuse, Failure};
use super::repeat::Wait;

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
    /// What was seen before, when the end of the stream was kept from nginx.
    pub held: Held,
    /// The connection is TLS, where a reset while nginx reads looks like the end of the stream.
    pub tls: bool,
    /// Some of a response has come.
    pub answered: bool,
    /// How many bytes of this try the kernel took, where it is known.
    pub written: Option<u64>,
    /// What the kernel tells of a TCP connection.
    pub tcp: Option<Tcp>,
}

/// What was seen of a connection while the end of the stream was kept from nginx.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The peer's FIN was there when nothing was acknowledged.
    pub fin_first: bool,
    /// The socket has reported EPIPE, which it does once.
    pub broken_pipe: bool,
}

impl Held {
    /// Takes in what is seen now.
    pub fn see(&mut self, seen: &Seen) {
        self.fin_first |= seen.is_fin_first();
        self.broken_pipe |= seen.tcp.is_some_and(|tcp| tcp.broken_pipe);
    }
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
    /// How long a reset takes to come.
    pub wait: Wait,
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
        let fin = self.is_broken_pipe();

        if self.timed_out && !self.held.fin_first {
            Some(Failure::Timeout)
        } else if self.goaway {
            Some(Failure::Goaway)
        } else if fin || self.held.fin_first {
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
        if self.goaway {
            // it is the backend's word, and no proof
            return Evidence::Unknown;
        }

        if self.written == Some(0) {
            return Evidence::Unwritten;
        }

        if self.answered {
            return Evidence::Received;
        }

        let Some(written) = self.written else {
            return Evidence::Unknown;
        };

        // a unix socket tells nothing, and a reset alone neither: the backend may have read all, and then died
        let Some(tcp) = self.tcp.filter(|_| kind != Failure::Reset) else {
            return Evidence::Unknown;
        };

        // what comes after the FIN may be acknowledged, and thrown away
        let arrived = tcp.unacknowledged < written && !self.held.fin_first;

        match kind {
            Failure::Timeout if arrived => Evidence::Received,
            Failure::Timeout => Evidence::Unknown,
            _ => tcp.after_fin(self.is_broken_pipe(), arrived, written),
        }
    }

    /// Whether the request seems not to have arrived when the peer ended its side, so that its kernel is about to refuse
    /// it if nobody has the connection any more.
    pub fn may_be_refused(&self) -> bool {
        let (Some(written), Some(tcp)) = (self.written, self.tcp) else {
            return false;
        };

        let is_over = tcp.state == State::Close || tcp.broken_pipe;

        written > 0
            && written <= tcp.segment
            && tcp.unacknowledged >= written
            && !is_over
            // a close_notify comes before its FIN
            && (tcp.state == State::CloseWait || self.tls)
    }

    /// Whether the peer's FIN is there, and nothing is acknowledged.
    fn is_fin_first(&self) -> bool {
        let (Some(written), Some(tcp)) = (self.written, self.tcp) else {
            return false;
        };

        tcp.state == State::CloseWait && tcp.unacknowledged >= written
    }

    fn is_broken_pipe(&self) -> bool {
        self.held.broken_pipe || self.tcp.is_some_and(|tcp| tcp.broken_pipe)
    }

    fn has_state(&self, state: State) -> bool {
        self.tcp.is_some_and(|tcp| tcp.state == state)
    }
}

impl Tcp {
    /// The evidence where nginx has read the end of the stream.
    fn after_fin(&self, broken_pipe: bool, arrived: bool, written: u64) -> Evidence {
        let fin = broken_pipe || self.state == State::CloseWait;

        // of several segments the backend may have read one, and not yet acknowledged it
        let refused = broken_pipe && written <= self.segment && self.unacknowledged >= written;

        match (fin, arrived) {
            // a connection that is over reads as its end, whatever has ended it
            (false, _) => Evidence::Unknown,
            (true, true) => Evidence::Received,
            (true, false) if refused => Evidence::Refused,
            (true, false) => Evidence::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use Evidence::*;
    use Failure::{Eof, Goaway, Reset, Timeout};

    const TCP: Tcp = Tcp {
        state: State::Open,
        segment: 1448,
        broken_pipe: false,
        unacknowledged: 0,
        wait: Wait { first: 1, last: 10 },
    };

    /// A request of 100 bytes that was acknowledged, and no failure yet.
    const SENT: Seen = Seen {
        timed_out: false,
        eof: false,
        read_error: false,
        write_error: false,
        goaway: false,
        held: Held { fin_first: false, broken_pipe: false },
        answered: false,
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
    fn what_comes_after_the_fin() {
        let first = Held { fin_first: true, broken_pipe: false };
        let held = Seen { eof: true, held: first, ..SENT };

        check(&[
            (
                "acknowledged",
                Seen { tcp: tcp(State::CloseWait, false, 0), ..held },
                Some((Eof, Closed)),
            ),
            (
                "acknowledged, then reset",
                Seen { tcp: tcp(State::Close, true, 0), ..held },
                Some((Eof, Closed)),
            ),
            (
                "several segments, acknowledged, then reset",
                Seen { written: Some(1449), tcp: tcp(State::Close, true, 0), ..held },
                Some((Eof, Closed)),
            ),
            (
                "nginx has not been told before its timer went off",
                Seen {
                    timed_out: true,
                    eof: false,
                    tcp: tcp(State::CloseWait, false, 100),
                    ..held
                },
                Some((Eof, Closed)),
            ),
            ("refused", Seen { tcp: tcp(State::Close, true, 100), ..held }, Some((Eof, Refused))),
            (
                "refused, which the socket has told before",
                Seen {
                    held: Held { broken_pipe: true, ..first },
                    tcp: tcp(State::Close, false, 100),
                    ..held
                },
                Some((Eof, Refused)),
            ),
        ]);
    }

    #[test]
    fn what_was_seen_before_is_kept() {
        let mut held = Held::default();

        held.see(&Seen { tcp: tcp(State::CloseWait, false, 100), ..SENT });
        assert_eq!(held, Held { fin_first: true, broken_pipe: false });

        held.see(&Seen { tcp: tcp(State::Close, true, 0), ..SENT });
        assert_eq!(held, Held { fin_first: true, broken_pipe: true });

        held.see(&Seen { tcp: None, ..SENT });
        assert_eq!(held, Held { fin_first: true, broken_pipe: true });
    }

    #[test]
    fn reset_to_come() {
        let eof = Seen { eof: true, tcp: tcp(State::CloseWait, false, 100), ..SENT };
        let tls = Seen { tls: true, tcp: tcp(State::Open, false, 100), ..eof };

        let cases = [
            ("FIN", eof, true, true),
            (
                "a part is acknowledged",
                Seen { tcp: tcp(State::CloseWait, false, 99), ..eof },
                false,
                false,
            ),
            ("the reset has come", Seen { tcp: tcp(State::Close, true, 100), ..eof }, false, false),
            (
                "the reset has just come",
                Seen { tcp: tcp(State::CloseWait, true, 100), ..eof },
                false,
                true,
            ),
            (
                "more than a segment",
                Seen { written: Some(1449), tcp: tcp(State::CloseWait, false, 1449), ..eof },
                false,
                true,
            ),
            ("no FIN", Seen { tcp: tcp(State::Open, false, 100), ..eof }, false, false),
            ("close_notify", tls, true, false),
            ("nothing was sent", Seen { written: Some(0), ..eof }, false, true),
            ("unix socket", Seen { tcp: None, ..eof }, false, false),
            ("unknown how much was sent", Seen { written: None, ..eof }, false, false),
        ];

        for (name, seen, may_be_refused, fin_first) in cases {
            assert_eq!(seen.may_be_refused(), may_be_refused, "{name}");
            assert_eq!(seen.is_fin_first(), fin_first, "{name}");
        }
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
    fn some_of_a_response() {
        let gone = Seen { answered: true, tcp: tcp(State::Close, false, 100), ..SENT };

        check(&[
            ("then a reset", Seen { read_error: true, ..gone }, Some((Reset, Received))),
            (
                "then the end",
                Seen { eof: true, tcp: tcp(State::CloseWait, false, 100), ..gone },
                Some((Eof, Received)),
            ),
            (
                "from a unix socket",
                Seen { eof: true, written: None, tcp: None, ..gone },
                Some((Eof, Received)),
            ),
            (
                "before the request, which did not go out any more",
                Seen { written: Some(0), ..gone },
                Some((Reset, Unwritten)),
            ),
            ("a GOAWAY", Seen { goaway: true, ..gone }, Some((Goaway, Unknown))),
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
