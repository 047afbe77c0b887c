//! Offers: results of compiles that continued an incremental session or used a private result. Until a build asks for
//! an offer, kache does not copy it, and hashes only programs.
//!
//! An offer holds hard links to the outputs, so that it outlasts a restore that replaces them. A compile that is about
//! to replace them withdraws it, so a series of edits leaves one offer.
//!
//! Version 1: `offers/ab/<lookup key>/<name>/`, with the outputs under their names and the sealed record in
//! `offer.json`, without which an offer is incomplete.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::evictable::Evictable;
use super::{Entry, Output, Store, sealed};
use crate::fsx::clock::Time;
use crate::fsx::tree::{Mode, NewTree};
use crate::fsx::{self, Ladder, Stamp, sweep};
use crate::model::digest::NotADigest;
use crate::model::{ArtifactKind, Digest, Input, InputSet, LookupKey, RootKind};

const RECORD: &str = "offer.json";

/// The largest program that is offered however short its compile was.
const SMALL_PROGRAM_BYTES: u64 = 96 << 20;

/// Bytes of a larger program for each millisecond of its compile. On one thread, reading and hashing takes 0.4 ms per
/// MiB, so that an edit of a large program becomes at most about 5 % longer.
const BYTES_PER_COMPILE_MS: f64 = 128.0 * 1024.0;

/// At most this many offers of one lookup key are considered.
const MAX_OFFERS: usize = 8;

/// A recorded result that waits until a build asks for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// The inputs of the compile.
    pub inputs: Vec<Input>,
    /// File times that a plugin could see, in seconds since 1970. Each is an input if the outputs contain it.
    pub times: Vec<(Input, i64)>,
    /// The roots of the checkout in which it was compiled.
    pub roots: Vec<(RootKind, String)>,
    /// The roots that are pinned regardless of the contents of the outputs.
    pub pinned: Vec<RootKind>,
    /// Whether rustc called its working directory by the alias. The outputs must then not contain the alias.
    pub alias: bool,
    /// The output files, which are also linked into the offer.
    pub outputs: Vec<OfferedFile>,
    /// The entry, without its outputs.
    pub entry: Entry,
}

/// The name of an offer, unique in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OfferName {
    /// The lookup key of the compile.
    pub lookup: LookupKey,
    /// Distinguishes the offer from others of the lookup key.
    pub own: Digest,
}

impl std::fmt::Display for OfferName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.lookup.0.hex(), self.own.hex())
    }
}

impl std::str::FromStr for OfferName {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let (lookup, own) = text.split_once(' ').ok_or(NotADigest)?;
        Ok(Self { lookup: LookupKey(lookup.parse()?), own: own.parse()? })
    }
}

/// An output as the compile left it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OfferedFile {
    /// File name in the output directory.
    pub name: String,
    /// The kind of output.
    pub kind: ArtifactKind,
    /// Size in bytes after the compile. A file with another size has changed.
    pub size: u64,
    /// When the file was written: seconds since 1970, and nanoseconds.
    pub written: (i64, u32),
    /// The permission bits after the compile.
    pub mode: u32,
    /// Digest of the content, for linked outputs only: people may write into a program and set its time back.
    #[serde(default)]
    pub digest: Option<Digest>,
}

impl OfferedFile {
    /// Describes the file at `path`, which a compile of `cost_ms` milliseconds has just written. `None` if it is gone,
    /// or if it is a program that would take long to hash beside that.
    pub fn of(path: &Path, kind: ArtifactKind, cost_ms: f64) -> Option<Self> {
        let stamp = Stamp::of(path).ok()?;
        let name = path.file_name()?.to_str()?.to_owned();
        let digest = match kind {
            ArtifactKind::Linked if !is_quick_to_hash(stamp.size, cost_ms) => return None,
            // Through a buffer: memory for the whole program would cost twice as much as the hash.
            ArtifactKind::Linked => Some(fsx::digest_on_two_threads(path).ok()?.0),
            _ => None,
        };
        let written = (stamp.mtime.secs, stamp.mtime.nanos);
        Some(Self { name, kind, size: stamp.size, written, mode: stamp.mode & 0o7777, digest })
    }

