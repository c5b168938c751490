//! Connections that are kept past their limit, unused, to see when the backend closes them.
//!
//! Where nginx lets all connections go in time, it never sees the backend close one, and would not get to know that the
//! backend's timeout is another one now. So of a peer one connection at a time may live on: in the cache, and out of it
//! once it is handed to a request, which gets a fresh one. Where it is, no other process has to know: what they share is a
//! time until which no other connection is watched.

use super::record::Record;
use crate::nginx::api::worker;
use crate::rules::policy::{Learn, Msec};

/// For so long others wait for a connection that ends in time.
const SLACK: Msec = 1000;

impl Record {
    /// Whether the connection, whose limit has come, is to be watched.
    pub fn begin_watch(&self, now: Msec) -> bool {
        let policy = &self.wrapped().policy;
        let left = self.time_left(now);

        let begins = policy.learn == Learn::On
            && self.is_watchable()
            && left > 0
            && self.wrapped().has_room()
            && worker::has_spare_connections()
            && self.peer().is_one()
            && self.peer().learned.watch(now, now.saturating_add(left).saturating_add(SLACK));

        if begins {
            self.set_watched();
        }

        begins
    }

    /// The connection is watched, and was handed to a request. It may be closed at once.
    pub fn keep_from_request(&self, now: Msec) {
        self.keep_apart();
        self.connection().watch(self.time_left(now));
    }

    /// How long nginx would keep the connection yet.
    fn time_left(&self, now: Msec) -> Msec {
        let age = self.idle().age(now);

        self.wrapped().policy.keepalive_timeout.saturating_sub(age)
    }
}
