//! A listing from an index object, for places that cannot list.

use super::github::GithubObjects;
use super::http::HttpObjects;
use super::index;
use crate::remote::s3::error::{Attempt, RemoteError, Result};
use crate::remote::s3::listing::ListedObject;
use crate::remote::s3::source::Source as _;

/// The places that have indexes.
#[derive(Clone, Debug)]
pub(super) enum IndexedPlace {
    Http(HttpObjects),
    Github(GithubObjects),
}

/// A listing from an index object: one page, or none if the index does not exist.
#[derive(Debug)]
pub struct IndexListing {
    place: IndexedPlace,
    prefix: String,
    is_over: bool,
}

impl IndexListing {
    pub(super) fn new(place: IndexedPlace, prefix: &str) -> Self {
        Self { place, prefix: prefix.to_owned(), is_over: false }
    }

    /// Reads the index at the first call.
    pub(super) async fn next_page(&mut self) -> Result<Option<Vec<ListedObject>>> {
        if std::mem::replace(&mut self.is_over, true) {
            return Ok(None);
        }
        let dir = self.prefix.rsplit_once('/').map_or_else(String::new, |(dir, _)| format!("{dir}/"));
        let name = index::name(&dir);
        let bytes = match &self.place {
            IndexedPlace::Http(store) => store.get(&name, index::MAX_INDEX_BYTES).await?,
            IndexedPlace::Github(store) => store.get(&name, index::MAX_INDEX_BYTES).await?,
        };
        let Some(bytes) = bytes else { return Ok(Some(Vec::new())) };
        let invalid = |error: index::IndexError| RemoteError::InvalidAnswer {
            attempt: self.attempt(&name),
            reason: error.to_string(),
        };
        let mut page = index::decode(&dir, &bytes).map_err(invalid)?;
        page.retain(|object| object.name.starts_with(&self.prefix));
        Ok(Some(page))
    }

    fn attempt(&self, name: &str) -> Attempt {
        match &self.place {
            IndexedPlace::Http(store) => store.attempt("list", name),
            IndexedPlace::Github(store) => store.attempt("list", name),
        }
    }
}
