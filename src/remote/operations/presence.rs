//! Finds the entries that the remote lacks, with as few requests as can be planned in advance.
//!
//! Few entries are checked one by one (`HEAD`), many by a listing; a listing that takes more pages than single requests
//! would take is abandoned. The answer only decides what is uploaded now: if a server lists objects that it does not
//! have, kache skips an upload but never loses an entry. An entry that was refused, or whose pack was missing, counts
//! as lacking, so that the next push replaces it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::denials::DenialCounter;
use super::remote::Remote;
use crate::fsx::{self, Publish};
use crate::model::{EntryId, EntryKey};
use crate::remote::format::names::ManifestName;
use crate::remote::s3::error::RemoteError;
use crate::remote::tasks::concurrently;
use crate::store::Layout;

/// Up to this many entries are checked one by one: that takes one or two round trips, however full the bucket is.
const MAX_SINGLE_CHECKS: usize = 16;
/// `HEAD` requests in flight at once.
const CONCURRENT_HEADS: usize = 64;

/// The next step to find out which of the remaining entries the remote lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NextStep {
    /// Stop: all entries are settled.
    Done,
    /// Read one more page of the listing.
    Page,
    /// Send a `HEAD` request for each unsettled entry.
    Heads,
}

/// Chooses between one more page and a `HEAD` request for each of the `unsettled` entries. Pure.
///
/// The number of pages is not known in advance, so a listing may cost as much as the `HEAD` requests would, and no
/// more.
fn next_step(unsettled: usize, pages: usize, is_listed: bool) -> NextStep {
    if unsettled == 0 || is_listed {
        NextStep::Done
    } else if pages == 0 && unsettled <= MAX_SINGLE_CHECKS || pages >= unsettled {
        NextStep::Heads
    } else {
        NextStep::Page
    }
}

/// Returns the entries that the remote lacks, in their order.
pub async fn lacking(remote: &Arc<Remote>, layout: &Layout, ids: Vec<EntryId>) -> Result<Vec<EntryId>, RemoteError> {
    let mut unsettled: HashMap<EntryKey, EntryId> =
        ids.iter().filter(|id| !is_marked_unusable(layout, id.key)).map(|id| (id.key, id.clone())).collect();
    let mut present = HashSet::new();
    let mut listing = remote.objects.list(&listing_prefix(remote, &ids));
    let (mut pages, mut is_listed) = (0, false);
    loop {
        match next_step(unsettled.len(), pages, is_listed) {
            NextStep::Done => break,
            NextStep::Heads => {
                present.extend(head_each(remote, unsettled.into_values().collect()).await?);
                break;
            }
            NextStep::Page => {
                let page = listing.next_page().await?;
                is_listed = page.is_none();
                pages += 1;
                for listed in page.unwrap_or_default() {
                    let Some(ManifestName { key, .. }) = remote.names.parse_manifest(&listed.name) else { continue };
                    // The same key under another lookup key or crate is another object.
                    if unsettled.get(&key).is_some_and(|id| object_name(remote, id) == listed.name) {
                        unsettled.remove(&key);
                        present.insert(key);
                    }
                }
            }
        }
    }
    Ok(ids.into_iter().filter(|id| !present.contains(&id.key)).collect())
}

/// Whether the remote has the entry, by one `HEAD` request.
pub async fn has(remote: &Remote, layout: &Layout, id: &EntryId) -> Result<bool, RemoteError> {
    Ok(!is_marked_unusable(layout, id.key) && remote.objects.head(&object_name(remote, id)).await?.is_some())
}

/// The object name of the manifest of an entry.
fn object_name(remote: &Remote, id: &EntryId) -> String {
    remote.names.manifest(&id.crate_name, id.lookup, id.key)
}

/// The prefix to list: the manifests of one crate if all entries are of that crate, else all manifests.
fn listing_prefix(remote: &Remote, ids: &[EntryId]) -> String {
    match ids {
        [first, rest @ ..] if rest.iter().all(|id| id.crate_name == first.crate_name) => {
            remote.names.manifests_of(&first.crate_name)
        }
        _ => remote.names.all_manifests(),
    }
}

/// Returns the keys of the entries that exist. An entry counts as lacking if the server answers with an error: its
/// upload will show the cause.
async fn head_each(remote: &Arc<Remote>, ids: Vec<EntryId>) -> Result<Vec<EntryKey>, RemoteError> {
    let (mut present, denials) = (Vec::new(), DenialCounter::default());
    let head = |id: EntryId| {
        let remote = Arc::clone(remote);
        async move {
            let object = remote.objects.head(&object_name(&remote, &id)).await?;
            Ok::<_, RemoteError>(object.is_some().then_some(id.key))
        }
    };
    let mut answers = concurrently(CONCURRENT_HEADS, ids, head);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(found) => {
                denials.record_success();
                present.extend(found);
            }
            Err(error) => {
                denials.record_failure(&error);
                if denials.should_stop() || error.status().is_none() {
                    return Err(error);
                }
            }
        }
    }
    Ok(present)
}

/// Marks an entry whose copy on the remote was refused, or whose pack is missing there. Best effort.
pub fn mark_unusable(layout: &Layout, key: EntryKey) {
    let _ = Publish::default().bytes(&mark_path(layout, key), b"");
}

/// Removes the mark, once the entry has been uploaded again.
pub fn clear_mark(layout: &Layout, key: EntryKey) {
    let _ = fsx::remove_file(&mark_path(layout, key));
}

fn is_marked_unusable(layout: &Layout, key: EntryKey) -> bool {
    fsx::exists(&mark_path(layout, key))
}

fn mark_path(layout: &Layout, key: EntryKey) -> std::path::PathBuf {
    layout.remote().join("doubts").join(key.0.hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    /// The requests that it takes to settle the entries if none of them is listed before the last of `pages`.
    fn requests(unsettled: usize, pages: usize) -> usize {
        let mut read = 0;
        loop {
            match next_step(unsettled, read, read >= pages) {
                NextStep::Done => return read,
                NextStep::Heads => return read + unsettled,
                NextStep::Page => read += 1,
            }
        }
    }

    #[test]
    fn r05_a_listing_costs_no_more_than_single_requests_would() {
        assert_eq!(requests(0, 1000), 0);
        assert_eq!(requests(3, 1), 3, "few: no listing");
        assert_eq!(requests(500, 1), 1);
        assert_eq!(requests(500, 20), 20);
        for (unsettled, pages) in [(17, 1), (17, 17), (17, 1000), (500, 499), (500, 501), (500, 100_000)] {
            assert!(requests(unsettled, pages) <= 2 * unsettled.min(pages), "{unsettled} {pages}");
        }
    }

    #[test]
    fn fewer_unsettled_entries_make_single_requests_cheaper() {
        assert_eq!(next_step(100, 40, false), NextStep::Page);
        assert_eq!(next_step(40, 40, false), NextStep::Heads);
        assert_eq!(next_step(0, 1, false), NextStep::Done);
        assert_eq!(next_step(40, 40, true), NextStep::Done, "what no page names is lacking");
    }

    #[test]
    fn r06_a_mark_is_kept_until_the_entry_was_uploaded() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let key = EntryKey(Digest::of(b"k"));
        clear_mark(&layout, key);
        assert!(!is_marked_unusable(&layout, key));
        mark_unusable(&layout, key);
        assert!(is_marked_unusable(&layout, key));
        clear_mark(&layout, key);
        assert!(!is_marked_unusable(&layout, key));
    }
}
