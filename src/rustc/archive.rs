//! Reads `ar` archives: the names and sizes of the members of rlibs and static libraries.
//!
//! GNU and BSD long names are supported. A thin archive, whose members are files elsewhere, does not count as an
//! archive.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::fsx;

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER_BYTES: usize = 60;
/// The largest table of long names that is read; real tables are far smaller.
const MAX_NAME_TABLE_BYTES: u64 = 64 * 1024 * 1024;

/// One member of an archive.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Member {
    /// File name of the member.
    pub name: String,
    /// Size in bytes, without the header.
    pub size: u64,
}

/// Returns the members of the archive at `path`, without symbol tables. `None` if it is not a plain archive.
pub fn members(path: &Path) -> fsx::Result<Option<Vec<Member>>> {
    let file = fsx::open(path)?;
    let length = file.metadata().map_err(|error| fsx::Error::new("stat", path, error))?.len();
    Ok(read_members(&file, length))
}

fn read_members(file: &File, length: u64) -> Option<Vec<Member>> {
    let mut magic = [0; 8];
    file.read_exact_at(&mut magic, 0).ok()?;
    if &magic != MAGIC {
        return None;
    }
    let mut members = Vec::new();
    let mut long_names = Vec::new();
    let mut at = MAGIC.len() as u64;
    while at < length {
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, at).ok()?;
        let name = std::str::from_utf8(&header[..16]).ok()?.trim_end();
        let size: u64 = std::str::from_utf8(&header[48..58]).ok()?.trim_end().parse().ok()?;
        let data = at + HEADER_BYTES as u64;
        match name {
            "/" | "/SYM64/" | "__.SYMDEF" | "__.SYMDEF SORTED" => {}
            "//" => long_names = read_at(file, data, size)?,
            _ => members.push(member(file, name, data, size, &long_names)?),
        }
        at = data.checked_add(size)?.checked_add(size % 2)?;
    }
    members.retain(|member| !member.name.starts_with("__.SYMDEF"));
    Some(members)
}

fn member(file: &File, name: &str, data: u64, size: u64, long_names: &[u8]) -> Option<Member> {
    if let Some(length) = name.strip_prefix("#1/") {
        let length: u64 = length.parse().ok()?;
        let name = String::from_utf8(read_at(file, data, length)?).ok()?;
        return Some(Member { name: name.trim_end_matches('\0').to_owned(), size: size.checked_sub(length)? });
    }
    if let Some(offset) = name.strip_prefix('/') {
        let rest = long_names.get(offset.parse::<usize>().ok()?..)?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let name = std::str::from_utf8(&rest[..end]).ok()?.trim_end_matches('/');
        return Some(Member { name: name.to_owned(), size });
    }
    Some(Member { name: name.trim_end_matches('/').to_owned(), size })
}

fn read_at(file: &File, at: u64, size: u64) -> Option<Vec<u8>> {
    if size > MAX_NAME_TABLE_BYTES {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, size: usize) -> Vec<u8> {
        format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 644).into_bytes()
    }

    fn read(bytes: &[u8]) -> Option<Vec<Member>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.a");
        fsx::Publish::default().bytes(&path, bytes).unwrap();
        members(&path).unwrap()
    }

    #[test]
    fn gnu_names_long_and_short() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(header("/", 4));
        bytes.extend(b"symb");
        bytes.extend(header("//", 24));
        bytes.extend(b"a_very_long_member.o/\n\n\n");
        bytes.extend(header("short.o/", 3));
        bytes.extend(b"abc\n");
        bytes.extend(header("/0", 2));
        bytes.extend(b"xy");
        let member = |name: &str, size| Member { name: name.into(), size };
        assert_eq!(read(&bytes).unwrap(), [member("short.o", 3), member("a_very_long_member.o", 2)]);
    }

    #[test]
    fn u08_a_thin_or_torn_archive_is_none() {
        assert_eq!(read(b"!<thin>\n"), None);
        assert_eq!(read(b""), None);
        let mut torn = MAGIC.to_vec();
        torn.extend(header("short.o/", 300));
        assert_eq!(read(&torn).map(|members| members.len()), Some(1));
        torn.truncate(30);
        assert_eq!(read(&torn), None);
    }
}
