//! Files that several tasks read and write at offsets: a download in parts, an upload in parts.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{At, Result};

/// Opens a file for reading and writing, and empties it. Creates the file and its parents if they are absent.
pub fn create_empty(path: &Path) -> Result<File> {
    super::create_dir_all(super::temp::parent_of(path))?;
    File::options().read(true).write(true).create(true).truncate(true).open(path).at("create", path)
}

/// Writes all of `bytes` at `offset`. `path` names the file in the error.
pub fn write_at(file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<()> {
    file.write_all_at(bytes, offset).at("write", path)
}

/// Reads exactly `len` bytes at `offset`. Fails if the file ends before.
pub fn read_at(file: &File, path: &Path, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset).at("read", path)?;
    Ok(bytes)
}

/// Truncates the file to `len` bytes.
pub fn set_len(file: &File, path: &Path, len: u64) -> Result<()> {
    file.set_len(len).at("cut", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_to_and_come_from_their_offsets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/file");
        let file = create_empty(&path).unwrap();
        write_at(&file, &path, 4, b"later").unwrap();
        write_at(&file, &path, 0, b"then").unwrap();
        assert_eq!(crate::fsx::read(&path).unwrap(), b"thenlater");
        assert_eq!(read_at(&file, &path, 2, 4).unwrap(), b"enla");
        assert!(read_at(&file, &path, 8, 2).is_err(), "beyond the end");
        set_len(&file, &path, 3).unwrap();
        assert_eq!(crate::fsx::read(&path).unwrap(), b"the");
        create_empty(&path).unwrap();
        assert_eq!(crate::fsx::read(&path).unwrap(), b"");
    }
}
