//! An nginx module that lets idle upstream connections go before the backend closes them.
//!
//! nginx keeps idle connections to a backend, and the backend closes them after an idle timeout of its own. A request
//! that nginx sends at that moment fails. Told that timeout by `upstream_idle_timeout`, the module closes each idle
//! connection a safety margin ahead of it, and never sends a request on one that is past that age.
//!
//! [`rules`] decide: when a connection has to go, what a request may be sent on, what became of one that failed.
//! [`figures`] count, and show what was counted. `nginx` is the door: it sees what happens, asks the rules, has the
//! figures count, and holds all of the unsafe code. Each knows only what stands before it: `nginx` the figures and the
//! rules, the figures the rules. In `nginx`, from the door inwards:
//!
//! - `module`, `conf`, `process`, `status`: what nginx calls for a configuration, a process, a page
//! - `request`: a request's way to a peer, and what becomes of its tries
//! - `idle`: an idle connection, and the order in which such go
//! - `memory`: what all workers share
//! - `api`: a safe face for each of nginx's objects
//!
//! nginx's symbols are in its binary, which a test binary lacks: unit tests see the pure part alone.

pub mod figures;
pub mod rules;

#[cfg(not(test))]
mod nginx;