    /// Returns whether the file is unchanged since the compile wrote it. `digest` is that of its present content. Cargo
    /// sets the time of metadata back to the start of the compiler (`cargo/src/cargo/core/compiler/mod.rs`, for
    /// `check`), whereas a write would have moved it forward.
    pub fn is_unchanged(&self, stamp: &Stamp, digest: Digest) -> bool {
        let time = (stamp.mtime.secs, stamp.mtime.nanos);
        let same_time = time == self.written || (self.kind == ArtifactKind::Rmeta && time < self.written);
        let same_state = stamp.size == self.size && stamp.mode & 0o7777 == self.mode;
        same_time && same_state && self.digest.is_none_or(|own| own == digest)
    }
}

/// Whether hashing `bytes` does not noticeably delay an edit whose compile took `cost_ms` milliseconds.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn is_quick_to_hash(bytes: u64, cost_ms: f64) -> bool {
    bytes <= SMALL_PROGRAM_BYTES || bytes as f64 <= cost_ms * BYTES_PER_COMPILE_MS
}

/// An offer, and the directory with its outputs.
#[derive(Debug)]
pub struct StoredOffer {
    dir: PathBuf,
    /// The record of the offer.
    pub offer: Offer,
}

impl StoredOffer {
    /// Returns the path of an output in the offer.
    pub fn path(&self, file: &OfferedFile) -> PathBuf {
        self.dir.join(&file.name)
    }
}

/// An offer in the form in which it can be stored as an entry.
#[derive(Debug)]
pub struct CompleteOffer {
    /// The entry to store.
    pub entry: Entry,
    /// The complete input set of the entry.
    pub set: InputSet,
    /// The outputs with their paths, and with their stamps when they were hashed.
    pub files: Vec<(Output, PathBuf, Stamp)>,
}

impl Store {
    /// Offers outputs in the directory `out_dir`. Fails if the store is on another file system.
    pub fn put_offer(&self, name: &OfferName, out_dir: &Path, offer: &Offer) -> fsx::Result<()> {
        let (dir, lookup) = (self.offer_of(name), name.lookup);
        if let Some(parent) = dir.parent() {
            fsx::create_dir_all(parent)?;
        }
        let mut tree = NewTree::beside(&dir, 0)?;
        for file in &offer.outputs {
            tree.hard_link(&file.name, &out_dir.join(&file.name))?;
        }
        let record = serde_json::to_vec(offer).unwrap_or_default();
        tree.bytes(RECORD, &sealed::seal(lookup.0, &record), Mode::Umask(0o666))?;
        tree.commit(&dir)
    }

    /// Returns the newest offers of a lookup key, newest first. Skips damaged ones.
    pub fn offers(&self, lookup: LookupKey) -> Vec<StoredOffer> {
        let place = self.layout.offers(lookup);
        let dirs = fsx::list(&place).unwrap_or_default().into_iter().map(|name| place.join(name));
        let mut offers: Vec<StoredOffer> = dirs.filter_map(|dir| read(lookup, dir)).collect();
        offers.sort_by_key(|offered| std::cmp::Reverse(offered.offer.entry.created));
        offers.truncate(MAX_OFFERS);
        offers
    }

    /// Returns all offers with their lookup keys, oldest first. Skips those that are damaged or vanish meanwhile.
    pub fn all_offers(&self) -> fsx::Result<Vec<(LookupKey, StoredOffer)>> {
        let mut offers = Vec::new();
        for kept in all(self)? {
            let lookup = kept.place.parent().and_then(Path::file_name).and_then(|name| name.to_str());
            let lookup = lookup.and_then(|name| name.parse().ok()).map(LookupKey);
            offers.extend(lookup.and_then(|lookup| Some((lookup, read(lookup, kept.place)?))));
        }
        offers.sort_by_key(|(_, offered)| offered.offer.entry.created);
        Ok(offers)
    }

