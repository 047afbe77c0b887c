//! The identity of the compiler: its version text and the content of its files, memoised so that a hit does not run the
//! compiler.
//!
//! The memo lists every file that the identity depends on, with its stamp, because `rustup update` changes the files
//! behind the same path. kache follows a rustup proxy through `RUSTUP_TOOLCHAIN`, which rustup's cargo always sets.
//! Without that variable the proxy decides by directory, so kache asks it each time.
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
use crate::rustc::{Driver, ProgramChain, toolchain};
use crate::store::Store;

/// A compiler whose identity is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiler {
    /// Digest of everything that distinguishes it from other compilers.
    pub identity: Digest,
    /// The directory of its sysroot.
    pub sysroot: PathBuf,
    /// The first line of its version text, for people. Empty in memos of the first kache.
    #[serde(default)]
    pub version: String,
    /// The triple that it runs on. Empty in memos of the first kache.
    #[serde(default)]
    pub host: String,
    /// The commit that it was built from. Empty if its version text does not have one.
    #[serde(default)]
    pub commit: String,
    /// The script that starts the compiler, as cargo named it. kache identified the compiler by running the script, and
    /// must observe the script, because it may start another compiler the next time.
    #[serde(default)]
    pub script: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Memo {
    compiler: Compiler,
    /// The files that the identity depends on, by directory.
    files: Vec<(PathBuf, Vec<String>)>,
    /// Digest of the stamps of all these files.
    stamps: Digest,
}

/// Where and how to look for a compiler.
struct Search<'a> {
    chain: &'a ProgramChain,
    target: Option<&'a str>,
    cwd: &'a Path,
    env: &'a Env,
    rustc: PathBuf,
    driver: Option<PathBuf>,
}

/// Identifies the compiler that `chain` calls for `target`. `None` if that is not possible.
pub fn identify(chain: &ProgramChain, target: Option<&str>, cwd: &Path, vars: &Env, store: &Store) -> Option<Compiler> {
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
    // One process reads the files of the compiler. The others wait for its memo.
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

/// How long to wait for another process that reads the files of the compiler (half a gigabyte).
const READ_WAIT: Duration = Duration::from_secs(5);

/// The result of running a compiler and reading its files.
struct IdentifiedCompiler {
    compiler: Compiler,
    /// The files that the identity depends on.
    files: Vec<PathBuf>,
    /// Whether the identity stays valid as long as these files do not change.
    is_lasting: bool,
}

impl Search<'_> {
    /// Digest of everything that decides which files are read. Names the memo.
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

    /// Asks the compiler for its version and sysroot, and reads its files.
    ///
    /// A program that is neither in a sysroot nor rustup's proxy may be a script, which can add flags and choose a
    /// compiler. Its identity is its content and the sysroot that it reports now, and the memo holds that. If the
    /// script later chooses another compiler, the observer has recorded the reason (a variable, a file), and the files
    /// of the other compiler, as inputs of each compile.
    fn ask(&self, store: &Store) -> Option<IdentifiedCompiler> {
        let around = toolchain::sysroot_around(&self.rustc).filter(|_| !toolchain::has_shebang(&self.rustc));
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
            if toolchain::is_checked_by_stamp(&file) {
                files.push(sysroot.join(&file));
            }
            named.push((file.to_str()?.to_owned(), sysroot.join(&file)));
        }
        files.push(toolchain::target_libraries(&sysroot, target));
        let sources = sysroot.join(toolchain::LIBRARY_SOURCES);
        // If the sources appear later, the times of the directory around them change.
        files.extend(sources.ancestors().find(|place| fsx::exists(place)).map(Path::to_owned));
        let has_sources = fsx::exists(&sources);
        let parts = IdentityParts { version: &version, driver: self.chain.driver, has_sources, files: &named };
        let identity = identity(&parts, store)?;
        let toolchain = self.env.text(env::RUSTUP_TOOLCHAIN);
        let is_lasting = !is_rustup || toolchain.is_some();
        if is_rustup {
            files.extend(self.proxy_files(toolchain.as_deref()));
        }
        let (host, commit) = (host.to_owned(), toolchain::commit_of(&version).unwrap_or_default().to_owned());
        let version = version.lines().next().unwrap_or_default().to_owned();
        Some(IdentifiedCompiler {
            compiler: Compiler { identity, sysroot, version, host, commit, script },
            files,
            is_lasting,
        })
    }

    /// Returns the files that rustup's proxy depends on: its settings (the default host, if the name of a toolchain
    /// lacks one), and the `rustc` in the directory of the toolchain, which may be a link (`rustup toolchain link`).
    fn proxy_files(&self, toolchain: Option<&str>) -> Vec<PathBuf> {
        let default = || self.env.home().map(|home| home.join(".rustup"));
        let Some(home) = self.env.path(env::RUSTUP_HOME).or_else(default) else { return Vec::new() };
        let rustc = toolchain.map(|name| home.join("toolchains").join(name).join("bin").join("rustc"));
        rustc.into_iter().chain([home.join("settings.toml")]).filter(|path| fsx::exists(path)).collect()
    }
}

