//! Object stores: the kinds of places that can hold the objects of a remote, behind one type.
//!
//! An object has a name relative to the root of its store, such as `v2/packs/...`; the store adds what its place needs
//! (a prefix, a directory). An absent object is `None`. Knows neither formats nor operations: whoever reads an object
//! checks its content.

mod dir;
mod dir_listing;
mod github;
mod github_service;
mod http;
pub mod index;
mod index_listing;
mod listing;
mod names;
mod range;
mod s3;
mod store;
mod web;

pub use dir::DirObjects;
pub use github::GithubObjects;
pub use http::HttpObjects;
pub use listing::ObjectListing;
pub use range::ByteRange;
pub use s3::S3Objects;
pub use store::ObjectStore;
