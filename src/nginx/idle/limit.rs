//! Until when an idle connection may be used, by what is configured, told and learned.

use super::record::Record;
use crate::rules::idle::{expiry, Idle};
use crate::rules::policy::Msec;

impl Record {
    /// The connection has been idle since then, and its backend has told that timeout, perhaps.
    pub fn set_idle(&self, since: Msec, hint: Option<Msec>, now: Msec) -> Idle {
        let idle = self.idle.get();

        if self.version.get() != self.peer().learned.version() || !idle.is_told(hint) {
            return self.find_limit(since, hint, now);
        }

        let idle = idle.again(since);
        self.idle.set(idle);

        idle
    }

    /// By what is learned meanwhile, the connection may have another limit.
    pub fn update_idle(&self, now: Msec) -> Idle {
        let idle = self.idle.get();

        if self.version.get() != self.peer().learned.version() {
            return self.find_limit(idle.since(), idle.hint(), now);
        }

        idle
    }

    #[cold]
    pub(super) fn find_limit(&self, since: Msec, hint: Option<Msec>, now: Msec) -> Idle {
        // before what it is the version of
        self.version.set(self.peer().learned.version());

        let limit = self.known_limit(hint, now);
        let idle = self.wrapped().policy.idle(since, hint, limit);

        self.expiry.set(expiry(limit));
        self.idle.set(idle);

        idle
    }

    /// The idle age from which on the connection must not be used, as far as it is known.
    pub fn known_limit(&self, hint: Option<Msec>, now: Msec) -> Option<Msec> {
        self.wrapped().policy.known_limit(hint, &self.peer().learned, now)
    }
}
