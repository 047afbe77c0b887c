//! Stores the result of a compile: first the blobs, then the entry, then the manifest.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::call::{self, Call};
use super::incremental::Approach;
use super::offer;
use super::task::Task;
use crate::fsx::clock;
use crate::fsx::{self, Ladder, Stamp, sweep};
use crate::keys::observed::{self, Known, Observed};
use crate::keys::record::{self, NotStored};
use crate::keys::scan::Scan;
use crate::keys::times::Times;
use crate::keys::{Start, Subject, hidden, written};
use crate::model::{ArtifactKind, BlobId, DepInfo, EmitKind, EntryKey, Input, InputSet, Stored};
use crate::observe::{Seen, Trace};
use crate::restore::{messages, plan};
use crate::rustc::spawn::ProgramOutput;
use crate::rustc::{dep_info, notices};
use crate::store::stamps::StampedDigest;
use crate::store::{Entry, Message, Output, gc, size_limit};

/// A compile that has ended.
pub(super) struct Compiled<'a> {
    pub(super) ran: &'a ProgramOutput,
    /// The observer's trace. `None` if the compile was not observed.
    pub(super) trace: Option<Trace>,
    /// The state that was noted before rustc started.
    pub(super) start: Start,
    /// Duration of the compile, in milliseconds.
    pub(super) cost_ms: f64,
    /// How the compile handled `-C incremental`.
    pub(super) approach: &'a Approach,
}

/// An entry that was stored.
pub(super) struct Published {
    pub(super) key: EntryKey,
    /// Size of its new blobs in bytes. Blobs that the store already had do not count.
    pub(super) bytes: u64,
}

/// Records the inputs and outputs of a successful compile and stores them. `private`: why the result is only offered. A
/// panic is handled like any other failure.
pub(super) fn publish(
    call: &Call<'_>,
    compiled: &Compiled<'_>,
    private: Option<Stored>,
) -> Result<Published, NotStored> {
    let caught = catch_unwind(AssertUnwindSafe(|| record_and_store(call, compiled, private)));
    caught.unwrap_or_else(|_| Err(NotStored(Stored::StoreFailed, "panic".into())))
}

fn record_and_store(call: &Call<'_>, compiled: &Compiled<'_>, private: Option<Stored>) -> Result<Published, NotStored> {
    let mut seen = seen(call, compiled)?;
    let built_on_session = seen.as_mut().is_some_and(|seen| compiled.approach.take_sessions(call, seen));
    let private = private.or(built_on_session.then_some(Stored::PrivateIncremental));
    if let Some(why) = private {
        // A result that cannot be recorded is not offered, but is private all the same.
        if seen.is_some() {
            let _ = record(call, compiled, seen).and_then(|recorded| {
                let entry = entry(call, compiled, &recorded);
                offer::offer(call, recorded, entry, compiled.approach.alias)
            });
        }
        return Err(NotStored(why, String::new()));
    }
    let recorded = record(call, compiled, seen)?;
    let entry = entry(call, compiled, &recorded);
    let (entry, set, produced) = read_outputs(call, compiled, recorded, entry)
        .inspect_err(|error| compiled.approach.give_up_alias(call, error))?;
    store(call, &set, &entry, &produced, &call.invocation.out_dir)
}

