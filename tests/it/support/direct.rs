//! One rustc call through kache without cargo: it is cheap, and the test controls every argument.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{KACHE, Project, Run};

/// A call as cargo would make it for a library, with changes.
pub(crate) struct Unit<'a> {
    project: &'a Project,
    krate: String,
    source: OsString,
    out_dir: PathBuf,
    emit: String,
    flags: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    make_out_dir: bool,
}

impl Project {
    /// Describes a library `krate` with the root `source` (relative to the checkout) and the out-dir
    /// `target/debug/deps`.
    pub(crate) fn unit(&self, krate: &str, source: &str) -> Unit<'_> {
        Unit {
            project: self,
            krate: krate.to_owned(),
            source: source.into(),
            out_dir: self.target_dir().join("debug/deps"),
            emit: "dep-info,metadata,link".to_owned(),
            flags: Vec::new(),
            env: Vec::new(),
            make_out_dir: true,
        }
    }
}

impl Unit<'_> {
    /// Appends arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.flags.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets the kinds of output (`--emit`).
    pub(crate) fn emit(mut self, emit: &str) -> Self {
        emit.clone_into(&mut self.emit);
        self
    }

    /// Sets a variable for this call.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Adds an extern crate `name`: the library `krate` in the same out-dir.
    pub(crate) fn uses(self, name: &str, krate: &str) -> Self {
        let path = self.out_dir.join(format!("lib{krate}-0000000000000000.rlib"));
        self.args(["--extern".into(), format!("{name}={}", path.display())])
    }

    /// Returns the path of the rlib.
    pub(crate) fn rlib(&self) -> PathBuf {
        self.out_dir.join(format!("lib{}-0000000000000000.rlib", self.krate))
    }

    /// Does not create the out-dir: kache or rustc has to.
    pub(crate) fn without_out_dir(mut self) -> Self {
        self.make_out_dir = false;
        self
    }

    /// Returns the call. Deletes the outputs of an earlier one, so that only the cache can answer it without rustc.
    pub(crate) fn command(&self) -> Command {
        if self.make_out_dir {
            fs::create_dir_all(&self.out_dir).expect("out-dir");
        }
        for file in super::find(&self.out_dir, "", "") {
            let name = file.file_name().expect("name").to_string_lossy().into_owned();
            if name.contains(&format!("{}-0000000000000000.", self.krate)) {
                fs::remove_file(file).expect("remove an old output");
            }
        }
        let mut command = self.project.command(KACHE);
        command.arg(self.project.env_value("RUSTC").expect("always set"));
        command.args(["--crate-name", &self.krate, "--edition=2024"]).arg(&self.source);
        command.args(["--error-format=json", "--json=diagnostic-rendered-ansi,artifacts,future-incompat"]);
        command.args(["--crate-type", "lib", &format!("--emit={}", self.emit), "-C", "embed-bitcode=no"]);
        command.args(["-C", "metadata=0000000000000000", "-C", "extra-filename=-0000000000000000", "--out-dir"]);
        command.arg(&self.out_dir).arg("-L").arg(format!("dependency={}", self.out_dir.display()));
        command.args(&self.flags);
        command.env("CARGO_MANIFEST_DIR", self.project.dir());
        command.envs([("CARGO_PKG_NAME", &self.krate), ("CARGO_CRATE_NAME", &self.krate)]);
        command.env("CARGO_PKG_VERSION", "0.1.0");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs [`Self::command`].
    pub(crate) fn run(&self) -> Run {
        self.project.finish(self.command())
    }

    /// Runs the call, and asserts that rustc compiled.
    #[track_caller]
    pub(crate) fn misses(&self) -> Run {
        let run = self.run().must_succeed();
        run.misses(&[&self.krate]);
        run
    }

    /// Runs the call, and asserts that rustc did not compile.
    #[track_caller]
    pub(crate) fn hits(&self) -> Run {
        let run = self.run().must_succeed();
        run.hits(&[&self.krate]);
        assert!(!self.emit.contains("link") || self.rlib().exists(), "a hit without {}", self.rlib().display());
        run
    }

    /// Control: a miss, then a hit.
    #[track_caller]
    pub(crate) fn warm(&self) {
        self.misses();
        self.hits();
    }
}
