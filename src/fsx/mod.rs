//! The only access to the file system. The error of every call names its path.
//!
//! Owns atomic publishing, locks, the clone ladder, stamps and clocks. The `sys_*` modules hold all `unsafe` code of
//! the program. This module must not know caches, keys or rustc.
#![expect(clippy::disallowed_methods, reason = "the door itself")]

mod async_writer;
mod blocking;
pub mod clock;
pub mod compare;
pub mod dir;
mod file_digest;
pub mod ladder;
pub mod lock;
mod memory;
pub mod offset;
pub mod publish;
mod publish_async;
mod reflink;
pub mod socket;
mod spread;
pub mod stamp;
pub mod sweep;
pub mod sys_libc;
pub mod sys_process;
pub mod temp;
pub mod terminal;
pub mod tree;

use std::ffi::OsString;
pub use std::fs::Metadata;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::stat::{FileStat, Mode, SFlag, fstat, stat, umask};

pub use async_writer::AsyncWriter;
pub use blocking::run_blocking;
pub use dir::Dir;
pub use file_digest::{digest, digest_on_two_threads};
pub use ladder::{Ladder, LinkMode};
pub use memory::{is_noexec, memory_file, path_of_descriptor, unnamed_file};
pub use publish::{FinishedFile, Mtime, Publish, PublishedFile, StagedFile};
pub use publish_async::{AsyncStagedFile, StagedParts};
pub use stamp::Stamp;
pub use temp::Temp;

/// A failed file-system call: the operation, its path, and the error of the operating system.
///
/// Clones share the error of the operating system, for work that several tasks wait for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{op} {}: {cause}", path.display())]
pub struct Error {
    op: &'static str,
    path: PathBuf,
    /// Not called `source`: it is part of the text, and would be printed twice.
    cause: Arc<io::Error>,
}

impl Error {
    /// Creates the error of `op` at `path`.
    pub fn new(op: &'static str, path: &Path, cause: io::Error) -> Self {
        Self { op, path: path.to_owned(), cause: Arc::new(cause) }
    }

    /// Returns the kind of the operating system's error.
    pub fn kind(&self) -> io::ErrorKind {
        self.cause.kind()
    }

    /// Returns whether the path, or a directory above it, does not exist.
    pub fn is_absent(&self) -> bool {
        matches!(self.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
    }

    /// Returns whether bytes were refused because they do not have the digest that [`Publish::expect`] names.
    pub fn is_unexpected_content(&self) -> bool {
        self.kind() == io::ErrorKind::InvalidData
    }
}

/// The result of a file-system call.
pub type Result<T> = std::result::Result<T, Error>;

pub(crate) trait At<T> {
    fn at(self, op: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, op: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::new(op, path, source))
    }
}

impl<T> At<T> for nix::Result<T> {
    fn at(self, op: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::new(op, path, source.into()))
    }
}

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<File> {
    File::open(path).at("open", path)
}

/// Opens a file for reading and writing. Creates the file (not its parents) if it is absent.
pub fn open_rw(path: &Path) -> Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path).at("open", path)
}

/// Opens a file for appending. Creates the file if it is absent.
pub fn open_append(path: &Path) -> Result<File> {
    File::options().append(true).create(true).open(path).at("open", path)
}

/// Writes and syncs a new file that only its owner may read, from its first byte on. Fails if the file exists.
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).at("create", path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).at("write", path).inspect_err(|_| drop(fs::remove_file(path)))
}

/// Creates an empty file and its directory. `false`: the file exists.
pub fn create_marker(path: &Path) -> Result<bool> {
    let create = || File::options().write(true).create_new(true).open(path).at("create", path);
    let created = match create() {
        Err(error) if error.is_absent() => {
            create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            create()
        }
        created => created,
    };
    match created {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        created => created.map(|_| true),
    }
}

/// Sets the permission bits of a file.
pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).at("set the mode of", path)
}

/// Creates a symbolic link to `target` at `path`.
pub fn symlink(target: &Path, path: &Path) -> Result<()> {
    std::os::unix::fs::symlink(target, path).at("link", path)
}

/// Makes `target` another name of the file `source`. An existing `target` is replaced.
pub fn hard_link(source: &Path, target: &Path) -> Result<()> {
    remove_file(target)?;
    fs::hard_link(source, target).at("link", target)
}

/// Reads the whole file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).at("read", path)
}

/// Reads the whole file as UTF-8 text.
pub fn read_to_string(path: &Path) -> Result<String> {
    fs::read_to_string(path).at("read", path)
}

/// Reads the whole file, or returns `None` if it does not exist.
pub fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>> {
    optional(read(path))
}

/// Turns the error that a path does not exist into `None`.
pub fn optional<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the metadata of the file at `path`, following links.
pub fn metadata(path: &Path) -> Result<Metadata> {
    fs::metadata(path).at("stat", path)
}

/// Returns the metadata of `path` itself, without following a link.
pub fn symlink_metadata(path: &Path) -> Result<Metadata> {
    fs::symlink_metadata(path).at("stat", path)
}

/// Returns whether `path` exists (a dangling link counts).
pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Returns the absolute path without links, `.` and `..`.
pub fn canonicalize(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).at("resolve", path)
}

