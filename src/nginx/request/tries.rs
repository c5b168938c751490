//! The tries of a request: how each came by its connection, and what became of it.

use core::cell::Cell;
use core::iter;
use core::mem;
use core::ptr;

use nginx_sys::{ngx_http_request_t, ngx_http_upstream_state_t, ngx_msec_t, ngx_palloc};

use crate::rules::outcome::FailedReuse;
use crate::rules::policy::Msec;

/// How a try came by its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// There was no peer to try.
    Nowhere,
    /// A new one.
    Fresh,
    /// One that had been idle for so long, of the time for which it may be.
    Reused { age: Msec, limit: Msec },
}

/// One of a request's tries to get a response.
#[derive(Clone, Copy)]
pub struct Try {
    pub way: Way,
    state: u32,
    pub failed: Option<FailedReuse>,
}

const NO_STATE: u32 = u32::MAX;

impl Try {
    /// The number of its state in `r->upstream_states`.
    pub fn state(&self) -> usize {
        self.state as usize
    }

    /// For how long the connection had been idle, if it was a cached one.
    pub fn idle(&self) -> Option<Msec> {
        match self.way {
            Way::Reused { age, .. } => Some(age),
            _ => None,
        }
    }

    /// For how long a cached connection might have been idle at the most.
    pub fn limit(&self) -> Option<Msec> {
        match self.way {
            Way::Reused { limit, .. } => Some(limit),
            _ => None,
        }
    }
}

/// Whether the header of a response has come.
pub fn has_header(state: &ngx_http_upstream_state_t) -> bool {
    state.header_time != ngx_msec_t::MAX
}

/// The tries on an upstream, the last one first. Most requests have one only.
pub struct Tries {
    last: Cell<Try>,
    before: Cell<*const Tries>,
}

impl Tries {
    pub fn none() -> Self {
        let last = Try { way: Way::Nowhere, state: NO_STATE, failed: None };

        Self { last: Cell::new(last), before: Cell::new(ptr::null()) }
    }

    /// The try that is under way.
    pub fn current(&self) -> Try {
        self.last.get()
    }

    pub fn set_failed(&self, failed: FailedReuse) {
        self.last.set(Try { failed: Some(failed), ..self.last.get() });
    }

    /// Begins a try of the request; whether it is the first one.
    pub fn begin(&self, r: &ngx_http_request_t, way: Way) -> bool {
        let first = self.last.get().state == NO_STATE;

        if !first {
            self.keep_last(r);
        }

        // SAFETY: nginx has pushed the state of this try to the array.
        let states = unsafe { r.upstream_states.as_ref() }.map_or(0, |states| states.nelts);
        let state = u32::try_from(states.saturating_sub(1)).unwrap_or(NO_STATE);

        self.last.set(Try { way, state, failed: None });

        first
    }

    /// Moves the last try to memory of its own; without memory, it is forgotten.
    #[cold]
    fn keep_last(&self, r: &ngx_http_request_t) {
        // SAFETY: the request's pool is valid; the memory is aligned as every allocation in a pool.
        let memory = unsafe { ngx_palloc(r.pool, mem::size_of::<Self>()) }.cast::<Self>();

        if !memory.is_null() {
            // SAFETY: `ngx_palloc` has given memory for a value.
            unsafe { memory.write(Self { last: self.last.clone(), before: self.before.clone() }) };
            self.before.set(memory);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Try> + '_ {
        // SAFETY: the pointer is null, or to what `keep_last` wrote to the request's pool.
        iter::successors(Some(self), |tries| unsafe { tries.before.get().as_ref() })
            .map(|tries| tries.last.get())
    }
}
