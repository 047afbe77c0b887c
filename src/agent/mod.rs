//! The agent: kache in the background, which fetches entries while a build runs and uploads what the build compiled.
//!
//! There is at most one per cache directory. The first miss of a build with a remote starts it, and by default it ends
//! after ten idle minutes. The wrapper uses only [`client`], which asks with a deadline, and adds entries to [`queue`].
//! Whatever the agent does (hang, die, answer nonsense), a build goes on without it. The agent does not decide what a
//! hit is: it puts entries into the store, and the wrapper looks there again.
//!
//! [`protocol`] is the format; `answer`, [`budget`], [`fetch_plan`] and `health` are pure policy, which `state`
//! combines; `decision` decides from that state how to answer a request, and `shared` holds it for all tasks.
//! [`server`] answers, `prefetch` fetches, [`queue`] holds the entries to upload, and `uploads` uploads them.
//! [`failure`] keeps what failed last, for commands that run after the agent has ended.

mod answer;
pub mod budget;
pub mod client;
mod decision;
pub mod failure;
pub mod fetch_plan;
mod health;
pub mod paths;
mod prefetch;
pub mod protocol;
pub mod queue;
pub mod server;
mod shared;
mod state;
mod uploads;
