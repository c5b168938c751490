//! The life of an idle connection: what is remembered about it, and when its turn comes.

pub mod expiry;
mod learning;
mod limit;
pub mod record;
mod watched;
