//! The compiler's identity: version text plus the content of what stands behind it, memoised so that a hit asks nobody.
//!
//! The memo names every file that it rests on, with its stamp: `rustup update` behind the same path changes them. A rustup
//! proxy is followed through `RUSTUP_TOOLCHAIN`, which rustup's cargo always sets; without that variable the proxy decides
//! by directory, so it is asked each time.
//!
//! Version 1 of the memo: [`Memo`] as JSON.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::env::{self, Env};
use crate::fsx::{self, Dir, Publish, Stamp, clock};
use crate::model::Digest;
use crate::rustc::{Chain, Driver, toolchain};
use crate::store::Store;

/// A compiler that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiler {
    /// Digest of all that tells it from other compilers.
    pub identity: Digest,
    /// Its sysroot.
    pub sysroot: PathBuf,
    /// The first line of its version text, for people. (Empty in memos of the first kache.)
    #[serde(default)]
    pub version: String,
    /// The triple that it runs on. (Empty in memos of the first kache.)
    #[serde(default)]
    pub host: String,
    /// The commit that it was built from.
    #[serde(default)]
    pub commit: String,
    /// The script that starts it, as cargo named it. kache found the compiler by asking that, and has to observe it: it may start
    /// another compiler the next time.
    #[serde(default)]
    pub script: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Memo {
    compiler: Compiler,
    /// The files that the answer rests on, by directory.
    files: Vec<(PathBuf, Vec<String>)>,
    /// Digest of all their stamps.
    stamps: Digest,
}

/// Where and how to look for a compiler.
struct Search<'a> {
    chain: &'a Chain,
    target: Option<&'a str>,
    cwd: &'a Path,
    env: &'a Env,
    rustc: PathBuf,
    driver: Option<PathBuf>,
}

/// Identifies the compiler that `chain` calls for `target`. `None`: it cannot be.
pub fn identify(chain: &Chain, target: Option<&str>, cwd: &Path, vars: &Env, store: &Store) -> Option<Compiler> {
    let rustc = toolchain::find_program(chain.rustc.as_deref()?, cwd, vars)?;
    let driver = match chain.driver {
        Driver::Rustc => None,
        Driver::Clippy => Some(toolchain::find_program(&chain.program, cwd, vars)?),
        Driver::Unknown => return None,
    };
    let search = Search { chain, target, cwd, env: vars, rustc, driver };
    let name = search.name();
    let path = store.layout().compiler(name);
    if let Some(memo) = read_memo(&path) {
        return Some(memo.compiler);
    }
    // One process reads the compiler's files; the others wait for what it finds.
    let _claim = store.claim_compiler(name, READ_WAIT);
    if let Some(memo) = read_memo(&path) {
        return Some(memo.compiler);
    }
    let found = search.ask(store)?;
    if found.is_lasting {
        write_memo(&path, &found.compiler, &found.files);
    }
    Some(found.compiler)
}

/// How long to wait for another process that reads the compiler's files (half a gigabyte).
const READ_WAIT: Duration = Duration::from_secs(5);

/// What a compiler said of itself.
struct Found {
    compiler: Compiler,
    /// The files that the answer rests on.
    files: Vec<PathBuf>,
    /// Whether the answer holds as long as these files do.
    is_lasting: bool,
}

