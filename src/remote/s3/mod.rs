//! The S3 client: a bucket, the requests to it, and transfers of large objects.
//!
//! Owns connections, credentials, retries, the breaker, progress and cancellation. An absent object is `None`; every
//! other answer is checked before it counts. Does not know what objects mean: neither formats nor operations.

mod answer_limit;
pub mod bucket;
pub mod connections;
mod credentials;
pub mod error;
mod get;
pub(in crate::remote) mod http;
pub mod listing;
pub mod progress;
pub(in crate::remote) mod range;
mod request;
pub mod retry;
pub mod small_objects;
pub(in crate::remote) mod source;
pub mod transfer;
pub mod tuning;
