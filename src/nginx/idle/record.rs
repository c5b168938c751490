//! What the module remembers about a connection from one request to the next.

use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::{self, NonNull};

use nginx_sys::{ngx_connection_t, NGX_LOG_INFO};

use super::expiry::{self, Place};
use crate::nginx::api::connection::Connection;
use crate::nginx::api::pool::{value_at, LivesIn, OfConnection};
use crate::nginx::api::worker::Worker;
use crate::nginx::api::{clock, log};
use crate::nginx::memory::peer::Pinned;
use crate::nginx::memory::wrapped::Wrapped;
use crate::rules::idle::Idle;
use crate::rules::outcome::Close;
use crate::rules::policy::Msec;

/// The connection that nginx may be moving to the cache; another one that is closed meanwhile had to make room. Null
/// again when it was closed itself.
static RELEASED: Worker<Cell<*mut ngx_connection_t>> = Worker::new(Cell::new(ptr::null_mut()));

const NOT_HELD: Msec = Msec::MAX;

/// Where an idle connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// It is not idle, or not counted as such.
    No,
    /// In nginx's cache.
    Cached,
    /// Out of it, and not for requests.
    Apart,
}

/// What is remembered about a connection; lives in the connection's pool.
#[repr(C)]
pub struct Record {
    place: Place,
    connection: Connection,
    wrapped: &'static Wrapped,
    peer: Pinned,
    pub(super) idle: Cell<Idle>,
    tls: bool,
    /// Whether it may be kept unused.
    watchable: bool,
    /// Where the connection is, as it is counted.
    kept: Cell<Kept>,
    /// The version of what was learned by which its limit is.
    pub(super) version: Cell<u32>,
    /// Whether it is kept unused, to see when the backend closes it.
    watched: Cell<bool>,
    /// Until when the end of the stream is kept from nginx, while a request has the connection; `NOT_HELD` if it is not.
    held: Cell<Msec>,
    /// Whether its time in the cache is over.
    expired: Cell<bool>,
    /// What that counts as.
    pub(super) expiry: Cell<Close>,
}

impl Record {
    /// Begins to remember a connection to the peer; none when there is no memory for it.
    pub fn attach<'a>(
        connection: &'a Connection,
        wrapped: &'static Wrapped,
        peer: Pinned,
        watchable: bool,
    ) -> Option<&'a Self> {
        // another one, so that the limit is found
        let version = Cell::new(peer.learned.version().wrapping_add(1));

        connection.pool()?.put(Self {
            place: Place::nowhere(),
            connection: *connection,
            wrapped,
            peer,
            idle: Cell::new(Idle::new(0, None, 0)),
            tls: connection.is_tls(),
            watchable,
            kept: Cell::new(Kept::No),
            version,
            watched: Cell::new(false),
            held: Cell::new(NOT_HELD),
            expired: Cell::new(false),
            expiry: Cell::new(Close::Keepalive),
        })
    }

    /// What is remembered about the connection.
    pub fn of(connection: &Connection) -> Option<&Self> {
        connection.pool()?.values().next()
    }

    pub fn connection(&self) -> Connection {
        self.connection
    }

    pub fn wrapped(&self) -> &'static Wrapped {
        self.wrapped
    }

    /// The peer that the connection leads to.
    pub fn peer(&self) -> &Pinned {
        &self.peer
    }

    pub fn idle(&self) -> Idle {
        self.idle.get()
    }

    pub(super) fn is_watchable(&self) -> bool {
        self.watchable
    }

    pub fn is_watched(&self) -> bool {
        self.watched.get()
    }

    pub(super) fn set_watched(&self) {
        self.watched.set(true);
    }

    /// Counts the connection as idle until its deadline.
    pub fn enter_cache(&self) {
        self.kept.set(Kept::Cached);
        self.peer.enter_cache();
        self.wrapped.enter_cache();

        // one that is watched is let go by nginx alone
        if !self.watched.get() {
            self.schedule();
        }
    }

    /// Counts the connection as idle no more.
    pub fn leave_cache(&self) {
        match self.kept.replace(Kept::No) {
            Kept::No => {}
            Kept::Cached => {
                self.wrapped.leave_cache();
                self.peer.leave_cache();
            }
            Kept::Apart => self.peer.leave_cache(),
        }
    }

    /// The connection has left nginx's cache, and is idle yet.
    pub(super) fn keep_apart(&self) {
        self.wrapped.leave_cache();
        self.kept.set(Kept::Apart);
    }

    /// Sees to it that the connection's turn comes no later than its deadline.
    fn schedule(&self) {
        // SAFETY: the record begins with the place, and is never moved; its cleanup takes the place out of the order.
        unsafe { expiry::schedule(NonNull::from(self).cast(), self.idle.get().deadline()) };
    }

    /// Has nginx read from the connection at that time, if not before.
    pub fn hold(&self, until: Msec) {
        self.held.set(until);

        // SAFETY: as in `schedule`.
        unsafe { expiry::schedule(NonNull::from(self).cast(), until) };
    }

    /// nginx has been told of the end of the stream, or has no more to do with the connection.
    pub fn release(&self) {
        self.held.set(NOT_HELD);
    }

    /// Counts the connection as closed, for the caller to close it: a request has taken it out of the cache.
    pub fn let_go(&self, reason: Close) {
        self.leave_cache();
        self.count_close(reason);
    }

    fn count_close(&self, reason: Close) {
        let now = clock::now();
        let age = self.idle.get().age(now);

        self.peer.counters.close(reason, age);
        self.learn_from_close(reason, now);

        if self.watched.get() {
            // when the worker ends, or nginx needs the room, it has shown nothing
            let shown = matches!(reason, Close::Watched | Close::Keepalive);

            self.peer.learned.end_watch(now, shown || reason == Close::Shutdown);
        }

        // SAFETY: nginx sets the log of a connection to one that lives as long.
        if let Some(log) = NonNull::new(self.connection.log()) {
            let message = format_args!(
                "idle connection to {} closed after {age} ms: {}",
                self.peer,
                reason.name()
            );

            // SAFETY: as above.
            unsafe { log::write(NGX_LOG_INFO, log, message) };
        }
    }

    /// Why nginx is closing the idle connection.
    fn reason(&self) -> Close {
        let released = RELEASED.get();

        if !released.is_null() && released != self.connection.as_ptr() {
            Close::Evicted
        } else if self.expired.get() {
            self.expiry.get()
        } else if self.connection.has_timed_out() {
            Close::Keepalive
        } else if self.connection.is_told_to_close() {
            Close::Shutdown
        } else if self.connection.has_unasked(self.tls) {
            Close::Unasked
        } else if self.watched.get() {
            Close::Watched
        } else {
            Close::Peer
        }
    }
}

