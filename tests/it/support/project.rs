//! A project: files in a temporary directory, real cargo and the kache under test, isolated from the settings of this
//! machine.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::run::Run;
use super::toolchain::{real_cargo, shared_toolchain};
use super::{calls, files};

/// Path of the kache under test.
pub(crate) const KACHE: &str = env!("CARGO_BIN_EXE_kache");

/// The part that all checkouts of one test share: the temporary directory with home, cargo home and cache.
struct Sandbox {
    dir: tempfile::TempDir,
    checkouts: AtomicUsize,
}

/// A checkout, and the environment that its commands run in.
pub(crate) struct Project {
    sandbox: Arc<Sandbox>,
    dir: PathBuf,
    log: PathBuf,
    env: BTreeMap<OsString, OsString>,
}

impl Project {
    /// Creates an empty checkout in a fresh sandbox, which stays on disk if `KACHE_IT_KEEP` is set.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("kache-it-")
            .disable_cleanup(std::env::var_os("KACHE_IT_KEEP").is_some())
            .tempdir()
            .expect("temporary directory");
        let sandbox = Arc::new(Sandbox { dir, checkouts: AtomicUsize::new(0) });
        let root = sandbox.dir.path().canonicalize().expect("canonical sandbox");
        for name in ["home", "cargo-home", "tmp", "work/one"] {
            fs::create_dir_all(root.join(name)).expect("sandbox directory");
        }
        let mut project = Self { sandbox, dir: root.join("work/one"), log: PathBuf::new(), env: BTreeMap::new() };
        project.base_env(&root);
        project.own_log();
        project
    }

    /// Creates a package `app`, a binary that prints the result of `dep::value()`, and its path dependency `dep`.
    ///
    /// Tests look at `dep`, a library in the workspace, which kache caches. `app` is linked; whether rustc compiles it
    /// depends on the version of kache.
    pub(crate) fn app_over(dep_source: &str) -> Self {
        let project = Self::new();
        project.file("Cargo.toml", manifest("app", "[dependencies]\ndep = { path = \"dep\" }\n[workspace]\n"));
        project.file("src/main.rs", "fn main() { println!(\"{}\", dep::value()); }\n");
        project.file("dep/Cargo.toml", manifest("dep", ""));
        project.file("dep/src/lib.rs", dep_source);
        project
    }

    /// Creates a library package `dep` and nothing else.
    pub(crate) fn lib(source: &str) -> Self {
        let project = Self::new();
        project.file("Cargo.toml", manifest("dep", "[workspace]\n"));
        project.file("src/lib.rs", source);
        project
    }

    fn base_env(&mut self, root: &Path) {
        for name in ["PATH", "RUSTUP_HOME", "LD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                self.env.insert(name.into(), value);
            }
        }
        if !self.env.contains_key(OsStr::new("RUSTUP_HOME")) {
            let home = std::env::var_os("HOME").unwrap_or_default();
            self.env.insert("RUSTUP_HOME".into(), Path::new(&home).join(".rustup").into());
        }
        self.set("HOME", root.join("home"));
        self.set("CARGO_HOME", root.join("cargo-home"));
        self.set("TMPDIR", root.join("tmp"));
        self.set("KACHE_CACHE_DIR", root.join("cache"));
        self.set("KACHE_CONFIG", root.join("no-such-config.toml"));
        self.set("RUSTC_WRAPPER", KACHE);
        self.set("RUSTC", shared_toolchain().join("bin/rustc"));
        self.set("CARGO_INCREMENTAL", "0");
        self.set("CARGO_NET_OFFLINE", "true");
        // Most tests are about what kache does when cargo asks.
        self.set("KACHE_BULK", "off");
        // By default the agent stays for ten minutes. A test must not leave one behind that long.
        self.set("KACHE_AGENT_IDLE", "5s");
    }

    fn own_log(&mut self) {
        let number = self.sandbox.checkouts.fetch_add(1, Ordering::Relaxed);
        self.log = self.sandbox_dir().join(format!("rustc-{number}.log"));
        self.set("COUNTING_RUSTC_LOG", self.log.clone());
    }

    /// Returns the canonical path of the temporary directory around all checkouts.
    pub(crate) fn sandbox_dir(&self) -> PathBuf {
        self.sandbox.dir.path().canonicalize().expect("canonical sandbox")
    }

    /// Returns the directory of the checkout.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns a path inside the checkout.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.dir.join(relative)
    }

    /// Returns the cache directory that this checkout uses.
    pub(crate) fn cache_dir(&self) -> PathBuf {
        PathBuf::from(self.env_value("KACHE_CACHE_DIR").expect("always set"))
    }

    /// Returns the directory of the agent's socket, lock and log.
    pub(crate) fn agent_dir(&self) -> PathBuf {
        self.cache_dir().join("v1/remote/agent")
    }

    /// Returns the target directory. Honours `CARGO_TARGET_DIR`, but not config files.
    pub(crate) fn target_dir(&self) -> PathBuf {
        self.env_value("CARGO_TARGET_DIR").map_or_else(|| self.path("target"), |t| self.dir.join(t))
    }

    /// Returns the value of a variable in the environment of commands.
    pub(crate) fn env_value(&self, name: &str) -> Option<&OsStr> {
        self.env.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Sets a variable for every later command.
    pub(crate) fn set(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.env.insert(name.into(), value.as_ref().to_owned());
        self
    }

    /// Removes a variable for every later command.
    pub(crate) fn unset(&mut self, name: &str) -> &mut Self {
        self.env.remove(OsStr::new(name));
        self
    }

    /// Uses the toolchain in `dir` (see `toolchain.rs`) from now on.
    pub(crate) fn use_toolchain(&mut self, dir: &Path) -> &mut Self {
        self.set("RUSTC", dir.join("bin/rustc"))
    }

    /// Lets cargo use the crates that are already downloaded on this machine.
    pub(crate) fn with_registry(&mut self) -> &mut Self {
        let home = std::env::var_os("CARGO_HOME")
            .map_or_else(|| Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cargo"), PathBuf::from);
        let own = PathBuf::from(self.env_value("CARGO_HOME").expect("always set")).join("registry");
        if !own.exists() {
            symlink(home.join("registry"), own).expect("link the registry");
        }
        self
    }

    /// Uses the remote that these variables describe (see `S3Server::variables`).
    pub(crate) fn use_remote(&mut self, variables: &[(&'static str, String)]) -> &mut Self {
        for (name, value) in variables {
            self.set(name, value);
        }
        self
    }

    /// Removes the settings of the remote.
    pub(crate) fn use_no_remote(&mut self) -> &mut Self {
        let names = ["BUCKET", "ENDPOINT", "REGION", "PREFIX", "PROFILE", "ACCESS_KEY", "SECRET_KEY", "CHECKSUMS"];
        for name in names {
            self.unset(&format!("KACHE_S3_{name}"));
        }
        self
    }

    /// Creates another machine with a checkout of the same files (without the target directory) at another path, and
    /// with a separate cache, home and temporary directory. Both machines use the same toolchain and the same remote.
    pub(crate) fn other_machine(&self, name: &str) -> Self {
        let mut other = self.clone_to(&format!("{name}/some/where/else"));
        let root = self.sandbox_dir().join(name);
        for (variable, dir) in [("HOME", "home"), ("CARGO_HOME", "cargo-home"), ("TMPDIR", "tmp")] {
            fs::create_dir_all(root.join(dir)).expect("directory of the other machine");
            other.set(variable, root.join(dir));
        }
        other.set("KACHE_CACHE_DIR", root.join("cache"));
        if Path::new(self.env_value("CARGO_HOME").expect("always set")).join("registry").exists() {
            other.with_registry();
        }
        other
    }

    /// Writes a file of the checkout, and creates its parents.
    pub(crate) fn file(&self, relative: &str, content: impl AsRef<[u8]>) -> &Self {
        files::write(&self.path(relative), content.as_ref());
        self
    }

    /// Removes a file of the checkout.
    pub(crate) fn remove(&self, relative: &str) -> &Self {
        fs::remove_file(self.path(relative)).expect("remove a file of the checkout");
        self
    }

    /// Deletes the target directory.
    pub(crate) fn wipe(&self) -> &Self {
        fs::remove_dir_all(self.target_dir()).ok();
        self
    }

    /// Creates a second checkout of the same files (without the target directory) at `relative` to the sandbox, with
    /// the same cache and the same environment.
    pub(crate) fn clone_to(&self, relative: &str) -> Self {
        let dir = self.sandbox_dir().join(relative);
        files::copy_tree(&self.dir, &dir, &|path| {
            path != self.target_dir() && path != self.path("target") && !dir.starts_with(path)
        });
        let mut clone = Self { sandbox: Arc::clone(&self.sandbox), dir, log: PathBuf::new(), env: self.env.clone() };
        clone.own_log();
        clone
    }

    /// Sets a shell script that the counting rustc runs `when` ("before", "instead", "after") it compiles `krate`.
    pub(crate) fn hook(&self, when: &str, krate: &str, script: &str) -> &Self {
        fs::write(format!("{}.{when}.{krate}", self.log.display()), script).expect("write a hook");
        self
    }

    /// Removes a script that [`Self::hook`] set.
    pub(crate) fn unhook(&self, when: &str, krate: &str) -> &Self {
        fs::remove_file(format!("{}.{when}.{krate}", self.log.display())).expect("remove a hook");
        self
    }

    /// Returns a command that runs in the checkout, with the environment of the project only.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.dir).env_clear().envs(&self.env);
        command
    }

    /// Runs a command, and records the calls of the counting rustc that it causes.
    pub(crate) fn finish(&self, mut command: Command) -> Run {
        let before = calls::lines(&self.log);
        let output = command.output().expect("the command starts");
        Run::new(&output, calls::read(&self.log, before))
    }

    /// Runs `cargo <args>`, which may fail.
    pub(crate) fn try_cargo(&self, args: &[&str]) -> Run {
        let mut command = self.command(real_cargo());
        command.args(args);
        self.finish(command)
    }

    /// Runs `cargo <args>`, which must succeed.
    pub(crate) fn cargo(&self, args: &[&str]) -> Run {
        self.try_cargo(args).must_succeed()
    }

    /// Runs `cargo build`.
    pub(crate) fn build(&self) -> Run {
        self.cargo(&["build"])
    }

    /// Runs `cargo check`.
    pub(crate) fn check(&self) -> Run {
        self.cargo(&["check"])
    }

    /// Runs `kache <args>`.
    pub(crate) fn kache(&self, args: &[&str]) -> Run {
        let mut command = self.command(KACHE);
        command.args(args);
        self.finish(command)
    }

    /// Runs `kache <args>` with one more variable.
    pub(crate) fn kache_with(&self, name: &str, value: &str, args: &[&str]) -> Run {
        let mut command = self.command(KACHE);
        command.args(args).env(name, value);
        self.finish(command)
    }

    /// Runs `kache <args>`, which must succeed, and parses what it prints.
    #[track_caller]
    pub(crate) fn kache_json(&self, args: &[&str]) -> serde_json::Value {
        let run = self.kache(args).must_succeed();
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stdout))
    }

    /// Runs `app` from the debug directory and returns its output without the line end.
    pub(crate) fn app_output(&self) -> String {
        let output = self.command(self.target_dir().join("debug/app")).output().expect("app was built");
        assert!(output.status.success(), "app failed: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("utf-8").trim_end().to_owned()
    }

    /// Runs `cargo build`, then `app`. Returns the run of cargo and the output of `app`.
    pub(crate) fn build_and_run(&self) -> (Run, String) {
        let run = self.build();
        (run, self.app_output())
    }
}

/// Returns a `Cargo.toml` for package `name` in edition 2024, followed by `rest`.
pub(crate) fn manifest(name: &str, rest: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{rest}")
}
