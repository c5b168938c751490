#![forbid(unsafe_code)]
//! What is decided, free of nginx: plain values in, plain values out.

pub mod directive;
pub mod evidence;
pub mod idle;
pub mod learned;
pub mod outcome;
pub mod policy;
pub mod protocol;
pub mod repeat;
