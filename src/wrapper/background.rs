//! Starts processes that outlive this one and do not inherit its descriptors.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo::{command, workspace};
use crate::config::Env;
use crate::fsx::{self, sys_process};
use crate::store::Store;

/// Starts a process that waits for the end of cargo, the caller, and then makes a snapshot of its build, unless an
/// earlier call of this cargo has started one. `root` is that of the workspace; `build_dir` is where the build directory
/// probably is.
pub(super) fn note_in_background(store: &Store, vars: &Env, root: &Path, build_dir: &Path) {
    let Some(cargo) = cargo().and_then(|_| name_of_caller()) else { return };
    let (Some(args), Some(cwd)) = (sys_process::arguments_of_caller(), sys_process::directory_of_caller()) else {
        return;
    };
    let place = workspace::relative(root, &command::directory(&args, &cwd));
    let Some(command) = command::name(&args, vars, &place) else { return };
    if fsx::create_marker(&store.layout().awaited(&cargo)).unwrap_or(false) {
        let [root, cwd, build_dir] = [root, &cwd, build_dir].map(Path::to_string_lossy);
        let build = ["--cargo", &cargo, "--directory", &cwd, "--command", &command];
        let place = ["--workspace", &root, "--build-dir", &build_dir];
        start_in_background(&[&["note"], &build[..], &place[..]].concat());
    }
}

/// The path of cargo, if it is the caller of this process.
pub(super) fn cargo() -> Option<PathBuf> {
    sys_process::program_of_caller().filter(|program| program.file_stem().is_some_and(|stem| stem == "cargo"))
}

/// Whether a process waits for the end of the caller.
pub(super) fn is_awaited(store: &Store) -> bool {
    name_of_caller().is_some_and(|caller| fsx::exists(&store.layout().awaited(&caller)))
}

/// The process id of the caller, and when it began.
fn name_of_caller() -> Option<String> {
    Some(format!("{}-{}", sys_process::caller(), sys_process::caller_began()?))
}

/// Starts a garbage collection that outlives this process and does not inherit its descriptors.
pub(super) fn collect_in_background() {
    start_in_background(&["gc", "--quiet"]);
}

fn start_in_background(args: &[&str]) {
    let Ok(program) = fsx::current_exe() else { return };
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    sys_process::detach(&mut command);
    let _ = command.spawn();
}
