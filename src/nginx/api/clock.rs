//! The monotonic clock.

use core::mem;

use nginx_sys::{ngx_current_msec, ngx_msec_t, NGX_HAVE_CLOCK_MONOTONIC};

use crate::rules::policy::Msec;

const _: () = assert!(NGX_HAVE_CLOCK_MONOTONIC == 1, "nginx has another clock");
const _: () =
    assert!(mem::size_of::<ngx_msec_t>() == mem::size_of::<Msec>(), "nginx's clock wraps");

/// The time now, from the kernel: `ngx_current_msec` is as old as the batch of events that nginx works on.
pub fn now() -> Msec {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };

    // SAFETY: the kernel writes to `ts` alone; this clock is always there, so the call can't fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut ts) };

    msec(ts)
}

/// How coarsely the kernel counts when it does so in ticks of its timer.
pub fn tick() -> Msec {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };

    // SAFETY: the kernel writes to `ts` alone; it leaves a zero where there is no such clock.
    unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &mut ts) };

    msec(ts)
}

fn msec(ts: libc::timespec) -> Msec {
    // neither is negative
    let (sec, nsec) = (ts.tv_sec as Msec, ts.tv_nsec as Msec);

    sec.wrapping_mul(1000).wrapping_add(nsec / 1_000_000)
}

/// The time at which nginx began to work on the batch of events that it is at.
pub fn event_time() -> Msec {
    // SAFETY: a worker has one thread that runs event handlers and writes to this variable.
    (unsafe { ngx_current_msec }) as Msec
}
