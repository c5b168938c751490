#![forbid(unsafe_code)]
//! What is counted, and how it is shown.

pub mod counters;
mod json;
pub mod names;
mod prometheus;
pub mod status;
