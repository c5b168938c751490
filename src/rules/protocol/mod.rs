#![forbid(unsafe_code)]
//! What is read of the protocols that backends speak.

pub mod goaway;
pub mod keep_alive;
pub mod stream;
pub mod tls_record;
