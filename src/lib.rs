//! tmp
pub mod fsx;
pub mod model;
