//! nginx's workers, and the idle connections that each keeps: the one that was used last is the next.

use std::collections::VecDeque;

use pure::rules::outcome::FailedReuse;
use pure::rules::policy::Msec;

use crate::backend::End;
use crate::time::{ticks_in_ms, Micros, MS};

/// A connection by its place in the list of all.
pub type Id = usize;

pub struct Connection {
    pub worker: usize,
    /// A closed connection's place is taken by another.
    pub generation: u32,
    place: Place,
    /// It lives past its limit since then.
    pub watched: Option<Micros>,
    /// When its last request was sent, and for how long it had been idle.
    pub sent: Micros,
    pub idle: Option<Msec>,
    pub work: Micros,
    pub result: Result<(), FailedReuse>,
    /// When the last byte of a response came, and since when nginx takes it to be idle.
    pub last_byte: Micros,
    pub idle_since: Msec,
    pub hint: Option<Msec>,
    pub round_trip: f64,
    pub requests: u32,
    /// What the backend has in mind, but when the FIN gets here.
    pub end: End,
    /// When the backend sent its last response.
    pub answered: Micros,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Nowhere,
    Busy,
    Cached,
    /// Out of the cache, since a request would have got it.
    Adopted,
}

impl Connection {
    fn new(worker: usize, generation: u32) -> Self {
        Self {
            worker,
            generation,
            place: Place::Busy,
            watched: None,
            sent: 0,
            idle: None,
            work: 0,
            result: Ok(()),
            last_byte: 0,
            idle_since: 0,
            hint: None,
            round_trip: 0.0,
            requests: 0,
            end: End::NONE,
            answered: 0,
        }
    }

    /// The idle age as nginx takes it.
    pub fn age(&self, now: Micros) -> Msec {
        (now / MS).saturating_sub(self.idle_since)
    }

    /// The idle age at which a FIN came, as the kernel dates it.
    pub fn age_at_fin(&self, now: Micros) -> Msec {
        let ago = ticks_in_ms(now) - ticks_in_ms(self.end.fin);

        (now / MS).saturating_sub(ago).saturating_sub(self.idle_since)
    }

    /// The kernel's mean of the round trip.
    pub fn measure(&mut self, round_trip: Micros) {
        let sample = round_trip as f64;

        self.round_trip +=
            if self.round_trip > 0.0 { (sample - self.round_trip) / 8.0 } else { sample };
    }
}

pub struct Workers {
    all: Vec<Connection>,
    unused: Vec<Id>,
    caches: Vec<VecDeque<Id>>,
    /// How many each keeps.
    keepalive: usize,
}

impl Workers {
    pub fn new(workers: usize, keepalive: usize) -> Self {
        Self { all: vec![], unused: vec![], caches: vec![VecDeque::new(); workers], keepalive }
    }

    pub fn get(&self, id: Id) -> &Connection {
        &self.all[id]
    }

    pub fn get_mut(&mut self, id: Id) -> &mut Connection {
        &mut self.all[id]
    }

    pub fn connect(&mut self, worker: usize) -> Id {
        let Some(id) = self.unused.pop() else {
            self.all.push(Connection::new(worker, 0));
            return self.all.len() - 1;
        };

        self.all[id] = Connection::new(worker, self.all[id].generation);
        id
    }

    /// The connection that the worker would use next.
    pub fn front(&self, worker: usize) -> Option<Id> {
        self.caches[worker].front().copied()
    }

    /// Takes it for a request.
    pub fn take(&mut self, id: Id) {
        self.uncache(id);
        self.all[id].place = Place::Busy;
        self.all[id].generation += 1;
    }

    /// A connection becomes idle; the one that has to go for it, if any.
    pub fn keep(&mut self, id: Id) -> Option<Id> {
        let cache = &mut self.caches[self.all[id].worker];

        self.all[id].place = Place::Cached;
        cache.push_front(id);

        if cache.len() > self.keepalive {
            cache.back().copied()
        } else {
            None
        }
    }

    /// Takes a watched connection out of the way.
    pub fn adopt(&mut self, id: Id) {
        self.uncache(id);
        self.all[id].place = Place::Adopted;
    }

    /// Whether one more idle connection is no burden.
    pub fn has_room(&self, worker: usize) -> bool {
        self.keepalive > 1 && self.caches[worker].len() < self.keepalive
    }

    /// Whether it is still idle, and the same.
    pub fn is_idle(&self, id: Id, generation: u32) -> bool {
        let connection = &self.all[id];

        connection.generation == generation
            && matches!(connection.place, Place::Cached | Place::Adopted)
    }

    pub fn is_cached(&self, id: Id) -> bool {
        self.all[id].place == Place::Cached
    }

    pub fn close(&mut self, id: Id) {
        self.uncache(id);

        let connection = &mut self.all[id];

        connection.place = Place::Nowhere;
        connection.generation += 1;
        self.unused.push(id);
    }

    fn uncache(&mut self, id: Id) {
        if !self.is_cached(id) {
            return;
        }

        let cache = &mut self.caches[self.all[id].worker];

        if let Some(place) = cache.iter().position(|cached| *cached == id) {
            cache.remove(place);
        }
    }
}
