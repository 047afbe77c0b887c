//! Files in memory, without a name, that other processes of this user open through `/proc`.

use std::fs::File;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use super::Result;

/// Creates a file in memory, closed on exec. It exists as long as a process has it open.
#[cfg(target_os = "linux")]
pub fn memory_file(name: &str) -> Result<File> {
    use super::At;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    memfd_create(name, MFdFlags::MFD_CLOEXEC).map(File::from).at("create", Path::new(name))
}

/// Not supported on this system: always an error.
#[cfg(not(target_os = "linux"))]
pub fn memory_file(name: &str) -> Result<File> {
    Err(super::Error::new("create", Path::new(name), std::io::ErrorKind::Unsupported.into()))
}

/// Returns the path by which other processes open the file that this process has open as `descriptor`.
pub fn path_of_descriptor(descriptor: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{descriptor}", std::process::id()))
}

/// Returns whether the file system of `dir` forbids running programs and loading libraries, or cannot be queried.
#[cfg(target_os = "linux")]
pub fn is_noexec(dir: &Path) -> bool {
    use nix::sys::statvfs::{FsFlags, statvfs};
    statvfs(dir).map_or(true, |stat| stat.flags().contains(FsFlags::ST_NOEXEC))
}

/// Not known on this system: always `true`.
#[cfg(not(target_os = "linux"))]
pub fn is_noexec(_dir: &Path) -> bool {
    true
}

/// Creates a file without a name: in memory, or in `dir` if the system does not support that.
pub fn unnamed_file(dir: &Path) -> Result<File> {
    memory_file("kache-trace").or_else(|_| {
        let (file, _temp) = super::temp::new_file_beside(&dir.join("trace"), false)?;
        Ok(file)
    })
}
