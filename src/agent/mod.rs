//! The agent: this program in the background, which brings entries while a build runs and sends what it compiled.
//!
//! At most one per cache directory, started by the first miss of a build with a remote configured, gone after ten idle
//! minutes. [`client`] is all that the wrapper knows of it: a question under a deadline. Whatever the agent does (hang, die,
//! answer nonsense), a build goes on without it. It never decides what a hit is: it puts entries into the store, where the
//! wrapper looks again.
//!
//! [`protocol`] is the format; [`budget`], `health`, [`shelf`] and `told` are policy (pure); [`server`] answers, `prefetch` brings, [`queue`]
//! is what is to go, and `uploads` sends it.

pub mod budget;
pub mod client;
mod health;
pub mod place;
mod prefetch;
pub mod protocol;
pub mod queue;
pub mod server;
pub mod shelf;
mod state;
mod told;
mod uploads;
