//! The parts of the module that are free of nginx, as the targets see them.

#[path = "../../src/figures/mod.rs"]
pub mod figures;
#[path = "../../src/rules/mod.rs"]
pub mod rules;
