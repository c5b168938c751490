//! When it is whose turn, in the order of deadlines: one timer for all of a worker's connections.
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
use crate::policy::Msec;

/// For how long turns are taken before the worker turns to its other events.
const SLICE: Msec = 2;

/// The key of a place that is not in the order.
const NOWHERE: ngx_rbtree_key_t = ngx_rbtree_key_t::MAX;

/// A place in the order; its key is the time of its turn.
#[repr(transparent)]
pub struct Place(UnsafeCell<ngx_rbtree_node_t>);

/// Takes the turn of a place that was the next one, and has just left the order.
///
/// # Safety
///
/// The place is alive; after this it may be no more.
pub type TakeTurn = unsafe fn(place: NonNull<Place>, now: Msec);

/// The places of a worker's connections, and the timer for the first of them.
struct Order {
    take_turn: Option<TakeTurn>,
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

/// Begins with no place.
pub fn init(cycle: &ngx_cycle_t, take_turn: TakeTurn) {
    // SAFETY: nothing else refers to the order meanwhile.
    let order = unsafe { &mut *WORKER.0.get() };

    order.take_turn = Some(take_turn);

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

impl Place {
    pub fn nowhere() -> Self {
        // SAFETY: zero is a value of each field: null, or a number.
        let node = unsafe { mem::zeroed() };

        Self(UnsafeCell::new(ngx_rbtree_node_t { key: NOWHERE, ..node }))
    }

    /// Sees to it that the turn comes no later than that.
    pub fn schedule(&self, deadline: Msec) {
        if self.turn() > deadline {
            self.move_to(deadline);
        }
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

/// The place whose turn is next.
fn first() -> Option<NonNull<Place>> {
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
    // SAFETY: a worker has one thread.
    let Some(take_turn) = (unsafe { (*WORKER.0.get()).take_turn }) else {
        return;
    };

    let began = clock::now();

    while let Some(first) = first() {
        let now = clock::event_time();

        // SAFETY: the place is in the order, and so is alive.
        let place = unsafe { first.as_ref() };

        if place.turn() > now {
            return set_timer(place.turn());
        }

        if clock::now().saturating_sub(began) >= SLICE {
            return set_timer(now.saturating_add(1));
        }

        place.leave();

        // SAFETY: as above.
        unsafe { take_turn(first, now) };
    }
}
