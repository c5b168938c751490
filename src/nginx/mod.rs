//! The face towards nginx, and all of the unsafe code.

mod api;
mod conf;
mod idle;
mod keepalive;
mod memory;
mod module;
mod process;
mod request;
mod status;
