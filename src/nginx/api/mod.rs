//! A small safe face for each of nginx's objects that the module has to do with.

pub mod array;
pub mod cf;
pub mod clock;
pub mod connection;
pub mod log;
pub mod peer_connection;
pub mod pool;
pub mod request;
pub mod worker;
