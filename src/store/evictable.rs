//! Sessions and offers, which the store holds besides results. They are links to files of target directories, so they
//! take up space only once those files are gone, and they are evicted first ([`super::eviction`]).

use std::path::PathBuf;

use crate::fsx::clock::Time;

/// A session or an offer in the store.
#[derive(Debug)]
pub struct Evictable {
    /// The directory with its files.
    pub place: PathBuf,
    /// Size of its files in bytes. Target directories may hold the same files.
    pub bytes: u64,
    /// When it was made or last used.
    pub used: Time,
}
