//! Reads what the output of a linker needs of the machine that loads it.
//!
//! Only for 64-bit little-endian ELF. Any other file counts as one that needs nothing. Reads a few kilobytes of the
//! file, through the headers that the dynamic linker reads, so that it finds what that linker finds.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::fsx::{self, sys_libc};
use crate::model::GlibcVersion;

const FILE_HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const DYNAMIC_BYTES: usize = 16;
const VERSION_BYTES: usize = 16;
/// Types of segments: `PT_LOAD` and `PT_DYNAMIC`.
const LOADED: u32 = 1;
const DYNAMIC: u32 = 2;
/// Tags of the dynamic segment: `DT_STRTAB`, `DT_VERNEED` and `DT_VERNEEDNUM`.
const NAMES: u64 = 5;
const NEEDED: u64 = 0x6fff_fffe;
const NEEDED_COUNT: u64 = 0x6fff_ffff;
/// The flag of a version that the dynamic linker does not insist on (`VER_FLG_WEAK`).
const WEAK: u16 = 2;
/// Limits for damaged files. Real files have a few of each.
const MAX_SEGMENTS: usize = 1024;
const MAX_DYNAMIC_BYTES: u64 = 64 << 10;
const MAX_VERSIONS: usize = 4096;
const MAX_NAME_BYTES: usize = 128;

/// Returns the newest version of glibc that a program or shared library needs. `None` if it needs none (a static
/// program, another C library, no ELF file), or if that cannot be read.
pub fn needed_glibc(path: &Path) -> Option<GlibcVersion> {
    Linked::open(path)?.needed_glibc()
}

/// Like [`needed_glibc`], as an entry records it. `None` also if this machine has an older glibc than the file needs:
/// the linker then used libraries of another system on purpose, and who loads the file does not load it with the glibc
/// of kache. A record would keep this machine from using its own result.
pub fn glibc_requirement(path: &Path) -> Option<GlibcVersion> {
    needed_glibc(path).filter(|needed| sys_libc::glibc_version() >= Some(*needed))
}

/// A linked file.
struct Linked {
    file: File,
    /// The loaded segments: address, offset in the file and size.
    loaded: Vec<(u64, u64, u64)>,
    /// The offset and size of the dynamic segment.
    dynamic: (u64, u64),
}

impl Linked {
    fn open(path: &Path) -> Option<Self> {
        let file = fsx::open(path).ok()?;
        let header = read::<FILE_HEADER_BYTES>(&file, 0)?;
        // Class 2: 64 bits; data 1: little-endian.
        if &header[..6] != b"\x7fELF\x02\x01" || usize::from(half(&header, 54)?) != PROGRAM_HEADER_BYTES {
            return None;
        }
        let (segments, count) = (number(&header, 32)?, usize::from(half(&header, 56)?));
        let (mut loaded, mut dynamic) = (Vec::new(), None);
        for at in 0..count.min(MAX_SEGMENTS) {
            let segment =
                read::<PROGRAM_HEADER_BYTES>(&file, segments.checked_add((at * PROGRAM_HEADER_BYTES) as u64)?)?;
            let (offset, address, size) = (number(&segment, 8)?, number(&segment, 16)?, number(&segment, 32)?);
            match word(&segment, 0)? {
                LOADED => loaded.push((address, offset, size)),
                DYNAMIC => dynamic = Some((offset, size)),
                _ => {}
            }
        }
        Some(Self { file, loaded, dynamic: dynamic? })
    }

    fn needed_glibc(&self) -> Option<GlibcVersion> {
        let names = self.offset_of(self.value_of(NAMES)?)?;
        let mut at = self.offset_of(self.value_of(NEEDED)?)?;
        let mut left = MAX_VERSIONS;
        let mut newest = None;
        for _ in 0..self.value_of(NEEDED_COUNT)? {
            let library = read::<VERSION_BYTES>(&self.file, at)?;
            let mut version_at = at.checked_add(word(&library, 8)?.into())?;
            for _ in 0..half(&library, 2)? {
                left = left.checked_sub(1)?;
                let version = read::<VERSION_BYTES>(&self.file, version_at)?;
                if half(&version, 4)? & WEAK == 0 {
                    newest = newest.max(self.glibc_at(names.checked_add(word(&version, 8)?.into())?));
                }
                version_at = version_at.checked_add(word(&version, 12)?.into())?;
            }
            at = at.checked_add(word(&library, 12)?.into())?;
        }
        newest
    }

    /// The value of a tag of the dynamic segment.
    fn value_of(&self, tag: u64) -> Option<u64> {
        let (start, size) = self.dynamic;
        let mut offsets = (0..size.min(MAX_DYNAMIC_BYTES)).step_by(DYNAMIC_BYTES);
        offsets.find_map(|offset| {
            let entry = read::<DYNAMIC_BYTES>(&self.file, start.checked_add(offset)?)?;
            (number(&entry, 0)? == tag).then(|| number(&entry, 8))?
        })
    }

    /// Where the file holds what is loaded at an address.
    fn offset_of(&self, address: u64) -> Option<u64> {
        let inside = |(start, _, size): &&(u64, u64, u64)| address.checked_sub(*start).is_some_and(|at| at < *size);
        let (start, offset, _) = self.loaded.iter().find(inside)?;
        offset.checked_add(address - start)
    }

    /// The version that the name at this offset tells.
    fn glibc_at(&self, offset: u64) -> Option<GlibcVersion> {
        let mut name = [0; MAX_NAME_BYTES];
        let length = self.file.read_at(&mut name, offset).ok()?;
        let name = name[..length].split(|byte| *byte == 0).next()?;
        GlibcVersion::of_symbol(std::str::from_utf8(name).ok()?)
    }
}

fn read<const BYTES: usize>(file: &File, at: u64) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
