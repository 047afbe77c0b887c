//! Files that several tasks read at offsets: an upload in parts.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{At, Result};

/// Reads exactly `len` bytes at `offset`. Fails if the file ends before.
pub fn read_at(file: &File, path: &Path, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset).at("read", path)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_from_their_offset() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        crate::fsx::Publish::default().bytes(&path, b"thenlater").unwrap();
        let file = crate::fsx::open(&path).unwrap();
        assert_eq!(read_at(&file, &path, 2, 4).unwrap(), b"enla");
        assert!(read_at(&file, &path, 8, 2).is_err(), "beyond the end");
    }
}
