//! When it is whose turn, in the order of deadlines: one timer for all of a worker's connections.
//!
//! A connection keeps its place in the order while requests use it, and gets the next one only when its turn has come.
//! So a request on a busy connection does no more here than look at the place.

use core::cell::UnsafeCell;
use core::mem;
use core::ptr::{self, NonNull};

use nginx_sys::{
    ngx_add_timer, ngx_connection_t, ngx_current_msec, ngx_cycle, ngx_del_timer, ngx_event_t,
    ngx_msec_t, ngx_post_event, ngx_posted_next_events, ngx_rbtree_delete, ngx_rbtree_insert,
    ngx_rbtree_insert_timer_value, ngx_rbtree_key_t, ngx_rbtree_node_t, ngx_rbtree_t,
};

use crate::nginx::api::clock;
use crate::nginx::api::worker::Worker;
use crate::rules::policy::Msec;

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
/// The place came to the order by `schedule`, and is alive; after this it may be no more.
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

// SAFETY: zero is a value of each field: null, none, or a number.
static ORDER: Worker<UnsafeCell<Order>> = Worker::new(UnsafeCell::new(unsafe { mem::zeroed() }));

/// Begins with no place.
pub fn init(take_turn: TakeTurn) {
    // SAFETY: nothing else refers to the order meanwhile.
    let order = unsafe { &mut *ORDER.get() };

    order.take_turn = Some(take_turn);

    // a sentinel of zeros is a black one
    let sentinel = ptr::addr_of_mut!(order.sentinel);
    order.tree =
        ngx_rbtree_t { root: sentinel, sentinel, insert: Some(ngx_rbtree_insert_timer_value) };

    order.connection.fd = -1;
    order.timer.data = ptr::addr_of_mut!(order.connection).cast();
    order.timer.handler = Some(handle_timer);
    // a worker that ends does not wait for it
    order.timer.set_cancelable(1);
}

impl Place {
    pub fn nowhere() -> Self {
        // SAFETY: zero is a value of each field: null, or a number.
        let node = unsafe { mem::zeroed() };

        Self(UnsafeCell::new(ngx_rbtree_node_t { key: NOWHERE, ..node }))
    }

    fn turn(&self) -> Msec {
        // SAFETY: nginx changes no key, and nothing else refers to the node meanwhile.
        unsafe { (*self.0.get()).key as Msec }
    }

    /// Leaves the order; the timer may go off for nothing.
    pub fn leave(&self) {
        if self.turn() == NOWHERE as Msec {
            return;
        }

        // SAFETY: the node is in the tree, which is this process's.
        unsafe {
            ngx_rbtree_delete(ptr::addr_of_mut!((*ORDER.get()).tree), self.0.get());
            (*self.0.get()).key = NOWHERE;
        }
    }
}

/// Sees to it that the turn of a place comes no later than that.
///
/// # Safety
///
/// The place is alive, and what the `TakeTurn` of `init` is for. It is not moved, and leaves the order before its memory
/// is freed.
pub unsafe fn schedule(place: NonNull<Place>, deadline: Msec) {
    // SAFETY: the caller's promise.
    if unsafe { place.as_ref() }.turn() > deadline {
        // SAFETY: the caller's promise.
        unsafe { move_to(place, deadline) };
    }
}

/// # Safety
///
/// That of `schedule`.
#[inline(never)]
unsafe fn move_to(place: NonNull<Place>, turn: Msec) {
    let node = place.as_ptr().cast::<ngx_rbtree_node_t>();

    // SAFETY: the caller's promise; the place is in no tree when it has left the order.
    unsafe {
        place.as_ref().leave();
        (*node).key = turn as ngx_rbtree_key_t;
        ngx_rbtree_insert(ptr::addr_of_mut!((*ORDER.get()).tree), node);
    }

    set_timer(turn);
}

/// The place whose turn is next.
fn first() -> Option<NonNull<Place>> {
    // SAFETY: by the promise of `schedule` all nodes of the tree are alive; the sentinel ends every branch.
    unsafe {
        let tree = ptr::addr_of!((*ORDER.get()).tree);
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
    // SAFETY: the order is this process's; nginx sets the cycle, and keeps the timer in its tree.
    unsafe {
        let timer = ptr::addr_of_mut!((*ORDER.get()).timer);

        if (*timer).timer_set() != 0 {
            if (*timer).timer.key as Msec <= turn {
                return;
            }

            // otherwise nginx would keep it if the two were less than 300 ms apart
            ngx_del_timer(timer);
        }

        // without worker processes, a reload replaces the cycle
        (*timer).log = (*ngx_cycle).log;

        let left = turn.saturating_sub(ngx_current_msec as Msec);
        ngx_add_timer(timer, left as ngx_msec_t);
    }
}

/// Has the handler called again when nginx has been through its other events. A timer would be as late as nginx's clock
/// is coarse (`timer_resolution`).
fn go_on_soon() {
    // SAFETY: the order is this process's, and as long-lived; nginx has made the queue before any worker began.
    unsafe {
        let timer = ptr::addr_of_mut!((*ORDER.get()).timer);

        ngx_post_event(timer, ptr::addr_of_mut!(ngx_posted_next_events));
    }
}

unsafe extern "C" fn handle_timer(_ev: *mut ngx_event_t) {
    // SAFETY: `init` wrote it before nginx could call this.
    let Some(take_turn) = (unsafe { (*ORDER.get()).take_turn }) else {
        return;
    };

    let (began, now) = (clock::now(), clock::event_time());

    while let Some(first) = first() {
        // SAFETY: the place is in the order, and so is alive.
        let place = unsafe { first.as_ref() };

        if place.turn() > now {
            return set_timer(place.turn());
        }

        if clock::now().saturating_sub(began) >= SLICE {
            return go_on_soon();
        }

        place.leave();

        // SAFETY: only `schedule` adds places, and nothing has run since this one was in the order.
        unsafe { take_turn(first, now) };
    }
}