    /// Turns an offer into an entry although no build asked for it. Returns `false` if a build has withdrawn or taken
    /// the offer meanwhile.
    pub fn store_offer(&self, lookup: LookupKey, offered: &StoredOffer, complete: &CompleteOffer) -> fsx::Result<bool> {
        let mut ladder = Ladder::default();
        self.mark_as_cache()?;
        for (output, path, stamp) in &complete.files {
            match self.adopt_blob(&mut ladder, path, *stamp, output.blob, false) {
                Err(_) if !fsx::exists(path) => return Ok(false),
                adopted => adopted.map(drop)?,
            }
        }
        self.put_own_entry(lookup, &complete.set, &complete.entry)?;
        // Another process may have removed it.
        let _ = self.remove_offer(offered);
        Ok(true)
    }

    /// Withdraws an offer that no build asked for, before other outputs replace those of the compile.
    pub fn withdraw_offer(&self, name: &OfferName) -> fsx::Result<()> {
        fsx::remove_dir_all(&self.offer_of(name))
    }

    /// Removes an offer that has become an entry.
    pub fn remove_offer(&self, offered: &StoredOffer) -> fsx::Result<()> {
        fsx::remove_dir_all(&offered.dir)
    }

    fn offer_of(&self, name: &OfferName) -> PathBuf {
        self.layout.offers(name.lookup).join(name.own.hex())
    }
}

fn read(lookup: LookupKey, dir: PathBuf) -> Option<StoredOffer> {
    let bytes = fsx::read(&dir.join(RECORD)).ok()?;
    let offer: Offer = serde_json::from_slice(sealed::open(lookup.0, &bytes)?).ok()?;
    let is_safe = |file: &OfferedFile| super::entries::is_file_name(&file.name);
    (offer.entry.has_safe_names() && offer.outputs.iter().all(is_safe)).then_some(StoredOffer { dir, offer })
}

/// Returns all offers. Skips those that vanish meanwhile.
pub fn all(store: &Store) -> fsx::Result<Vec<Evictable>> {
    let mut kept = Vec::new();
    for shard in store.layout().shards("offers") {
        for lookup in fsx::list(&shard)? {
            let place = shard.join(lookup);
            for name in fsx::list(&place).unwrap_or_default() {
                let dir = place.join(name);
                let Ok(record) = Stamp::of(&dir.join(RECORD)) else { continue };
                let files = fsx::list(&dir).unwrap_or_default();
                let sizes = files.iter().filter_map(|file| Stamp::of(&dir.join(file)).ok()).map(|stamp| stamp.size);
                kept.push(Evictable { bytes: sizes.sum(), used: record.mtime, place: dir });
            }
        }
    }
    Ok(kept)
}

/// Removes the temp files of killed processes, and the directories of lookup keys without an offer.
pub(super) fn sweep(store: &Store, now: Time) -> fsx::Result<()> {
    for shard in store.layout().shards("offers") {
        for lookup in fsx::list(&shard)? {
            sweep::sweep(&shard.join(&lookup), now)?;
            fsx::remove_if_empty(&shard.join(lookup))?;
        }
    }
    Ok(())
}

/// Removes all offers, for `kache purge`. Returns the size of their files in bytes.
pub fn remove_all(store: &Store) -> fsx::Result<u64> {
    let kept = all(store)?;
    kept.iter().try_for_each(|kept| fsx::remove_dir_all(&kept.place))?;
    Ok(kept.iter().map(|kept| kept.bytes).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_programs_are_offered_if_their_compile_took_long() {
        assert!(is_quick_to_hash(SMALL_PROGRAM_BYTES, 0.0));
        assert!(!is_quick_to_hash(200 << 20, 1000.0));
        assert!(is_quick_to_hash(200 << 20, 2000.0), "as a linked rust-analyzer");
        assert!(!is_quick_to_hash(200 << 20, f64::NAN));
    }
}
