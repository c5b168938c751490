//! An nginx module that lets idle upstream connections go before the backend closes them.
//!
//! nginx keeps idle connections to a backend, and the backend closes them after an idle timeout of its own. A request
//! that nginx sends at that moment fails. Told that timeout by `upstream_idle_timeout`, the module closes each idle
//! connection a safety margin ahead of it, and never sends a request on one that is past that age.
//!
//! [`policy`] decides, free of nginx and of unsafe code; `nginx` is the face towards nginx and holds all of the unsafe
//! code. It refers to symbols of the nginx binary, which a test binary lacks: unit tests see the pure part alone.

pub mod counters;
pub mod directive;
pub mod evidence;
pub mod goaway;
pub mod keep_alive;
pub mod outcome;
pub mod policy;
pub mod render;
pub mod stream;
pub mod tls_record;

#[cfg(not(test))]
mod nginx;
