//! Starts processes that outlive this one and do not inherit its descriptors.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo::configuration::Configuration;
use crate::cargo::{command, workspace};
use crate::config::Env;
use crate::events::{BuildCommand, CommandLog, command as command_log};
use crate::fsx::{self, clock, sys_process};
use crate::store::Store;

/// The cargo that called this process.
pub(super) struct Cargo {
    /// Its program.
    pub(super) path: PathBuf,
    /// Its arguments, its name first. Aliases are replaced by their words.
    pub(super) args: Vec<String>,
    /// Its working directory.
    pub(super) cwd: PathBuf,
    /// Its process ID.
    pub(super) pid: u32,
    /// When it began, in ticks since boot.
    pub(super) began: u64,
    /// Both: no other process ever has this name.
    pub(super) name: String,
}

impl Cargo {
    /// Returns the caller of this process, if it is a cargo.
    pub(super) fn of_caller(vars: &Env) -> Option<Self> {
        let is_cargo = |program: &PathBuf| program.file_stem().is_some_and(|stem| stem == "cargo");
        let path = sys_process::program_of_caller().filter(is_cargo)?;
        let (args, cwd) = (sys_process::arguments_of_caller()?, sys_process::directory_of_caller()?);
        let alias = |name: &str| Configuration::of(&cwd, vars.cargo_home().as_deref()).alias(name);
        let (args, pid) = (command::without_alias(args, alias), sys_process::caller());
        let began = sys_process::caller_began()?;
        Some(Self { path, args, cwd, pid, began, name: format!("{pid}-{began}") })
    }

    /// Whether a process waits for its end.
    pub(super) fn is_awaited(&self, store: &Store) -> bool {
        fsx::exists(&store.layout().awaited(&self.name))
    }

    /// The name of its command in the workspace with this root. `None`: builds with it are not recorded.
    pub(super) fn command(&self, vars: &Env, root: &Path) -> Option<String> {
        command::name(&self.args, vars, &workspace::relative(root, &command::directory(&self.args, &self.cwd)))
    }

    /// Starts a process that waits for the end of cargo, and then makes a snapshot of its build, unless there is one
    /// already. `root` is that of the workspace; `build_dir` is where the build directory probably is.
    pub(super) fn note_in_background(&self, store: &Store, vars: &Env, root: &Path, build_dir: &Path) {
        let Some(command) = self.command(vars, root) else { return };
        if fsx::create_marker(&store.layout().awaited(&self.name)).unwrap_or(false) {
            let line = BuildCommand {
                v: command_log::VERSION,
                at: clock::now().as_millis(),
                number: self.pid.into(),
                command: command.clone(),
            };
            // Build records then say less.
            let _ = CommandLog::of(store.layout().cache_dir()).append(&line);
            let [root, cwd, build_dir] = [root, &self.cwd, build_dir].map(Path::to_string_lossy);
            let build = ["--cargo", &self.name, "--directory", &cwd, "--command", &command];
            let place = ["--workspace", &root, "--build-dir", &build_dir];
            start_in_background(&[&["note"], &build[..], &place[..]].concat());
        }
    }
}

/// Starts a garbage collection that outlives this process and does not inherit its descriptors.
pub(super) fn collect_in_background() {
    start_in_background(&["gc", "--quiet"]);
}

fn start_in_background(args: &[&str]) {
    let Ok(program) = fsx::current_exe() else { return };
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = sys_process::spawn_detached(&mut command);
}