/// Returns the target of the link at `path`, or `None` if `path` is not a link or the target is not UTF-8.
pub fn read_link_text(path: &Path) -> Option<String> {
    fs::read_link(path).ok()?.into_os_string().into_string().ok()
}

/// The size and the free space of a file system, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// Size of the file system.
    pub total: u64,
    /// Bytes that this user may still write.
    pub available: u64,
}

/// Returns the space of the file system of `path`, or of the nearest directory above it that exists.
pub fn space(path: &Path) -> Result<Space> {
    let place = path.ancestors().find(|dir| dir.exists()).unwrap_or(path);
    let stat = nix::sys::statvfs::statvfs(place).at("ask for the space of", place)?;
    #[allow(clippy::useless_conversion, reason = "these numbers are 32 bits wide on macOS")]
    let bytes = |blocks| u64::from(blocks) * stat.fragment_size();
    Ok(Space { total: bytes(stat.blocks()), available: bytes(stat.blocks_available()) })
}

/// Returns the ID of the user on whose behalf this process accesses files.
pub fn user_id() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Creates a directory and its parents.
pub fn create_dir_all(path: &Path) -> Result<()> {
    fs::create_dir_all(path).at("create directory", path)
}

/// Removes a file. Succeeds if it is absent.
pub fn remove_file(path: &Path) -> Result<()> {
    optional(fs::remove_file(path).at("remove", path)).map(|_| ())
}

/// Removes a directory and everything below it, including directories without write permission. Succeeds if it is
/// absent.
pub fn remove_dir_all(path: &Path) -> Result<()> {
    let remove = || optional(fs::remove_dir_all(path).at("remove directory", path)).map(|_| ());
    match remove() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_removable(path);
            remove()
        }
        removed => removed,
    }
}

/// Gives the owner of a tree all permissions on its directories, as far as possible.
fn make_removable(dir: &Path) {
    if !fs::symlink_metadata(dir).is_ok_and(|metadata| metadata.is_dir()) {
        return;
    }
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.for_each(|entry| make_removable(&entry.path()));
}

/// Removes a directory if it is empty. Succeeds if it is absent.
pub fn remove_if_empty(path: &Path) -> Result<()> {
    match optional(fs::remove_dir(path).at("remove directory", path)) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        removed => removed.map(|_| ()),
    }
}

/// Renames a file or directory, replacing `to` if it exists.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).at("rename", from)
}

/// Returns the names in a directory, in no particular order. An absent directory is empty.
pub fn list(path: &Path) -> Result<Vec<OsString>> {
    let Some(entries) = optional(fs::read_dir(path).at("list", path))? else {
        return Ok(Vec::new());
    };
    entries.map(|entry| entry.map(|entry| entry.file_name()).at("list", path)).collect()
}

/// Returns the names in a directory, as the system orders them, and whether each one is a directory (not a link).
pub fn list_with_kind(path: &Path) -> Result<Vec<(OsString, bool)>> {
    let entry = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.at("list", path)?;
        Ok((entry.file_name(), entry.file_type().at("list", path)?.is_dir()))
    };
    fs::read_dir(path).at("list", path)?.map(entry).collect()
}

/// Returns the names in a directory and the kind of each (not following links), sorted, as bytes to digest.
pub fn listing(path: &Path) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(path).at("list", path)? {
        let entry = entry.at("list", path)?;
        let kind = entry.file_type().at("list", path)?;
        let letter = if kind.is_dir() {
            b'd'
        } else if kind.is_file() {
            b'f'
        } else if kind.is_symlink() {
            b'l'
        } else {
            b's'
        };
        let mut line = entry.file_name().into_encoded_bytes();
        // Temp files and markers of kache come and go.
        if line.starts_with(b".kache-") {
            continue;
        }
        line.extend([0, letter, 0]);
        lines.push(line);
    }
    lines.sort();
    Ok(lines.concat())
}

/// Returns the working directory of this process.
pub fn current_dir() -> Result<PathBuf> {
    std::env::current_dir().at("find the current directory", Path::new("."))
}

/// Returns whether standard input is the null device, so that reading it yields nothing.
pub fn stdin_is_null() -> bool {
    let is_device = |stat: &FileStat| SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFCHR;
    match (fstat(io::stdin()), stat("/dev/null")) {
        (Ok(stdin), Ok(null)) => is_device(&stdin) && is_device(&null) && stdin.st_rdev == null.st_rdev,
        _ => false,
    }
}

/// Returns the path of this program's file.
pub fn current_exe() -> Result<PathBuf> {
    std::env::current_exe().at("find this program", Path::new("/proc/self/exe"))
}

/// Returns the permission bits that the umask of this process leaves to a new file.
#[allow(clippy::useless_conversion, reason = "permission bits are 16 wide on macOS")]
pub fn new_file_mode(executable: bool) -> u32 {
    // The mask can only be read by setting it.
    let mask = umask(Mode::empty());
    umask(mask);
    (if executable { 0o777 } else { 0o666 }) & !u32::from(mask.bits())
}

/// Returns a name for the time since the machine was booted: bytes written in another boot may not have reached the
/// disk. Empty if the system does not provide one.
pub fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim_end().to_owned()
}
