//! What came of a run.

use crate::time::Micros;

#[derive(Clone, Default)]
pub struct Report {
    /// Requests that went out on a connection that was used before, and were received.
    pub reuses: u64,
    /// Those that were not, since the connection came to its end.
    pub failures: u64,
    /// Failures since something was learned.
    pub failures_after: u64,
    /// When something was learned.
    pub learned: Option<Micros>,
    /// How long it took after a change until the limit was that of the new timeout, within a tenth.
    pub followed: Option<Micros>,
    /// When the last reuse failed.
    pub last_failure: Option<Micros>,
    pub watched: Watched,
}

/// Connections that lived past their limit.
#[derive(Clone, Default)]
pub struct Watched {
    pub connections: u64,
    pub time: Micros,
}
