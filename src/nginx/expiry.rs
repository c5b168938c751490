//! When the connections in the cache are let go: one timer for all of them, set to the earliest deadline.
//!
//! A connection keeps its place in the order while requests use it, and gets the next one only when its turn has come.
//! So a request on a busy connection does no more here than look at the place.

use core::cell::UnsafeCell;
use core::mem;
use core::ptr::{self, NonNull};

use nginx_sys::{
    ngx_add_timer, ngx_connection_t, ngx_current_msec, ngx_cycle_t, ngx_del_timer, ngx_event_t,
    ngx_msec_t, ngx_rbtree_delete, ngx_rbtree_insert, ngx_rbtree_insert_timer_value,
    ngx_rbtree_key_t, ngx_rbtree_node_t, ngx_rbtree_t,
};

use super::clock;
use super::record::Record;
use crate::policy::Msec;

/// For how long connections are let go before the worker turns to its other events.
const SLICE: Msec = 2;

/// The key of a place that is not in the order.
const NOWHERE: ngx_rbtree_key_t = ngx_rbtree_key_t::MAX;

/// A place in the order; its key is the time of its turn.
#[repr(transparent)]
pub struct Place(UnsafeCell<ngx_rbtree_node_t>);

/// The places of a worker's connections, and the timer for the first of them.
struct Order {
    tree: ngx_rbtree_t,
    sentinel: ngx_rbtree_node_t,
    timer: ngx_event_t,
    /// nginx wants every event to have one.
    connection: ngx_connection_t,
}

struct Worker(UnsafeCell<Order>);

// SAFETY: a worker has one thread that runs event handlers.
unsafe impl Sync for Worker {}

// SAFETY: zero is a value of each field: null, none, or a number.
static WORKER: Worker = Worker(UnsafeCell::new(unsafe { mem::zeroed() }));

/// Begins with no connection.
pub fn init(cycle: &ngx_cycle_t) {
    // SAFETY: nothing else refers to the order meanwhile.
    let order = unsafe { &mut *WORKER.0.get() };

    // a sentinel of zeros is a black one
    let sentinel = ptr::addr_of_mut!(order.sentinel);
    order.tree =
        ngx_rbtree_t { root: sentinel, sentinel, insert: Some(ngx_rbtree_insert_timer_value) };

    order.connection.fd = -1;
    order.timer.data = ptr::addr_of_mut!(order.connection).cast();
    order.timer.handler = Some(handle_timer);
    order.timer.log = cycle.log;
    // a worker that ends does not wait for it
    order.timer.set_cancelable(1);
}

/// Sees to it that the connection's turn comes no later than its deadline.
pub fn schedule(record: &Record, deadline: Msec) {
    if record.place().turn() > deadline {
        record.place().move_to(deadline);
    }
}

impl Place {
    pub fn nowhere() -> Self {
        // SAFETY: zero is a value of each field: null, or a number.
        let node = unsafe { mem::zeroed() };

        Self(UnsafeCell::new(ngx_rbtree_node_t { key: NOWHERE, ..node }))
    }

    fn turn(&self) -> Msec {
        // SAFETY: a worker has one thread.
        unsafe { (*self.0.get()).key as Msec }
    }

    #[inline(never)]
    fn move_to(&self, turn: Msec) {
        self.leave();

        // SAFETY: a worker has one thread; the node is in no tree, and leaves this one before its memory is freed.
        unsafe {
            (*self.0.get()).key = turn as ngx_rbtree_key_t;
            ngx_rbtree_insert(ptr::addr_of_mut!((*WORKER.0.get()).tree), self.0.get());
        }

        set_timer(turn);
    }

    /// Leaves the order; the timer may go off for nothing.
    pub fn leave(&self) {
        if self.turn() == NOWHERE as Msec {
            return;
        }

        // SAFETY: a worker has one thread; the node is in the tree.
        unsafe {
            ngx_rbtree_delete(ptr::addr_of_mut!((*WORKER.0.get()).tree), self.0.get());
            (*self.0.get()).key = NOWHERE;
        }
    }
}

/// The record whose turn is next.
fn first() -> Option<NonNull<Record>> {
    // SAFETY: a worker has one thread; all nodes of the tree are valid, and the sentinel ends every branch.
    unsafe {
        let tree = ptr::addr_of!((*WORKER.0.get()).tree);
        let sentinel = (*tree).sentinel;
        let mut node = (*tree).root;

        if node == sentinel {
            return None;
        }

        while (*node).left != sentinel {
            node = (*node).left;
        }

        // the place is what a record begins with
        NonNull::new(node.cast())
    }
}

/// Sets the timer to go off at that time, or leaves it when it does so before.
fn set_timer(turn: Msec) {
    // SAFETY: a worker has one thread; nginx keeps the timer in its tree.
    unsafe {
        let timer = ptr::addr_of_mut!((*WORKER.0.get()).timer);

        if (*timer).timer_set() != 0 {
            if (*timer).timer.key as Msec <= turn {
                return;
            }

            // otherwise nginx would keep it if the two were less than 300 ms apart
            ngx_del_timer(timer);
        }

        let left = turn.saturating_sub(ngx_current_msec as Msec);
        ngx_add_timer(timer, left as ngx_msec_t);
    }
}

unsafe extern "C" fn handle_timer(_ev: *mut ngx_event_t) {
    let began = clock::now();

    while let Some(record) = first() {
        let now = clock::event_time();

        // SAFETY: the record is in the order, and so is alive.
        let turn = unsafe { record.as_ref() }.place().turn();

        if turn > now {
            return set_timer(turn);
        }

        if clock::now().saturating_sub(began) >= SLICE {
            return set_timer(now.saturating_add(1));
        }

        // SAFETY: as above.
        unsafe { take_turn(record, now) };
    }
}

/// Lets the connection go if its deadline has come. One that a request uses gets its next place when that is done.
///
/// # Safety
///
/// The record is alive; after this it may be no more.
unsafe fn take_turn(record: NonNull<Record>, now: Msec) {
    // SAFETY: the caller's promise.
    let record = unsafe { record.as_ref() };

    record.place().leave();

    if !record.is_cached() {
        return;
    }

    let deadline = record.idle().deadline();

    if deadline > now {
        return record.place().move_to(deadline);
    }

    let connection = record.connection();

    record.expire();
    connection.time_out();
}
