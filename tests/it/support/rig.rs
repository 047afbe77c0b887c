//! Tools for rougher tests: separate file systems, programs that interfere, exact bytes, checks of the whole store.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::{KACHE, Project, files_under};

/// Prefix of the names of temp files.
pub(crate) const TEMP_PREFIX: &str = ".kache-tmp-";

/// A memory file system, unmounted on drop. Declare it after the project whose sandbox contains it, so that it is
/// dropped first.
pub(crate) struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts at `dir`, which is created. `None`, with a message, if mounting is not allowed.
    pub(crate) fn mount(dir: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(dir).expect("mount point");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "kache-it"]).arg(dir);
        match command.output() {
            Ok(output) if output.status.success() => Some(Self(dir.to_owned())),
            _ => {
                super::skip("mounting a tmpfs is not allowed here");
                None
            }
        }
    }

    /// Changes the options of the mount.
    pub(crate) fn remount(&self, options: &str) {
        let mut command = Command::new("mount");
        command.args(["-o", &format!("remount,{options}")]).arg(&self.0);
        assert!(command.status().expect("mount").success(), "remount,{options}");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Writes a program from a child process, because a descriptor of this process could make it "text file busy".
pub(crate) fn write_program(path: &Path, script: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("parents");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "printf %s \"$2\" > \"$1\" && chmod 755 \"$1\"", "sh"]);
    assert!(command.arg(path).arg(script).status().expect("sh").success());
}

/// Whether this program is on `PATH`. Prints a message if it is not.
pub(crate) fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(name).exists());
    if !found {
        super::skip(&format!("{name} is not installed"));
    }
    found
}

/// Waits until `condition` holds. Panics after a minute.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for the next clock tick: kache rightly does not store a unit whose source was edited in the tick in which
/// rustc started.
pub(crate) fn settle() {
    std::thread::sleep(Duration::from_millis(25));
}

/// Sends a signal to a process, or to a process group if `pid` starts with `-`.
pub(crate) fn signal(name: &str, pid: &str) {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "kill -s \"$1\" -- \"$2\"", "sh", name, pid]);
    command.output().expect("kill");
}

/// The exact output of a program, and how it ended.
#[derive(PartialEq, Eq)]
pub(crate) struct RawOutput {
    /// Exit code, or the signal as a negative number.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) stdout: Vec<u8>,
    /// Standard error.
    pub(crate) stderr: Vec<u8>,
}

impl From<Output> for RawOutput {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let signal = output.status.signal().unwrap_or(0);
        let code = output.status.code().unwrap_or(-signal);
        Self { code, stdout: output.stdout, stderr: output.stderr }
    }
}

impl std::fmt::Debug for RawOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy;
        write!(f, "code {}\nstdout:\n{}\nstderr:\n{}", self.code, text(&self.stdout), text(&self.stderr))
    }
}

/// Returns the files under `dir` with their bytes, by relative path.
pub(crate) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let relative = |path: &PathBuf| path.strip_prefix(dir).expect("below").to_owned();
    let files = files_under(dir);
    files.iter().map(|path| (relative(path), fs::read(path).expect("read"))).collect()
}

impl Project {
    /// Returns a rustc command through kache (`kache <rustc> args`) or without it (`<rustc> args`).
    pub(crate) fn rustc<S: AsRef<OsStr>>(&self, through_kache: bool, args: impl IntoIterator<Item = S>) -> Command {
        let rustc = self.env_value("RUSTC").expect("always set");
        let mut command = self.command(if through_kache { OsStr::new(KACHE) } else { rustc });
        if through_kache {
            command.arg(rustc);
        }
        command.args(args);
        command
    }

    /// Counts the compiles of `krate` in this checkout so far.
    pub(crate) fn compiled(&self, krate: &str) -> usize {
        let log = self.env_value("COUNTING_RUSTC_LOG").expect("always set");
        let text = fs::read_to_string(log).unwrap_or_default();
        let name = format!("\"crate\":\"{krate}\"");
        text.lines().filter(|line| line.contains("\"event\":\"start\"") && line.contains(&name)).count()
    }

    /// Asserts that every blob matches its name, and that every entry and every manifest line can be read, whichever
    /// processes were killed.
    #[track_caller]
    pub(crate) fn assert_store_whole(&self) {
        let whole = |files: Vec<PathBuf>| {
            let name = |path: &PathBuf| path.file_name().expect("name").to_string_lossy().into_owned();
            files.into_iter().map(move |path| (name(&path), path)).filter(|(name, _)| !name.starts_with(TEMP_PREFIX))
        };
        for (name, path) in whole(self.blobs()) {
            let digest = blake3::hash(&fs::read(&path).expect("a blob"));
            assert_eq!(digest.to_hex().as_str(), name, "a damaged blob");
        }
        let json = |path: &Path, text: &str| {
            let value = unsealed(path, text).map(|record| serde_json::from_slice::<serde_json::Value>(&record));
            assert!(matches!(value, Some(Ok(_))), "{} holds {text}", path.display());
        };
        for (_, path) in whole(self.entries()) {
            json(&path, &fs::read_to_string(&path).expect("an entry"));
        }
        for (_, path) in whole(self.manifests()) {
            fs::read_to_string(&path).expect("a manifest").lines().for_each(|line| json(&path, line));
        }
    }

    /// Returns the temp files that kache left in the cache or in the target directory.
    pub(crate) fn temps(&self) -> Vec<PathBuf> {
        let mut temps = super::find(&self.cache_dir(), TEMP_PREFIX, "");
        temps.extend(super::find(&self.target_dir(), TEMP_PREFIX, ""));
        temps
    }
}

/// Returns the digest that names the file of an entry or a manifest.
pub(crate) fn name_of(path: &Path) -> kache::model::Digest {
    let stem = path.file_stem().expect("a name").to_str().expect("text");
    stem.parse().expect("a digest")
}

/// Returns the record of a sealed text, if the seal is valid.
pub(crate) fn unsealed(path: &Path, text: &str) -> Option<Vec<u8>> {
    kache::store::sealed::open(name_of(path), text.as_bytes()).map(<[u8]>::to_vec)
}
