//! Records a compile that has ended: its inputs, its outputs and its messages, before the outputs are scanned.

use std::path::{Path, PathBuf};

use super::call::{self, Call};
use super::incremental_plan::IncrementalPlan;
use super::origin;
use super::task::Task;
use crate::fsx::{self, clock};
use crate::keys::observed::{self, ObservedInputs};
use crate::keys::scan::Scan;
use crate::keys::{NotStored, ObservedContext, ObservedSubject, StartSnapshot, record, side_effects, unscannable};
use crate::model::{ArtifactKind, DepInfo, EmitKind, Input, Stored};
use crate::observe::{Seen, Trace};
use crate::restore::messages;
use crate::rustc::spawn::ProgramOutput;
use crate::rustc::{dep_info, notices};
use crate::store::{Entry, Message};

/// A compile that has ended.
pub(super) struct FinishedCompile<'a> {
    pub(super) ran: &'a ProgramOutput,
    /// The observer's trace. `None` if the compile was not observed.
    pub(super) trace: Option<Trace>,
    /// The state that was noted before rustc started.
    pub(super) start: StartSnapshot,
    /// Duration of the compile, in milliseconds.
    pub(super) cost_ms: f64,
    /// How the compile handled `-C incremental`.
    pub(super) incremental_plan: &'a IncrementalPlan,
}

/// A compile before its outputs are scanned.
pub(super) struct RecordedCompile {
    /// Inputs that the compile read.
    pub(super) inputs: Vec<Input>,
    /// Times that a plugin could see. They are inputs if the outputs contain them.
    pub(super) times: Vec<(Input, i64)>,
    pub(super) outputs: Vec<(PathBuf, ArtifactKind)>,
    info: DepInfo<String>,
    stdout: Vec<Message>,
    stderr: Vec<Message>,
}

impl RecordedCompile {
    /// Pins the roots that messages contain, and those that a scan of the outputs cannot find.
    pub(super) fn pin_unscannable(&self, call: &Call<'_>, scan: &mut Scan<'_>) {
        let (context, invocation) = (call.context(), &call.invocation);
        scan_messages(&[&self.stdout, &self.stderr], scan);
        unscannable::pin_roots(&self.info, invocation, context, scan);
        call.common.declared.iter().for_each(|declared| declared.pin(context, scan));
        if call::has_own_mapping(invocation) || call::wants_coverage(invocation) || call::wants_rpath(invocation) {
            scan.pin_all();
        }
    }
}

/// Records the inputs, outputs and messages of a compile. `seen`: what the trace shows, if the call is observed.
pub(super) fn record(
    call: &Call<'_>,
    finished: &FinishedCompile<'_>,
    seen: Option<Seen>,
) -> Result<RecordedCompile, NotStored> {
    let context = call.context();
    record::recheck(&call.common.lookup, context)?;
    if let Some(declared) = &call.common.declared {
        declared.recheck(context, finished.start.time)?;
    }
    let mut outputs = announced_outputs(call, &finished.ran.stderr)?;
    let info = read_dep_info(call)?;
    let mut inputs = record::inputs(&info, context, &finished.start, call.observed)?;
    let mut observed = ObservedInputs::default();
    if let Some(seen) = seen {
        outputs.extend(outputs_beside(&outputs, &seen, call)?);
        observed = observed_inputs(call, &finished.start, &seen, &outputs, &info)?;
    }
    inputs.append(&mut observed.inputs);
    let unplaceable = || NotStored(Stored::MessagesUnplaceable, String::new());
    let out_dir = &call.invocation.out_dir;
    let stdout = messages::record(&finished.ran.stdout, out_dir).ok_or_else(unplaceable)?;
    let stderr = messages::record(&finished.ran.stderr, out_dir).ok_or_else(unplaceable)?;
    if has_diagnostics(&stderr) {
        inputs.push(Input::DiagnosticWidth(call.invocation.diagnostic_width.clone()));
    }
    Ok(RecordedCompile { inputs, times: observed.times, outputs, info, stdout, stderr })
}

/// Reads the trace. `None` if the call is not observed; an error if it should have been.
pub(super) fn seen(call: &Call<'_>, finished: &FinishedCompile<'_>) -> Result<Option<Seen>, NotStored> {
    let unobserved = |why: &str| NotStored(Stored::Unobserved, why.to_owned());
    match &finished.trace {
        None if call.observed => Err(unobserved("no trace could be begun")),
        None => Ok(None),
        Some(trace) => call
            .common
            .seen(trace, finished.ran.process, true)
            .map(Some)
            .map_err(|error| unobserved(&error.to_string())),
    }
}

/// Returns the inputs that the trace shows. Fails if the compile left side effects.
fn observed_inputs(
    call: &Call<'_>,
    start: &StartSnapshot,
    seen: &Seen,
    outputs: &[(PathBuf, ArtifactKind)],
    info: &DepInfo<String>,
) -> Result<ObservedInputs, NotStored> {
    let observed_context = ObservedContext {
        subject: ObservedSubject::Compile(&call.invocation),
        context: call.context(),
        lookup: &call.common.lookup,
        info: Some(info),
        texts: &[],
        sysroot: &call.common.compiler.sysroot,
        start,
    };
    let paths: Vec<PathBuf> = outputs.iter().map(|(path, _)| path.clone()).collect();
    side_effects::check(seen, &paths, observed_context.subject, call.context(), start)?;
    observed::inputs(seen, observed_context)
}

