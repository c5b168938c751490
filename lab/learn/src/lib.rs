#![forbid(unsafe_code)]
//! The module's rules, as the simulation sees them.

#[path = "../../../src/rules/mod.rs"]
pub mod rules;
