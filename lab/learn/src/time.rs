//! Time, in microseconds, and what chance makes of it.

use fastrand::Rng;

pub type Micros = u64;

pub const MS: Micros = 1000;
pub const SECOND: Micros = 1000 * MS;
pub const HOUR: Micros = 3600 * SECOND;

/// Later than anything, and far enough from overflowing to be added to.
pub const NEVER: Micros = 1 << 60;

/// The kernel's clock for sockets has ticks of so much.
pub const TICK: Micros = 4 * MS;

/// The time by that clock, in milliseconds.
pub fn ticks_in_ms(at: Micros) -> u64 {
    at / TICK * TICK / MS
}

/// A time with this mean; such events do not know of each other.
pub fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    -mean * (1.0 - rng.f64()).ln()
}

/// A time with this mean; most are short, and some very long.
pub fn pareto(rng: &mut Rng, mean: f64) -> f64 {
    const SHAPE: f64 = 1.3;

    let least = mean * (SHAPE - 1.0) / SHAPE;

    (least * (1.0 - rng.f64()).powf(-1.0 / SHAPE)).min(1000.0 * mean)
}

/// A process that does nothing for a while, once in each period, at any time of it.
#[derive(Clone, Copy)]
pub struct Pauses {
    pub every: Micros,
    pub length: Micros,
}

impl Pauses {
    /// When the process goes on: at once, or at the end of the pause. Each process has pauses of its own.
    pub fn end(&self, at: Micros, process: usize) -> Micros {
        let period = at / self.every;
        let seed = period.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ process as u64;
        let start = period * self.every + Rng::with_seed(seed).u64(..self.every - self.length);
        let end = start + self.length;

        if (start..end).contains(&at) {
            end
        } else {
            at
        }
    }
}
