//! Listings, guarded against servers that do not end them or list names outside the prefix.

use std::collections::BTreeSet;
use std::time::SystemTime;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;

use super::answer_limit::AnswerLimit;
use super::bucket::{Bucket, system_time};
use super::error::{RemoteError, Result, absent_error};

/// Most pages of a listing: ten million objects.
const MAX_PAGES: usize = 10_000;

/// One object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Full name of the object.
    pub name: String,
    /// Size in bytes, as the server declares it.
    pub size: u64,
    /// Time of the last write, by the server's clock.
    pub modified: Option<SystemTime>,
}

/// A listing in progress.
#[derive(Debug)]
pub struct Listing {
    bucket: Bucket,
    prefix: String,
    guard: ListingGuard,
}

impl Bucket {
    /// Lists the objects whose names begin with `prefix`, page by page.
    pub fn list(&self, prefix: &str) -> Listing {
        Listing { bucket: self.clone(), prefix: prefix.to_owned(), guard: ListingGuard::default() }
    }
}

impl Listing {
    /// Requests the next page, in the server's order; `None` at the end. A page may be empty.
    pub async fn next_page(&mut self) -> Result<Option<Vec<ListedObject>>> {
        if self.guard.is_over {
            return Ok(None);
        }
        let attempt = self.bucket.attempt("list", &self.prefix);
        let token = self.guard.token.clone();
        let page = self
            .bucket
            .with_retries(&attempt, || async {
                let client = &self.bucket.0.client;
                let request = client.list_objects_v2().bucket(&self.bucket.0.name).prefix(&self.prefix);
                let sent = Box::pin(
                    request.set_continuation_token(token.clone()).customize().interceptor(AnswerLimit::All).send(),
                );
                let page = self
                    .bucket
                    .request(&attempt, self.bucket.timeout(0), sent)
                    .await?
                    .ok_or_else(|| absent_error(&attempt))?;
                match is_complete(&page) {
                    true => Ok(page),
                    false => Err(RemoteError::InvalidAnswer {
                        attempt: attempt.clone(),
                        reason: "no whole listing".to_owned(),
                    }),
                }
            })
            .await?;
        let truncated = page.is_truncated().unwrap_or(false);
        self.guard.follow(truncated, page.next_continuation_token());
        Ok(Some(self.guard.new_objects(&self.prefix, listed(&page))))
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

/// Whether the page is complete: the SDK accepts XML that ends in the middle, or other XML, as a listing.
fn is_complete(page: &ListObjectsV2Output) -> bool {
    let counted = page.key_count().and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    page.is_truncated().is_some() && counted <= page.contents().len() + page.common_prefixes().len()
}

fn listed(page: &ListObjectsV2Output) -> impl Iterator<Item = ListedObject> + '_ {
    page.contents().iter().filter_map(|object| {
        let size = u64::try_from(object.size()?).ok()?;
        Some(ListedObject {
            name: object.key()?.to_owned(),
            size,
            modified: object.last_modified().and_then(system_time),
        })
    })
}

/// Detects a listing that does not end, and objects that do not belong to it: the tokens and names seen so far.
#[derive(Debug, Default)]
struct ListingGuard {
    token: Option<String>,
    tokens: BTreeSet<String>,
    names: BTreeSet<String>,
    is_over: bool,
}

impl ListingGuard {
    /// Moves to the next page, or ends the listing: a truncated page without a token, or with a token seen before,
    /// leads nowhere.
    fn follow(&mut self, truncated: bool, token: Option<&str>) {
        self.token = token.filter(|token| truncated && !token.is_empty()).map(str::to_owned);
        self.is_over = match &self.token {
            None => true,
            Some(token) => !self.tokens.insert(token.clone()) || self.tokens.len() > MAX_PAGES,
        };
    }

    /// Returns the objects of the page that are below the prefix and were not listed before.
    fn new_objects(&mut self, prefix: &str, page: impl Iterator<Item = ListedObject>) -> Vec<ListedObject> {
        page.filter(|object| object.name.starts_with(prefix) && self.names.insert(object.name.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str) -> ListedObject {
        ListedObject { name: name.to_owned(), size: 1, modified: None }
    }

    #[test]
    fn r05_a_listing_ends_when_it_leads_nowhere() {
        let ends = |pages: &[(bool, Option<&str>)]| {
            let mut guard = ListingGuard::default();
            pages.iter().position(|(truncated, token)| {
                guard.follow(*truncated, *token);
                guard.is_over
            })
        };
        assert_eq!(ends(&[(true, Some("a")), (true, Some("b")), (false, None)]), Some(2), "an honest one");
        assert_eq!(ends(&[(true, None)]), Some(0), "truncated without a token");
        assert_eq!(ends(&[(true, Some(""))]), Some(0));
        assert_eq!(ends(&[(true, Some("a")), (true, Some("a"))]), Some(1), "the same token");
        assert_eq!(ends(&[(true, Some("a")), (true, Some("b")), (true, Some("a"))]), Some(2), "a circle");
        assert_eq!(ends(&[(false, Some("a"))]), Some(0), "not truncated");
        let endless: Vec<_> = (0..MAX_PAGES + 2).map(|page| page.to_string()).collect();
        let endless: Vec<_> = endless.iter().map(|token| (true, Some(token.as_str()))).collect();
        assert_eq!(ends(&endless), Some(MAX_PAGES));
    }

    #[test]
    fn r05_other_and_repeated_objects_are_dropped() {
        let mut guard = ListingGuard::default();
        let page =
            guard.new_objects("v1/", [object("v1/a"), object("v2/a"), object("v1/a"), object("../x")].into_iter());
        assert_eq!(page, [object("v1/a")]);
        let page = guard.new_objects("v1/", [object("v1/b"), object("v1/a")].into_iter());
        assert_eq!(page, [object("v1/b")]);
    }
}