/// Hashes the outputs and scans them for roots and times, which completes the entry and its input set.
fn read_outputs(
    call: &Call<'_>,
    compiled: &Compiled<'_>,
    recorded: Recorded,
    entry: Entry,
) -> Result<(Entry, InputSet, Vec<Produced>), NotStored> {
    let times = Times::new(recorded.times.iter().map(|(_, seconds)| *seconds));
    let mut scan = Scan::new(&call.common.roots).with_times(times);
    recorded.pin_unseen(call, &mut scan);
    let produced = scan_outputs(recorded.outputs, &mut scan)?;
    if compiled.approach.alias && scan.holds_alias() {
        return Err(NotStored(Stored::HoldsAlias, String::new()));
    }
    let mut set = InputSet { inputs: recorded.inputs };
    // If rustc is observed, the trace already contains the archives that it read.
    for file in produced.iter().filter(|_| !call.observed) {
        let Source::File(path, _) = &file.source else { continue };
        let archive = (path.as_path(), file.output.kind);
        set.inputs.extend(record::archive_inputs(
            archive,
            (&call.invocation, &call.common.lookup),
            &call.common.compiler.sysroot,
            call.context(),
        )?);
    }
    set.inputs.extend(recorded.times.into_iter().filter(|(_, at)| scan.holds_time(*at)).map(|(input, _)| input));
    set.inputs.extend(scan.pinned().into_iter().map(|(kind, place)| Input::Pinned(kind, place)));
    let outputs = produced.iter().map(|file| file.output.clone()).collect();
    Ok((Entry { outputs, ..entry }, set, produced))
}

/// A result before its outputs are scanned.
pub(super) struct Recorded {
    /// Inputs that the compile read.
    pub(super) inputs: Vec<Input>,
    /// Times that a plugin could see. They are inputs if the outputs contain them.
    pub(super) times: Vec<(Input, i64)>,
    pub(super) outputs: Vec<(PathBuf, ArtifactKind)>,
    info: DepInfo<String>,
    stdout: Vec<Message>,
    stderr: Vec<Message>,
}

impl Recorded {
    /// Pins the roots that messages contain, and those that a scan of the outputs cannot find.
    pub(super) fn pin_unseen(&self, call: &Call<'_>, scan: &mut Scan<'_>) {
        let (context, invocation) = (call.context(), &call.invocation);
        scan_messages(&[&self.stdout, &self.stderr], scan);
        hidden::pin(&self.info, invocation, context, scan);
        call.common.declared.iter().for_each(|declared| declared.pin(context, scan));
        if call::has_own_mapping(invocation) || call::wants_coverage(invocation) || call::wants_rpath(invocation) {
            scan.pin_all();
        }
    }
}

fn record(call: &Call<'_>, compiled: &Compiled<'_>, seen: Option<Seen>) -> Result<Recorded, NotStored> {
    let context = call.context();
    record::recheck(&call.common.lookup, context)?;
    if let Some(declared) = &call.common.declared {
        declared.recheck(context, compiled.start.time)?;
    }
    let mut outputs = announced_outputs(call, &compiled.ran.stderr)?;
    let info = read_dep_info(call)?;
    let mut inputs = record::inputs(&info, context, &compiled.start, call.observed)?;
    let mut observed = Observed::default();
    if let Some(seen) = seen {
        outputs.extend(outputs_beside(&outputs, &seen, call)?);
        observed = observed_inputs(&seen, &outputs, &info, (call, &compiled.start))?;
    }
    inputs.append(&mut observed.inputs);
    let unplaceable = || NotStored(Stored::MessagesUnplaceable, String::new());
    let out_dir = &call.invocation.out_dir;
    let stdout = messages::record(&compiled.ran.stdout, out_dir).ok_or_else(unplaceable)?;
    let stderr = messages::record(&compiled.ran.stderr, out_dir).ok_or_else(unplaceable)?;
    if has_diagnostics(&stderr) {
        inputs.push(Input::DiagnosticWidth(call.invocation.diagnostic_width.clone()));
    }
    Ok(Recorded { inputs, times: observed.times, outputs, info, stdout, stderr })
}

/// Reads the trace. `None` if the call is not observed; an error if it should have been.
fn seen(call: &Call<'_>, compiled: &Compiled<'_>) -> Result<Option<Seen>, NotStored> {
    let unobserved = |why: &str| NotStored(Stored::Unobserved, why.to_owned());
    match &compiled.trace {
        None if call.observed => Err(unobserved("no trace could be begun")),
        None => Ok(None),
        Some(trace) => {
            call.common.seen(trace, compiled.ran.process, true).map(Some).map_err(|torn| unobserved(&torn.to_string()))
        }
    }
}

