//! What all worker processes share, in a zone of shared memory: the counters of upstreams and of their peers.

pub mod header;
pub mod peer;
mod room;
mod slab;
mod table;
pub mod upstream;
mod workers;
pub mod wrapped;
pub mod zone;
