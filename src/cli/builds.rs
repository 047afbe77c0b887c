//! Finds the build that a command reports on: the last one of this workspace.

use super::context::CommandContext;
use crate::events::{Event, WholeBuild, build};
use crate::fsx;
use crate::remote::operations::workspace;

/// The events of the last build of the workspace around the current directory, else of the last build of all.
pub(super) fn last<'a>(cx: &CommandContext, events: &'a [Event]) -> Vec<&'a Event> {
    let target_dirs = workspace::target_dir_candidates(&fsx::current_dir().unwrap_or_default(), &cx.env);
    let here =
        build::last(events, |event| target_dirs.iter().any(|dir| std::path::Path::new(&event.target).starts_with(dir)));
    if here.is_empty() { build::last(events, |_| true) } else { here }
}

/// When the first of these events began and the last one ended, in milliseconds since 1970. `None` without events.
pub(super) fn period(events: &[&Event]) -> Option<(i64, i64)> {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of one process")]
    let began = events.iter().map(|event| event.at - event.ms as i64).min()?;
    let ended = events.iter().map(|event| event.at).max()?;
    Some((began, ended))
}

/// Whether kache restored units of the build with these events.
pub(super) fn is_part(restore: &WholeBuild, events: &[&Event]) -> bool {
    // The restore ends shortly after the last of its units.
    let is_then = || period(events).is_some_and(|(began, ended)| (began..ended + 1000).contains(&restore.at));
    events.first().is_some_and(|first| first.cargo_pid == restore.number && first.target == restore.target) && is_then()
}

/// The target directory of these events; empty if it is unknown.
pub(super) fn target<'a>(events: &[&'a Event]) -> &'a str {
    events.iter().map(|event| event.target.as_str()).find(|target| !target.is_empty()).unwrap_or_default()
}