fn observed_inputs(
    seen: &Seen,
    outputs: &[(PathBuf, ArtifactKind)],
    info: &DepInfo<String>,
    (call, start): (&Call<'_>, &Start),
) -> Result<Observed, NotStored> {
    let known = Known {
        subject: Subject::Compile(&call.invocation),
        context: call.context(),
        lookup: &call.common.lookup,
        info: Some(info),
        texts: &[],
        sysroot: &call.common.compiler.sysroot,
        start,
    };
    let paths: Vec<PathBuf> = outputs.iter().map(|(path, _)| path.clone()).collect();
    written::side_effects(seen, &paths, known.subject, call.context(), start)?;
    observed::inputs(seen, known)
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

/// An output that is about to be stored.
pub(super) struct Produced {
    pub(super) output: Output,
    pub(super) source: Source,
}

/// Where the bytes of an output are.
pub(super) enum Source {
    /// In this file, which had this stamp when it was read.
    File(PathBuf, Stamp),
    /// Like `File`, but a target directory contains the file, too, so the store must not share its inode.
    Offered(PathBuf, Stamp),
    /// In memory, because they differ from those of the file.
    Bytes(Vec<u8>),
}

fn scan_outputs(announced: Vec<(PathBuf, ArtifactKind)>, scan: &mut Scan<'_>) -> Result<Vec<Produced>, NotStored> {
    let mut produced = Vec::with_capacity(announced.len());
    for (path, kind) in announced {
        let StampedDigest { digest, stamp } = scan.file(&path)?;
        // Metadata is empty if a unit has none (a checked binary), and debug info may be. Any other empty output was
        // truncated.
        if stamp.size == 0 && !matches!(kind, ArtifactKind::Rmeta | ArtifactKind::DebugInfo) {
            return Err(NotStored(Stored::OutputsUnknown, format!("{} is empty", path.display())));
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let executable = stamp.mode & 0o111 != 0;
        let output =
            Output { name, kind, blob: BlobId(digest), size: stamp.size, executable, read_only: false, mode: None };
        produced.push(Produced { output, source: Source::File(path, stamp) });
    }
    Ok(produced)
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
fn entry(call: &Call<'_>, compiled: &Compiled<'_>, recorded: &Recorded) -> Entry {
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
        cost_ms: compiled.cost_ms,
        created: clock::now().as_millis(),
        boot: fsx::boot_id(),
        pulled: false,
    }
}

/// Stores an entry: its blobs, then the entry itself, then the record that makes it visible. `dir` is the directory in
/// which a killed restore leaves temporary files.
pub(super) fn store(
    task: &impl Task,
    set: &InputSet,
    entry: &Entry,
    produced: &[Produced],
    dir: &Path,
) -> Result<Published, NotStored> {
    let (store, lookup) = (&task.common().store, task.common().lookup.key);
    if size_limit::is_full(store.layout().cache_dir()) {
        if gc::is_due_on_full_disk(store, clock::now()) {
            super::report::collect_in_background();
        }
        return Err(NotStored(Stored::DiskFull, String::new()));
    }
    let key = set.entry_key(lookup);
    let may_share = plan::shares_inodes(entry);
    let mut ladder = Ladder::default();
    let mut bytes = 0;
    store.mark_as_cache()?;
    for Produced { output, source } in produced {
        let share = may_share && output.kind.may_share_inode();
        bytes += match source {
            Source::File(path, stamp) => {
                let new = store.adopt_blob(&mut ladder, path, *stamp, output.blob, share)?;
                store.stamps().remember_own(path, output.blob.0, |now| now.is_same_file(stamp));
                new
            }
            Source::Offered(path, stamp) => store.adopt_blob(&mut ladder, path, *stamp, output.blob, false)?,
            Source::Bytes(bytes) => store.put_blob(output.blob, bytes)?,
        };
    }
    store.put_entry(key, entry)?;
    store.put_set(lookup, set)?;
    let now = clock::now();
    if gc::is_due(store, now) {
        super::report::collect_in_background();
        // A garbage collection does not know target directories, so leftovers there are swept here.
        let _ = sweep::sweep(dir, now);
    }
    Ok(Published { key, bytes })
}
