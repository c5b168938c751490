//! A backend: when it lets go of a connection, who learns of that, and what it answers.

use fastrand::Rng;

use crate::time::{Micros, Pauses, MS, NEVER, SECOND};

#[derive(Clone)]
pub struct Backend {
    pub name: &'static str,
    /// Its idle timeout, as its manual has it.
    pub timeout: Micros,
    /// The timeout from the middle of the run on.
    pub changed: Option<Micros>,
    /// The change takes a restart.
    pub redeployed: bool,
    /// It adds so much to what its manual says, as Node does.
    pub added: Micros,
    /// Of so many connections it lets go late, by up to so much.
    pub late: (f64, Micros),
    /// So many connections it lets go of at any time before.
    pub early: f64,
    /// So many connections have another timeout.
    pub other: (f64, Micros),
    /// It closes at any age from here to there.
    pub random: Option<(Micros, Micros)>,
    /// It closes after so many requests, and does not say so.
    pub requests: Option<u32>,
    pub restarts: Option<Micros>,
    /// In the middle of each such period, idle connections have to go for a while.
    pub pressure: Option<Pauses>,
    /// It does nothing for a while: what it should have closed meanwhile it closes then, without a look at what has come.
    pub stalls: Option<Pauses>,
    /// The machine is gone, from then for so long.
    pub gone: Option<(Micros, Micros)>,
    /// So many requests are received, but not answered in time.
    pub slow: f64,
    pub tells: Tells,
    pub way: Way,
    /// The middle of the run.
    pub middle: Micros,
}

/// What it says of its timeout in a response.
#[derive(Clone, Copy, PartialEq)]
pub enum Tells {
    Nothing,
    /// The one of its manual, in whole seconds.
    Timeout,
    /// That, or 20 s.
    Either,
}

/// How an idle connection ends.
#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    /// The backend closes it.
    Closed,
    /// Something between has forgotten it, and answers a request by RST.
    Reset,
    /// Something between has forgotten it, and drops what is sent.
    Dropped,
}

/// The end that the backend has in mind for an idle connection.
#[derive(Clone, Copy)]
pub struct End {
    /// From when on it takes no request.
    pub due: Micros,
    /// When it sends a FIN.
    pub fin: Micros,
}

/// What becomes of a request that the backend takes.
pub enum Answer {
    At(Micros),
    /// None, but that of its kernel.
    None,
    /// Not even that.
    Nobody,
}

impl End {
    pub const NONE: Self = Self { due: NEVER, fin: NEVER };
}

impl Backend {
    /// A backend that closes idle connections after that time.
    pub fn exact(name: &'static str, timeout: Micros) -> Self {
        Self {
            name,
            timeout,
            changed: None,
            redeployed: false,
            added: 0,
            late: (0.0, 0),
            early: 0.0,
            other: (0.0, 0),
            random: None,
            requests: None,
            restarts: None,
            pressure: None,
            stalls: None,
            gone: None,
            slow: 0.0,
            tells: Tells::Nothing,
            way: Way::Closed,
            middle: 0,
        }
    }

    /// The backend in a run of that length.
    pub fn during(&self, length: Micros) -> Self {
        Self { middle: length / 2, ..self.clone() }
    }

    /// The timeout of its manual at that time.
    pub fn stated(&self, at: Micros) -> Micros {
        self.changed.filter(|_| at >= self.middle).unwrap_or(self.timeout)
    }

    /// The timeout that it keeps to at that time.
    pub fn real(&self, at: Micros) -> Micros {
        self.stated(at) + self.added
    }

    /// The age at which a reuse is the most dangerous.
    pub fn dangerous(&self) -> Micros {
        match self.changed {
            Some(changed) => self.timeout.min(changed),
            None if self.timeout >= NEVER => 40 * SECOND,
            None => (self.timeout + self.added).min(60 * SECOND),
        }
    }

    /// What a response that it sends at that time says of its timeout.
    pub fn hint(&self, at: Micros, rng: &mut Rng) -> Option<Micros> {
        let stated = self.stated(at);

        match self.tells {
            Tells::Nothing => None,
            Tells::Either if rng.bool() => Some(20 * SECOND),
            _ => (stated < NEVER).then_some(stated / SECOND * SECOND),
        }
    }

    /// When it does what it has to do at that time.
    pub fn awake(&self, at: Micros) -> Micros {
        self.stalls.map_or(at, |stalls| if at < NEVER { stalls.end(at, usize::MAX) } else { at })
    }

    /// What comes of a request that it reads then and that takes so much work.
    pub fn answer(&self, read: Micros, work: Micros, rng: &mut Rng) -> Answer {
        if self.gone.is_some_and(|(from, length)| (from..from + length).contains(&read)) {
            return Answer::Nobody;
        }

        if self.slow > 0.0 && rng.f64() < self.slow {
            return Answer::None;
        }

        Answer::At(self.awake(read + work))
    }

    /// The end of a connection that is idle since then, after so many requests.
    pub fn end(&self, since: Micros, requests: u32, rng: &mut Rng) -> End {
        let due = self.timer(since, requests, rng).min(self.pressed(since, rng));
        let restart = self.restart(since);

        if restart < due {
            End { due: restart, fin: restart }
        } else if self.way == Way::Closed {
            End { due, fin: self.awake(due) }
        } else {
            End { due, fin: NEVER }
        }
    }

    /// When its timer for the connection is due.
    fn timer(&self, since: Micros, requests: u32, rng: &mut Rng) -> Micros {
        if self.requests.is_some_and(|most| requests % most == 0) {
            return since + rng.u64(..300);
        }

        let timeout = match self.random {
            Some((from, to)) => rng.u64(from..to),
            None if rng.f64() < self.other.0 => self.other.1,
            None => self.real(since),
        };

        if rng.f64() < self.early {
            return since + rng.u64(..timeout);
        }

        if timeout >= NEVER {
            return NEVER;
        }

        let (share, most) = self.late;
        let late = if rng.f64() < share { rng.u64(..most) } else { 0 };

        since + timeout + late + rng.u64(..MS)
    }

    /// When the next pressure ends the connection.
    fn pressed(&self, since: Micros, rng: &mut Rng) -> Micros {
        let Some(Pauses { every, length }) = self.pressure else { return NEVER };
        let start = since / every * every + every / 2;
        let start = if since < start + length { start.max(since) } else { start + every };

        start + 50 * MS + rng.u64(..length)
    }

    /// When it is next restarted.
    fn restart(&self, since: Micros) -> Micros {
        let next = self.restarts.map_or(NEVER, |every| (since / every + 1) * every);

        if self.redeployed && since < self.middle {
            next.min(self.middle)
        } else {
            next
        }
    }
}
