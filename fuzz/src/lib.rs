//! The parts of the module that are free of nginx, as the targets see them.

#[path = "../../src/counters.rs"]
pub mod counters;
#[path = "../../src/directive.rs"]
pub mod directive;
#[path = "../../src/goaway.rs"]
pub mod goaway;
#[path = "../../src/keep_alive.rs"]
pub mod keep_alive;
#[path = "../../src/outcome.rs"]
pub mod outcome;
#[path = "../../src/policy.rs"]
pub mod policy;
#[path = "../../src/render.rs"]
pub mod render;
#[path = "../../src/stream.rs"]
pub mod stream;