/// Finds outputs that the compile wrote into the output directory without announcing them: debug info. An unknown file
/// there is an error.
fn outputs_beside(
    announced: &[(PathBuf, ArtifactKind)],
    seen: &Seen,
    call: &Call<'_>,
) -> Result<Vec<(PathBuf, ArtifactKind)>, NotStored> {
    let dep_info = call.invocation.dep_info_path();
    let mut beside = Vec::new();
    for path in seen.written.keys().map(PathBuf::from) {
        let is_known = path == dep_info || announced.iter().any(|(known, _)| *known == path);
        if is_known || path.parent() != Some(&call.invocation.out_dir) || !fsx::exists(&path) {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let unknown = || NotStored(Stored::OutputsUnknown, path.display().to_string());
        beside.push((path.clone(), ArtifactKind::beside(name).ok_or_else(unknown)?));
    }
    Ok(beside)
}

/// The files that rustc announced, other than dep-info. An error if they are not exactly those that the arguments ask
/// for.
fn announced_outputs(call: &Call<'_>, stderr: &[u8]) -> Result<Vec<(PathBuf, ArtifactKind)>, NotStored> {
    let unknown = |detail: String| NotStored(Stored::OutputsUnknown, detail);
    let text = String::from_utf8_lossy(stderr);
    let (mut seen, mut outputs) = (Vec::new(), Vec::new());
    for notice in text.lines().filter_map(notices::parse) {
        let name =
            messages::output_name(&notice, &call.invocation.out_dir).ok_or_else(|| unknown(notice.path.clone()))?;
        let emit = notice.emit.ok_or_else(|| unknown(notice.path.clone()))?;
        seen.push(emit);
        if emit != EmitKind::DepInfo {
            let kind = ArtifactKind::of(emit, name).ok_or_else(|| unknown(notice.path.clone()))?;
            outputs.push((call.invocation.out_dir.join(name), kind));
        }
    }
    // Cargo requests `lib` and `staticlib` in one call: rustc announces one link per crate type.
    for emit in &call.invocation.emit {
        let expected = if *emit == EmitKind::Link { call.invocation.crate_types.len() } else { 1 };
        if seen.iter().filter(|kind| *kind == emit).count() != expected {
            return Err(unknown(format!("{emit:?}")));
        }
    }
    Ok(outputs)
}

fn read_dep_info(call: &Call<'_>) -> Result<DepInfo<String>, NotStored> {
    let unreadable = |detail: String| NotStored(Stored::DepInfoUnreadable, detail);
    let text = fsx::read_to_string(&call.invocation.dep_info_path()).map_err(|error| unreadable(error.to_string()))?;
    let info = dep_info::parse(&text).ok_or_else(|| unreadable("not as rustc writes it".into()))?;
    let is_ours = |target: &String| Path::new(target).parent() == Some(&call.invocation.out_dir);
    if info.files.is_empty() || !info.targets.iter().all(is_ours) {
        return Err(unreadable("other outputs than these".into()));
    }
    Ok(info)
}

fn scan_messages(streams: &[&Vec<Message>], scan: &mut Scan<'_>) {
    for message in streams.iter().copied().flatten() {
        if let Message::Raw(text) = message {
            scan.bytes(text.as_bytes());
        }
    }
}

/// Whether rustc printed anything but notices. A notice leaves the text around its path: JSON and a line break.
fn has_diagnostics(stderr: &[Message]) -> bool {
    let is_frame = |line: &str| {
        line.is_empty() || line.starts_with("{\"$message_type\":\"artifact\"") || line.starts_with("\",\"emit\":")
    };
    stderr.iter().any(|message| match message {
        Message::Raw(text) => !text.lines().all(is_frame),
        Message::Artifact(_) | Message::Text(_) => false,
    })
}

/// The entry, without its outputs.
pub(super) fn entry(call: &Call<'_>, finished: &FinishedCompile<'_>, recorded: &RecordedCompile) -> Entry {
    let (invocation, info) = (&call.invocation, &recorded.info);
    let labels = call.labels();
    let tokenise = |text: &String| call.common.roots.tokenise(text);
    let dep_info = DepInfo {
        targets: info.targets.iter().map(tokenise).collect(),
        files: info.files.iter().map(tokenise).collect(),
        env: info.env.iter().map(|(name, value)| (name.clone(), value.as_ref().map(tokenise))).collect(),
    };
    Entry {
        crate_name: invocation.crate_name.clone(),
        package: labels.package,
        kind: labels.kind,
        emit: labels.emit.to_owned(),
        outputs: Vec::new(),
        tree: None,
        dep_info_name: invocation.stem() + ".d",
        dep_info,
        stdout: recorded.stdout.clone(),
        stderr: recorded.stderr.clone(),
        cost_ms: finished.cost_ms,
        created: clock::now().as_millis(),
        boot: fsx::boot_id(),
        pulled: false,
        origin: Some(origin::of(call, &recorded.inputs)),
    }
}
