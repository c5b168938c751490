//! A request's way to a peer of an upstream: the choice of a connection, the tries, and what is told of them.

mod again;
pub mod callbacks;
mod ended;
mod peer;
pub mod seams;
mod slots;
mod tries;
pub mod variables;
