//! Where nginx tells a module nothing: pointers of its own that the module's functions stand behind for a while.

pub mod headers;
pub mod receiving;
pub mod sending;
