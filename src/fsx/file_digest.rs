//! The digest of a file, for a large one on two threads.
//!
//! A blake3 digest is the root of a binary tree over the content (section 2.1 of the BLAKE3 paper). If the content is
//! split into pieces whose size is a power of two, the hash of each piece is a node of that tree, so each piece can be
//! hashed alone.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::{At, Result};
use crate::model::Digest;

/// The size of a piece, in bytes: a power of two, as blake3 requires of a subtree.
const PIECE_BYTES: usize = 2 << 20;

/// The size in bytes from which on a second thread pays for itself. A thread takes 0.1 ms to start; hashing a MiB takes
/// 0.4 ms.
const LARGE_BYTES: u64 = 4 * PIECE_BYTES as u64;

/// Bytes that are read at once. They stay in the processor's cache.
const BUFFER_BYTES: usize = 256 << 10;

/// Returns the digest of a file's content, and its size in bytes.
pub fn digest(path: &Path) -> Result<(Digest, u64)> {
    of_open(&super::open(path)?, path)
}

/// Like [`digest`], on two threads if the file is large. Fails if a large file becomes shorter meanwhile; if it grows,
/// the digest is that of the bytes that it had at the start.
pub fn digest_on_two_threads(path: &Path) -> Result<(Digest, u64)> {
    let file = super::open(path)?;
    let size = file.metadata().at("stat", path)?.len();
    if size < LARGE_BYTES { of_open(&file, path) } else { Ok((in_pieces(&file, path, size)?, size)) }
}

/// Returns the digest of an open file from its cursor on, and the number of bytes. `path` names the file in the error.
pub(super) fn of_open(file: &File, path: &Path) -> Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).at("read", path)?;
    Ok((Digest::from_bytes(*hasher.finalize().as_bytes()), hasher.count()))
}

/// `size` must be more than that of one piece.
fn in_pieces(file: &File, path: &Path, size: u64) -> Result<Digest> {
    let starts: Vec<u64> = (0..size).step_by(PIECE_BYTES).collect();
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, ChainingValue)>> {
        let (mut hashed, mut buffer) = (Vec::new(), vec![0; BUFFER_BYTES]);
        while let at = next.fetch_add(1, Ordering::Relaxed)
            && let Some(start) = starts.get(at)
        {
            let len = (PIECE_BYTES as u64).min(size - start);
            hashed.push((at, piece(file, *start, len, &mut buffer).at("read", path)?));
        }
        Ok(hashed)
    };
    let mut pieces = std::thread::scope(|scope| {
        // One thread is enough if no other can be started.
        let other = std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let mut pieces = work()?;
        if let Some(other) = other {
            pieces.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(pieces)
    })?;
    pieces.sort_unstable();
    let pieces: Vec<ChainingValue> = pieces.into_iter().map(|(_, piece)| piece).collect();
    let (left, right) = halves(&pieces);
    Ok(Digest::from_bytes(*merge_subtrees_root(&merged(left), &merged(right), Mode::Hash).as_bytes()))
}

fn piece(file: &File, start: u64, len: u64, buffer: &mut [u8]) -> std::io::Result<ChainingValue> {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start);
    let mut done = 0;
    while done < len {
        let bytes = usize::try_from(len - done).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        file.read_exact_at(&mut buffer[..bytes], start + done)?;
        hasher.update(&buffer[..bytes]);
        done += bytes as u64;
    }
    Ok(hasher.finalize_non_root())
}

fn merged(pieces: &[ChainingValue]) -> ChainingValue {
    if let [piece] = pieces {
        return *piece;
    }
    let (left, right) = halves(pieces);
    merge_subtrees_non_root(&merged(left), &merged(right), Mode::Hash)
}

/// Splits two or more pieces as blake3 does: the left part has the largest power of two of pieces that leaves at least
/// one to the right part.
fn halves(pieces: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    pieces.split_at(pieces.len().next_power_of_two() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_any_size_has_the_digest_of_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut random = fastrand::Rng::with_seed(7);
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(11 * PIECE_BYTES + 1).collect();
        let sizes =
            (3..=11).flat_map(|pieces| [pieces * PIECE_BYTES - 1, pieces * PIECE_BYTES, pieces * PIECE_BYTES + 1]);
        for size in sizes.chain([0, 9, 4 * PIECE_BYTES + 1025]) {
            crate::fsx::Publish::default().bytes(&path, &bytes[..size]).unwrap();
            let expected = (Digest::of(&bytes[..size]), size as u64);
            assert_eq!(digest(&path).unwrap(), expected, "{size}");
            assert_eq!(digest_on_two_threads(&path).unwrap(), expected, "{size}");
        }
    }

    #[test]
    fn a_large_file_that_ends_early_has_no_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        crate::fsx::Publish::default().bytes(&path, &vec![1; 4 * PIECE_BYTES]).unwrap();
        let file = crate::fsx::open(&path).unwrap();
        assert!(in_pieces(&file, &path, LARGE_BYTES).is_ok(), "control");
        assert!(in_pieces(&file, &path, LARGE_BYTES + 1).is_err());
        assert!(digest_on_two_threads(&dir.path().join("none")).is_err());
    }
}
