//! The plan for a miss with `-C incremental`, and the arguments that follow from it. `incremental` chooses the plan.

use std::ffi::OsString;
use std::path::Path;

/// How a miss handles `-C incremental`.
#[derive(Clone, Debug, Default)]
pub(super) struct IncrementalPlan {
    /// Whether kache removes the flag.
    pub(super) removes_flag: bool,
    /// Whether rustc names its working directory by the alias.
    pub(super) uses_alias: bool,
    /// Whether rustc will find a session.
    pub(super) has_session: bool,
}

/// Returns the arguments with `dir` as the directory of sessions.
pub(super) fn with_session_dir(argv: &[OsString], dir: &Path) -> Vec<OsString> {
    let mut args = without_incremental(argv);
    let mut flag = OsString::from("-Cincremental=");
    flag.push(dir);
    args.push(flag);
    args
}

/// Whether `-C incremental` is on the command line itself, where kache can remove it, and not in an argument file.
pub(super) fn can_remove(argv: &[OsString]) -> bool {
    without_incremental(argv).len() < argv.len()
}

/// The arguments without `-C incremental`.
pub(super) fn without_incremental(argv: &[OsString]) -> Vec<OsString> {
    let is_it = |text: &str| text.starts_with("incremental=");
    let mut kept: Vec<OsString> = Vec::with_capacity(argv.len());
    for arg in argv {
        let text = arg.to_str().unwrap_or_default();
        let before = kept.last().and_then(|arg| arg.to_str());
        if is_it(text) && matches!(before, Some("-C" | "--codegen")) {
            kept.pop();
            continue;
        }
        let attached = text.strip_prefix("-C").or_else(|| text.strip_prefix("--codegen="));
        if !attached.is_some_and(is_it) {
            kept.push(arg.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n01_every_spelling_is_removed() {
        let args = |text: &str| text.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        for spelling in
            ["-C incremental=/x", "-Cincremental=/x", "--codegen incremental=/x", "--codegen=incremental=/x"]
        {
            assert_eq!(without_incremental(&args(&format!("-C a=1 {spelling} b"))), args("-C a=1 b"), "{spelling}");
        }
        assert!(!can_remove(&args("-C a=1 incremental=/x")));
    }
}
