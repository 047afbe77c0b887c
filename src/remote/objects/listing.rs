//! Listings of object stores, with names relative to the root of the store.

use super::dir_listing::DirListing;
use super::index_listing::IndexListing;
use crate::remote::s3::error::Result;
use crate::remote::s3::listing::{ListedObject, Listing};

/// A listing in progress.
#[derive(Debug)]
pub enum ObjectListing {
    /// Of a bucket, below a prefix of so many bytes.
    S3(Listing, usize),
    /// Of a directory.
    Dir(DirListing),
    /// Of a place that has indexes.
    Indexed(IndexListing),
}

impl ObjectListing {
    /// Requests the next page; `None` at the end. A page may be empty.
    pub async fn next_page(&mut self) -> Result<Option<Vec<ListedObject>>> {
        match self {
            Self::S3(listing, prefix) => {
                let page = listing.next_page().await?;
                Ok(page.map(|mut page| {
                    for object in &mut page {
                        object.name.drain(..(*prefix).min(object.name.len()));
                    }
                    page
                }))
            }
            Self::Dir(listing) => listing.next_page().await,
            Self::Indexed(listing) => listing.next_page().await,
        }
    }

    /// Requests all remaining pages. An error in one of them discards the others.
    pub async fn all(mut self) -> Result<Vec<ListedObject>> {
        let mut all = Vec::new();
        while let Some(page) = self.next_page().await? {
            all.extend(page);
        }
        Ok(all)
    }
}