/// Runs `call`, which hands the connection back to nginx, and tells whether it is still open after that. If it is not,
/// there is no record any more.
pub fn connection_outlives(connection: Connection, call: impl FnOnce()) -> bool {
    RELEASED.set(connection.as_ptr());
    call();

    !RELEASED.replace(ptr::null_mut()).is_null()
}

/// Lets the connection go if its deadline has come. One that a request uses gets its next place when that is done.
///
/// # Safety
///
/// The place is what a record that is alive begins with; after this it may be no more.
pub unsafe fn take_turn(place: NonNull<Place>, now: Msec) {
    // SAFETY: the caller's promise.
    let record = unsafe { place.cast::<Record>().as_ref() };

    if record.kept.get() == Kept::No {
        return match record.held.get() {
            NOT_HELD => {}
            until if until > now => record.hold(until),
            _ => record.connection.wake(),
        };
    }

    let idle = record.idle.get();

    // what failures have shown may be forgotten by now
    if record.find_limit(idle.since(), idle.hint(), now).deadline() > now && !record.is_watched() {
        return record.schedule();
    }

    if record.is_watched() || record.begin_watch(now) {
        return;
    }

    let connection = record.connection;

    record.expired.set(true);
    connection.time_out();
}

// SAFETY: nothing else has this handler.
unsafe impl LivesIn<OfConnection> for Record {
    const CLEANUP: unsafe extern "C" fn(*mut c_void) = connection_closed;
}

/// nginx destroys the pool of a connection that it closes, and has not closed it yet.
unsafe extern "C" fn connection_closed(data: *mut c_void) {
    // SAFETY: nginx passes the data of the cleanup, which is the record that `attach` wrote.
    let record = unsafe { value_at::<OfConnection, Record>(data) };
    let connection = record.connection.as_ptr();

    record.place.leave();

    if record.connection.is_idle() {
        record.leave_cache();
        record.count_close(record.reason());
    }

    if RELEASED.get() == connection {
        RELEASED.set(ptr::null_mut());
    }

    // SAFETY: the record is not used again, since nginx is about to free its memory.
    unsafe { ptr::drop_in_place(data.cast::<Record>()) };
}
