//! Compares files byte for byte.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::{At, Result};

const CHUNK_BYTES: usize = 64 * 1024;

/// Returns the offset of the first difference between two files, or `None` if they are the same. If one file continues
/// where the other ends, that is the difference.
pub fn first_difference(one: &Path, other: &Path) -> Result<Option<u64>> {
    let (first, second) = (super::open(one)?, super::open(other)?);
    let (mut here, mut there) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let mut offset = 0;
    loop {
        let n = fill(&first, &mut here).at("read", one)?;
        let m = fill(&second, &mut there).at("read", other)?;
        if let Some(at) = first_difference_of(&here[..n], &there[..m]) {
            return Ok(Some(offset + at));
        }
        if n < CHUNK_BYTES {
            return Ok(None);
        }
        offset += n as u64;
    }
}

/// Like [`first_difference`], for bytes in memory.
pub fn first_difference_of(one: &[u8], other: &[u8]) -> Option<u64> {
    let shorter = one.len().min(other.len());
    let differs = one.iter().zip(other).position(|(here, there)| here != there);
    differs.or_else(|| (one.len() != other.len()).then_some(shorter)).map(|at| at as u64)
}

/// Reads until the buffer is full or the file ends.
fn fill(mut file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::Publish;

    #[test]
    fn the_first_difference_is_found_in_any_chunk() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        let write = |path: &Path, bytes: &[u8]| {
            Publish::default().bytes(path, bytes).unwrap();
        };
        for size in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let mut bytes = vec![7; size];
            write(&one, &bytes);
            write(&other, &bytes);
            assert_eq!(first_difference(&one, &other).unwrap(), None, "{size}");
            bytes.push(7);
            write(&other, &bytes);
            assert_eq!(first_difference(&one, &other).unwrap(), Some(size as u64), "one is longer");
            for at in [0, size / 2, size.saturating_sub(1)].into_iter().filter(|at| *at < size) {
                let mut changed = vec![7; size];
                changed[at] = 8;
                write(&other, &changed);
                assert_eq!(first_difference(&one, &other).unwrap(), Some(at as u64), "{size}");
            }
        }
        assert!(first_difference(&one, &dir.path().join("none")).is_err());
    }
}
