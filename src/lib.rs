//! tmp
pub mod config;
pub mod events;
pub mod fsx;
pub mod model;
pub mod rustc;
pub mod store;
