//! Starts processes that outlive this one and do not inherit its descriptors.

use std::process::{Command, Stdio};

use super::remote;
use super::task::Task;
use crate::cargo::command;
use crate::fsx::{self, sys_process};
use crate::model::RootKind;

/// Starts a process that waits for the end of this run of cargo and then makes a snapshot of its build, unless an
/// earlier call of this cargo has started one.
pub(super) fn note_in_background(task: &impl Task) {
    let Some(began) = sys_process::caller_began() else { return };
    let layout = task.common().store.layout();
    let cargo = format!("{}-{began}", sys_process::caller());
    if !fsx::create_marker(&layout.awaited(&cargo)).unwrap_or(false) {
        return;
    }
    let Some(target) = task.common().roots.place(RootKind::Target) else { return };
    let Some(workspace) = remote::workspace(task) else { return };
    let Some(command) = sys_process::arguments_of_caller().and_then(|args| command::name(&args, task.common().env))
    else {
        return;
    };
    let workspace = workspace.to_string_lossy();
    let args = ["--cargo", &cargo, "--workspace", &workspace, "--build-dir", target, "--command", &command];
    start_in_background(&[&["note"], &args[..]].concat());
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