/// Everything that distinguishes a compiler from others.
struct IdentityParts<'a> {
    /// The text that the compiler prints for `-vV`.
    version: &'a str,
    driver: Driver,
    /// Whether the sources of the standard library are installed.
    has_sources: bool,
    /// Files that belong to the compiler, each with a name that does not depend on where the compiler is installed.
    files: &'a [(String, PathBuf)],
}

/// Digest of all parts. Two threads read the files, so that each reads one of the large ones.
fn identity(parts: &IdentityParts<'_>, store: &Store) -> Option<Digest> {
    let memo = store.layout().stamps();
    let read = |path: &PathBuf| crate::store::Stamps::open(&memo).content(path).ok().map(|content| content.digest);
    let half = parts.files.len().div_ceil(2);
    let digests: Vec<Option<Digest>> = std::thread::scope(|scope| {
        // Every second file: the two large libraries are next to each other in the list.
        let odd = scope.spawn(|| parts.files.iter().skip(1).step_by(2).map(|(_, path)| read(path)).collect::<Vec<_>>());
        let even: Vec<_> = parts.files.iter().step_by(2).map(|(_, path)| read(path)).collect();
        let odd = odd.join().unwrap_or_default();
        (0..half).flat_map(|at| [even.get(at).copied(), odd.get(at).copied()]).flatten().collect()
    });
    let mut hasher = super::KeyHasher::new(false);
    hasher.field("version", parts.version);
    hasher.field("driver", if parts.driver == Driver::Clippy { "clippy" } else { "rustc" });
    // Only if they exist, so that the identity of most compilers is the same as before this field was added.
    if parts.has_sources {
        hasher.field("rust-src", "yes");
    }
    for ((name, _), digest) in parts.files.iter().zip(digests) {
        hasher.digest("file", name, digest?);
    }
    Some(hasher.finish().0.0)
}

/// Reads the memo. `None` unless every file that it depends on is unchanged.
fn read_memo(path: &Path) -> Option<Memo> {
    let memo: Memo = serde_json::from_slice(&fsx::read(path).ok()?).ok()?;
    let (stamps, _) = digest_stamps(&memo.files)?;
    (stamps == memo.stamps).then_some(memo)
}

/// Best effort. Does not write the memo while a stamp is too young to prove anything.
fn write_memo(path: &Path, compiler: &Compiler, files: &[PathBuf]) {
    let files = by_directory(files);
    if let Some((stamps, newest)) = digest_stamps(&files)
        && newest.is_settled(clock::now())
        && let Ok(bytes) = serde_json::to_vec(&Memo { compiler: compiler.clone(), files, stamps })
    {
        let _ = Publish::default().bytes(path, &bytes);
    }
}

/// Groups files by directory, so that each directory is opened once and its path is not walked again for every name.
fn by_directory(files: &[PathBuf]) -> Vec<(PathBuf, Vec<String>)> {
    let mut dirs: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for file in files {
        if let (Some(dir), Some(name)) = (file.parent(), file.file_name().and_then(OsStr::to_str)) {
            dirs.entry(dir.to_owned()).or_default().push(name.to_owned());
        }
    }
    dirs.into_iter().collect()
}

/// Returns the digest of the stamps of the files, and the stamp with the latest ctime. `None` if a file is missing.
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

/// How deeply kache is nested in calls to compilers that it could not identify.
pub fn depth(vars: &Env) -> u32 {
    vars.text(env::KACHE_DEPTH).and_then(|depth| depth.parse().ok()).unwrap_or(0)
}

/// The value of [`env::KACHE_DEPTH`] for a program that may call kache again.
pub fn next_depth(vars: &Env) -> OsString {
    (depth(vars) + 1).to_string().into()
}
