//! Fixtures for build scripts: a package whose script computes a value, and whose program shows which run computed it.
//!
//! The script writes the value, and a number that differs in every run, into a generated source, and `app` prints both.
//! The number shows whether the script ran: after a restore it is the number of the stored run. Plain cargo in an empty
//! target directory produces the expected value.

use std::cell::RefCell;
use std::fs;

use super::{Project, Run, manifest, real_cargo, settle};

/// The common part of every script. [`Scripted::script`] appends the definition of `value() -> String`.
const SCRIPT: &str = r#"
#[allow(unused_imports)]
use std::{env, fs, io::{Read, Write}, path::{Path, PathBuf}, process::Command};
#[allow(dead_code)]
fn out() -> PathBuf { env::var_os("OUT_DIR").unwrap().into() }
#[allow(dead_code)]
fn said(command: &mut Command) -> String {
    let output = command.output().expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
#[allow(dead_code)]
fn sh(line: &str) -> String { said(Command::new("sh").arg("-c").arg(line)) }
fn main() {
    let value = value();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    // Not the time itself: the time of a file that the script looked at would be an input if it were in there.
    let run = now.wrapping_mul(31);
    let source = format!("pub const VALUE: &str = {value:?};\npub const RUN: u128 = {run};\n");
    fs::write(out().join("gen.rs"), source).unwrap();
}
"#;

/// The directory of a debug build whose `--target` is the host, below the target directory.
const HOST_DEBUG: &str = concat!(env!("KACHE_HOST"), "/debug");

/// A package with a build script, and the number of the run that [`Scripted::runs_with`] saw last.
pub(crate) struct Scripted {
    pub(crate) project: Project,
    last: RefCell<String>,
}

impl Scripted {
    /// Creates a package whose script computes its value with this body of `fn value() -> String`.
    pub(crate) fn new(body: &str) -> Self {
        let project = Project::new();
        project.file("Cargo.toml", manifest("app", "[features]\nextra = []\n[workspace]\n"));
        project.file(
            "src/main.rs",
            "include!(concat!(env!(\"OUT_DIR\"), \"/gen.rs\"));\nfn main() { println!(\"{VALUE} run {RUN}\"); }\n",
        );
        let scripted = Self::of(project);
        scripted.script(body);
        scripted
    }

    /// Uses an existing project.
    pub(crate) fn of(mut project: Project) -> Self {
        // Some scripts start programs that read all variables. The log has another path in each checkout, so its
        // variable would be an input that differs.
        project.unset("COUNTING_RUSTC_LOG");
        Self { project, last: RefCell::default() }
    }

    /// Writes the build script, with this body of `value()`.
    pub(crate) fn script(&self, body: &str) -> &Self {
        self.project.file("build.rs", format!("{SCRIPT}\nfn value() -> String {{ {body} }}\n"));
        self
    }

    /// Creates a second checkout of the same files.
    pub(crate) fn clone_to(&self, relative: &str) -> Self {
        Self { last: self.last.clone(), ..Self::of(self.project.clone_to(relative)) }
    }

    /// Creates another machine with a checkout of the same files.
    pub(crate) fn other_machine(&self, name: &str) -> Self {
        Self { last: self.last.clone(), ..Self::of(self.project.other_machine(name)) }
    }

    /// Builds into an empty target directory. Returns the value and the number of the run.
    #[track_caller]
    fn fresh(&self, arguments: &[&str]) -> (String, String) {
        settle();
        self.project.wipe();
        self.project.cargo(&[&["build"], arguments].concat());
        self.printed()
    }

    /// Runs the program. Returns the value and the number of the run, which it prints.
    #[track_caller]
    pub(crate) fn printed(&self) -> (String, String) {
        let target = self.project.target_dir();
        let places = ["debug", "release", HOST_DEBUG].map(|place| target.join(place).join("app"));
        let path = places.iter().find(|path| path.exists()).expect("app was built");
        let output = self.project.command(path).output().expect("app was built");
        let said = String::from_utf8(output.stdout).expect("text");
        let (value, run) = said.trim_end().rsplit_once(" run ").expect("value and run");
        (value.to_owned(), run.to_owned())
    }

    /// Returns the value that plain cargo produces in an empty target directory.
    #[track_caller]
    pub(crate) fn plain(&self, arguments: &[&str]) -> String {
        let dir = self.project.sandbox_dir().join("plain-target");
        fs::remove_dir_all(&dir).ok();
        let mut command = self.project.command(real_cargo());
        command.arg("run").arg("--quiet").args(arguments).env_remove("RUSTC_WRAPPER").env("CARGO_TARGET_DIR", &dir);
        let output = command.output().expect("cargo starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).expect("text");
        said.trim_end().rsplit_once(" run ").expect("value and run").0.to_owned()
    }

    /// Asserts that kache restores the run that [`Self::runs_with`] saw last, and that plain cargo produces the same
    /// value.
    #[track_caller]
    pub(crate) fn restored_with(&self, arguments: &[&str]) -> &Self {
        let (value, run) = self.fresh(arguments);
        assert_eq!(run, *self.last.borrow(), "the script should not run\n{}", self.project.history());
        assert_eq!(value, self.plain(arguments), "plain cargo's value");
        self
    }

    /// Asserts that the script runs, and that plain cargo produces the same value.
    #[track_caller]
    pub(crate) fn runs_with(&self, arguments: &[&str]) -> &Self {
        let (value, run) = self.fresh(arguments);
        assert_ne!(run, *self.last.borrow(), "the script should run\n{}", self.project.history());
        assert_eq!(value, self.plain(arguments), "plain cargo's value");
        self.last.replace(run);
        self
    }

    #[track_caller]
    pub(crate) fn restored(&self) -> &Self {
        self.restored_with(&[])
    }

    #[track_caller]
    pub(crate) fn runs(&self) -> &Self {
        self.runs_with(&[])
    }

    /// Asserts that the script runs each time, and that the log has this reason for not storing the run.
    #[track_caller]
    pub(crate) fn never_stored(&self, reason: &str) {
        for _ in 0..2 {
            self.runs();
            assert_eq!(self.last_run()["stored"], reason, "{}", self.project.history());
        }
    }

    /// Returns the newest event of a run.
    #[track_caller]
    pub(crate) fn last_run(&self) -> serde_json::Value {
        let events = self.project.events();
        events.into_iter().rfind(|event| event["kind"] == "run").expect("an event of a run")
    }

    /// Sets a variable for every later command.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> &Self {
        self.project.set(name, value);
        self
    }

    /// Writes a file of the checkout.
    pub(crate) fn file(&self, path: &str, text: &str) -> &Self {
        self.project.file(path, text);
        self
    }

    /// Runs `cargo build` without deleting the target directory.
    #[track_caller]
    pub(crate) fn build(&self) -> Run {
        self.project.build()
    }
}
