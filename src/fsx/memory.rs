//! Files without a name, in memory, that other processes of this user open through `/proc`.

use std::fs::File;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use super::Result;

/// A new file in memory, closed at exec. It lives as long as somebody has it open.
#[cfg(target_os = "linux")]
pub fn memory_file(name: &str) -> Result<File> {
    use super::At;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    memfd_create(name, MFdFlags::MFD_CLOEXEC).map(File::from).at("create", Path::new(name))
}

/// Not offered here.
#[cfg(not(target_os = "linux"))]
pub fn memory_file(name: &str) -> Result<File> {
    Err(super::Error::new("create", Path::new(name), std::io::ErrorKind::Unsupported.into()))
}

/// Where other processes find what this process has open as `descriptor`.
pub fn path_of_descriptor(descriptor: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{descriptor}", std::process::id()))
}

/// Whether no program may be run, and no library be loaded, from where `dir` is.
#[cfg(target_os = "linux")]
pub fn forbids_programs(dir: &Path) -> bool {
    use nix::sys::statvfs::{FsFlags, statvfs};
    statvfs(dir).map_or(true, |stat| stat.flags().contains(FsFlags::ST_NOEXEC))
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub fn forbids_programs(_dir: &Path) -> bool {
    true
}

/// A new file without a name: in memory, or in `dir` where the system allows no such files.
pub fn unnamed_file(dir: &Path) -> Result<File> {
    memory_file("kache-trace").or_else(|_| {
        let (file, _temp) = super::temp::new_file_beside(&dir.join("trace"), false)?;
        Ok(file)
    })
}
