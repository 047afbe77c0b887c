//! Finds the entries that the remote lacks, with as few requests as can be planned in advance.
//!
//! Few entries are checked one by one (`HEAD`), many by a listing; a listing that takes more pages than single requests
//! would take is abandoned. The answer only decides what is uploaded now: if a server lists objects that it does not
//! have, kache skips an upload but never loses an entry. An entry that was refused, or whose pack was missing, counts
//! as lacking, so that the next push replaces it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::task::JoinSet;

use super::error::RemoteError;
use super::fetch::Item;
use super::hope::Hope;
use super::open::Open;
use crate::fsx::{self, Publish};
use crate::model::EntryKey;
use crate::store::Layout;

/// Up to this many entries are checked one by one: that takes one or two round trips, however full the bucket is.
const FEW: usize = 16;
/// `HEAD` requests in flight at once.
const AT_ONCE: usize = 64;

/// The next step to settle the entries that are still open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    /// Stop: all entries are settled.
    Done,
    /// Read one more page of the listing.
    Page,
    /// Send a `HEAD` request for each open entry.
    Heads,
}

/// Chooses between one more page and a `HEAD` request for each of the `open` entries. Pure.
///
/// The number of pages is not known in advance, so a listing may cost as much as the `HEAD` requests would, and no
/// more.
fn next(open: usize, pages: usize, is_listed: bool) -> Next {
    match () {
        () if open == 0 || is_listed => Next::Done,
        () if pages == 0 && open <= FEW || pages >= open => Next::Heads,
        () => Next::Page,
    }
}

/// Returns the items that the remote lacks, in their order.
pub async fn lacking(remote: &Arc<Open>, layout: &Layout, items: Vec<Item>) -> Result<Vec<Item>, RemoteError> {
    let mut open: HashMap<EntryKey, Item> =
        items.iter().filter(|item| !is_doubted(layout, item.key)).map(|item| (item.key, item.clone())).collect();
    let mut present = HashSet::new();
    let mut listing = remote.bucket.list(&scope(remote, &items));
    let (mut pages, mut is_listed) = (0, false);
    loop {
        match next(open.len(), pages, is_listed) {
            Next::Done => break,
            Next::Heads => {
                present.extend(heads(remote, open.into_values().collect()).await?);
                break;
            }
            Next::Page => {
                let page = listing.next_page().await?;
                is_listed = page.is_none();
                pages += 1;
                for listed in page.unwrap_or_default() {
                    let Some(located) = remote.names.parse_manifest(&listed.name) else { continue };
                    // The same key under another lookup key or crate is another object.
                    if open.get(&located.key).is_some_and(|item| name(remote, item) == listed.name) {
                        open.remove(&located.key);
                        present.insert(located.key);
                    }
                }
            }
        }
    }
    Ok(items.into_iter().filter(|item| !present.contains(&item.key)).collect())
}

/// Whether the remote has the item, by one `HEAD` request.
pub async fn has(remote: &Open, layout: &Layout, item: &Item) -> Result<bool, RemoteError> {
    Ok(!is_doubted(layout, item.key) && remote.bucket.head(&name(remote, item)).await?.is_some())
}

fn name(remote: &Open, item: &Item) -> String {
    remote.names.manifest(&item.crate_name, item.lookup, item.key)
}

/// The prefix to list: the manifests of one crate if all items are of that crate, else all manifests.
fn scope(remote: &Open, items: &[Item]) -> String {
    match items {
        [first, rest @ ..] if rest.iter().all(|item| item.crate_name == first.crate_name) => {
            remote.names.manifests_of(&first.crate_name)
        }
        _ => remote.names.all_manifests(),
    }
}

/// Returns the keys of the `items` that exist. An item counts as lacking if the server answers with an error: its
/// upload will show the cause.
async fn heads(remote: &Arc<Open>, items: Vec<Item>) -> Result<Vec<EntryKey>, RemoteError> {
    let mut tasks: JoinSet<Result<Option<EntryKey>, RemoteError>> = JoinSet::new();
    let (mut present, hope) = (Vec::new(), Hope::default());
    let mut items = items.into_iter();
    loop {
        while tasks.len() < AT_ONCE
            && let Some(item) = items.next()
        {
            let remote = Arc::clone(remote);
            tasks.spawn(
                async move { Ok(remote.bucket.head(&name(&remote, &item)).await?.is_some().then_some(item.key)) },
            );
        }
        let Some(answer) = tasks.join_next().await else { return Ok(present) };
        // Only dropping the set aborts its tasks, so this one has panicked.
        match answer.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())) {
            Ok(found) => {
                hope.succeeded();
                present.extend(found);
            }
            Err(error) => {
                hope.failed(&error);
                if hope.is_lost() || error.status().is_none() {
                    return Err(error);
                }
            }
        }
    }
}

/// Records a doubt about this entry: the remote's copy was refused, or its pack is missing. Best effort.
pub fn doubt(layout: &Layout, key: EntryKey) {
    let _ = Publish::default().bytes(&doubts(layout, key), b"");
}

/// Withdraws the doubt, once the entry has been uploaded again.
pub fn trust_again(layout: &Layout, key: EntryKey) {
    let _ = fsx::remove_file(&doubts(layout, key));
}

fn is_doubted(layout: &Layout, key: EntryKey) -> bool {
    fsx::exists(&doubts(layout, key))
}

fn doubts(layout: &Layout, key: EntryKey) -> std::path::PathBuf {
    layout.remote().join("doubts").join(key.0.hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    /// The requests that it takes to settle `open` entries if none of them is listed before the last of `pages`.
    fn requests(open: usize, pages: usize) -> usize {
        let mut read = 0;
        loop {
            match next(open, read, read >= pages) {
                Next::Done => return read,
                Next::Heads => return read + open,
                Next::Page => read += 1,
            }
        }
    }

    #[test]
    fn r05_a_listing_costs_no_more_than_the_questions_would() {
        assert_eq!(requests(0, 1000), 0);
        assert_eq!(requests(3, 1), 3, "few: no listing");
        assert_eq!(requests(500, 1), 1);
        assert_eq!(requests(500, 20), 20);
        for (open, pages) in [(17, 1), (17, 17), (17, 1000), (500, 499), (500, 501), (500, 100_000)] {
            assert!(requests(open, pages) <= 2 * open.min(pages), "{open} {pages}");
        }
    }

    #[test]
    fn what_is_found_leaves_fewer_to_ask_for() {
        assert_eq!(next(100, 40, false), Next::Page);
        assert_eq!(next(40, 40, false), Next::Heads);
        assert_eq!(next(0, 1, false), Next::Done);
        assert_eq!(next(40, 40, true), Next::Done, "what no page names is lacking");
    }

    #[test]
    fn r06_a_doubt_is_kept_until_the_entry_was_sent() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let key = EntryKey(Digest::of(b"k"));
        trust_again(&layout, key);
        assert!(!is_doubted(&layout, key));
        doubt(&layout, key);
        assert!(is_doubted(&layout, key));
        trust_again(&layout, key);
        assert!(!is_doubted(&layout, key));
    }
}