impl Search<'_> {
    /// Digest of all that decides which files are asked for.
    fn name(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        let mut field = |value: Option<&OsStr>| {
            let bytes = value.map_or(&b""[..], OsStr::as_encoded_bytes);
            hasher.update(&[u8::from(value.is_some())]).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        field(Some(self.rustc.as_os_str()));
        field(self.driver.as_deref().map(Path::as_os_str));
        field(self.target.map(OsStr::new));
        for name in [env::RUSTUP_TOOLCHAIN, env::RUSTUP_HOME] {
            field(self.env.get(name).as_deref());
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    /// Asks the compiler and reads its files.
    ///
    /// A program that is neither in a sysroot nor rustup's proxy may be a script, which can add flags and choose a compiler. Its
    /// identity is its content and the sysroot that it names now, and the memo keeps that. If the script later chooses another
    /// compiler, the observer has recorded the reason (a variable, a file) and the other compiler's files as inputs of each compile.
    fn ask(&self, store: &Store) -> Option<Found> {
        let around = toolchain::sysroot_around(&self.rustc).filter(|_| !toolchain::is_script(&self.rustc));
        let is_rustup = around.is_none() && toolchain::is_rustup(&self.rustc);
        let script = (around.is_none() && !is_rustup).then(|| self.rustc.clone());
        let depth = next_depth(self.env);
        let version = toolchain::ask_version(&self.rustc, self.cwd, depth.clone())?;
        let host = toolchain::host_of(&version)?;
        let sysroot = match &around {
            Some(sysroot) => sysroot.clone(),
            None => toolchain::ask_sysroot(&self.rustc, self.cwd, depth)?,
        };
        let target = self.target.unwrap_or(host);
        let mut named: Vec<(String, PathBuf)> = vec![("rustc".into(), self.rustc.clone())];
        named.extend(self.driver.iter().map(|driver| ("driver".into(), driver.clone())));
        let mut files: Vec<PathBuf> = named.iter().map(|(_, path)| path.clone()).collect();
        for file in toolchain::identity_files(&sysroot, host, target).ok()? {
            if toolchain::tells_by_stamp(&file) {
                files.push(sysroot.join(&file));
            }
            named.push((file.to_str()?.to_owned(), sysroot.join(&file)));
        }
        files.push(toolchain::target_libraries(&sysroot, target));
        let sources = sysroot.join(toolchain::LIBRARY_SOURCES);
        // Their coming moves the times of the directory that they come into.
        files.extend(sources.ancestors().find(|place| fsx::exists(place)).map(Path::to_owned));
        let identity = identity((&version, self.chain.driver, fsx::exists(&sources)), &named, store)?;
        let toolchain = self.env.text(env::RUSTUP_TOOLCHAIN);
        let is_lasting = !is_rustup || toolchain.is_some();
        if is_rustup {
            files.extend(self.proxy_files(toolchain.as_deref()));
        }
        let (host, commit) = (host.to_owned(), toolchain::commit_of(&version).unwrap_or_default().to_owned());
        let version = version.lines().next().unwrap_or_default().to_owned();
        Some(Found { compiler: Compiler { identity, sysroot, version, host, commit, script }, files, is_lasting })
    }

    /// What rustup's proxy goes by: its settings (the default host, when a toolchain's name lacks it), and the toolchain's
    /// directory, which may be a link (`rustup toolchain link`).
    fn proxy_files(&self, toolchain: Option<&str>) -> Vec<PathBuf> {
        let default = || self.env.home().map(|home| home.join(".rustup"));
        let Some(home) = self.env.path(env::RUSTUP_HOME).or_else(default) else { return Vec::new() };
        let rustc = toolchain.map(|name| home.join("toolchains").join(name).join("bin").join("rustc"));
        rustc.into_iter().chain([home.join("settings.toml")]).filter(|path| fsx::exists(path)).collect()
    }
}

/// Digest of the version text, the driver, whether the standard library's sources are there, and of every named file. The large
/// ones are read by a thread each.
fn identity(
    (version, driver, has_sources): (&str, Driver, bool),
    named: &[(String, PathBuf)],
    store: &Store,
) -> Option<Digest> {
    let memo = store.layout().stamps();
    let read = |path: &PathBuf| crate::store::Stamps::open(&memo).content(path).ok().map(|content| content.digest);
    let half = named.len().div_ceil(2);
    let digests: Vec<Option<Digest>> = std::thread::scope(|scope| {
        // Every second file: the two large libraries stand side by side in the list.
        let odd = scope.spawn(|| named.iter().skip(1).step_by(2).map(|(_, path)| read(path)).collect::<Vec<_>>());
        let even: Vec<_> = named.iter().step_by(2).map(|(_, path)| read(path)).collect();
        let odd = odd.join().unwrap_or_default();
        (0..half).flat_map(|at| [even.get(at).copied(), odd.get(at).copied()]).flatten().collect()
    });
    let mut hasher = super::KeyHasher::new(false);
    hasher.field("version", version);
    hasher.field("driver", if driver == Driver::Clippy { "clippy" } else { "rustc" });
    // Not where they are absent, as it was before: the identity of most compilers stays.
    if has_sources {
        hasher.field("rust-src", "yes");
    }
    for ((name, _), digest) in named.iter().zip(digests) {
        hasher.digest("file", name, digest?);
    }
    Some(hasher.finish().0.0)
}

/// The memo, if every file that it rests on is as it was.
fn read_memo(path: &Path) -> Option<Memo> {
    let memo: Memo = serde_json::from_slice(&fsx::read(path).ok()?).ok()?;
    let (stamps, _) = digest_stamps(&memo.files)?;
    (stamps == memo.stamps).then_some(memo)
}

/// Best effort. Nothing is written while a stamp is too young to prove anything.
fn write_memo(path: &Path, compiler: &Compiler, files: &[PathBuf]) {
    let files = by_directory(files);
    if let Some((stamps, newest)) = digest_stamps(&files)
        && newest.is_settled(clock::now())
        && let Ok(bytes) = serde_json::to_vec(&Memo { compiler: compiler.clone(), files, stamps })
    {
        let _ = Publish::default().bytes(path, &bytes);
    }
}

/// Every directory is opened once: the names in it are then found without walking the path to it again.
fn by_directory(files: &[PathBuf]) -> Vec<(PathBuf, Vec<String>)> {
    let mut dirs: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for file in files {
        if let (Some(dir), Some(name)) = (file.parent(), file.file_name().and_then(OsStr::to_str)) {
            dirs.entry(dir.to_owned()).or_default().push(name.to_owned());
        }
    }
    dirs.into_iter().collect()
}

/// Digest of the files' stamps, and the stamp that was changed last.
fn digest_stamps(files: &[(PathBuf, Vec<String>)]) -> Option<(Digest, Stamp)> {
    let mut hasher = blake3::Hasher::new();
    let mut newest: Option<Stamp> = None;
    for (dir, names) in files {
        let dir = Dir::open(dir).ok()??;
        for name in names {
            let stamp = dir.stamp(name)?;
            hasher.update(&stamp.to_bytes());
            newest = newest.filter(|newest| newest.ctime >= stamp.ctime).or(Some(stamp));
        }
    }
    Some((Digest::from_bytes(*hasher.finalize().as_bytes()), newest?))
}

/// How deep kache stands in calls to compilers that it could not identify.
pub fn depth(vars: &Env) -> u32 {
    vars.text(env::KACHE_DEPTH).and_then(|depth| depth.parse().ok()).unwrap_or(0)
}

/// The value of [`env::KACHE_DEPTH`] for a program that may lead back to kache.
pub fn next_depth(vars: &Env) -> OsString {
    (depth(vars) + 1).to_string().into()
}
