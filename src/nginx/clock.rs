//! The monotonic clock.

use nginx_sys::ngx_current_msec;

use crate::policy::Msec;

/// nginx's clock is never behind by more than an event batch takes; a larger difference means that it is another clock.
const MAX_LAG: Msec = 60_000;

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
    let sec = Msec::try_from(ts.tv_sec).unwrap_or(0);
    let msec = Msec::try_from(ts.tv_nsec / 1_000_000).unwrap_or(0);

    sec.saturating_mul(1000).saturating_add(msec)
}

/// How far nginx's time is behind `now`.
pub fn lag(now: Msec) -> Msec {
    // SAFETY: a worker has one thread that runs event handlers and writes to this variable.
    let current = (unsafe { ngx_current_msec }) as Msec;

    match now.checked_sub(current) {
        Some(lag) if lag < MAX_LAG => lag,
        _ => 0,
    }
}
