//! What a push or a pull leaves undone: a dry run writes nothing, one denied object stops no other, and what a pull has brought
//! is not brought again.

use crate::remote_push_pull::{Bed, SMALL, says};
use crate::support::{entries, snapshot};

#[test]
fn a_dry_pull_writes_nothing_into_the_cache_directory() {
    let (bed, _) = Bed::pushed(6, SMALL);
    bed.server.write(&bed.server.objects_with("v1/manifests/c5/")[0], b"{}");
    let tree = || snapshot(&bed.two.cache_dir());
    // Before there is a cache directory, and beside entries that are here or damaged.
    bed.two.kache(&["pull", "--all", "--dry-run"]).must_succeed();
    assert!(!bed.two.cache_dir().exists());
    entries::fill(&bed.two.cache_dir(), 3, SMALL);
    let damaged = bed.two.blobs().remove(0);
    std::fs::write(&damaged, vec![0; std::fs::read(&damaged).expect("a blob").len()]).expect("damage it");
    let before = tree();
    let run = bed.two.kache(&["pull", "--all", "--dry-run"]).must_succeed();
    says(&run, "would pull 2 entries");
    says(&run, "1 refused");
    assert_eq!(tree(), before);
    // Control: a real one writes the journal, the doubt, and what came.
    says(&bed.two.kache(&["pull", "--all"]).must_succeed(), "1 refused");
    let after = tree();
    assert_ne!(after, before);
    for written in ["events/transfers.jsonl", "v1/remote/doubts", "v1/quarantine"] {
        assert!(after.keys().any(|path| path.starts_with(written)), "{written}");
    }
}
