//! Storing what a compile made: blobs, then the entry, then the manifest.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::call::{self, Call};
use super::incremental;
use super::task::Task;
use crate::fsx::clock;
use crate::fsx::{self, Ladder, Stamp, sweep};
use crate::keys::observed::{self, Known, Observed};
use crate::keys::record::{self, NotStored};
use crate::keys::scan::Scan;
use crate::keys::times::Times;
use crate::keys::{Start, Subject, hidden, written};
use crate::model::{ArtifactKind, BlobId, DepInfo, EmitKind, EntryKey, Input, InputSet, Stored};
use crate::observe::{Fact, Seen, Trace, What};
use crate::restore::{messages, plan};
use crate::rustc::spawn::Ran;
use crate::rustc::{dep_info, notices};
use crate::store::stamps::Content;
use crate::store::{Entry, Message, Output, gc};

/// A compile that has ended well.
pub(super) struct Compiled<'a> {
    pub(super) ran: &'a Ran,
    /// What was observed of it.
    pub(super) trace: Option<Trace>,
    /// What was noted before rustc began.
    pub(super) start: Start,
    /// How long it took.
    pub(super) cost_ms: f64,
}

/// What the store got.
pub(super) struct Published {
    pub(super) key: EntryKey,
    /// Bytes that are new to it.
    pub(super) bytes: u64,
}

/// Records and stores. A panic in here is an outcome like any other failure.
pub(super) fn publish(call: &Call<'_>, compiled: &Compiled<'_>) -> Result<Published, NotStored> {
    let caught = catch_unwind(AssertUnwindSafe(|| record_and_store(call, compiled)));
    caught.unwrap_or_else(|_| Err(NotStored(Stored::StoreFailed, "panic".into())))
}

fn record_and_store(call: &Call<'_>, compiled: &Compiled<'_>) -> Result<Published, NotStored> {
    let context = call.context();
    record::recheck(&call.common.lookup, context)?;
    if let Some(declared) = &call.common.declared {
        declared.recheck(context, compiled.start.time)?;
    }
    let mut outputs = announced_outputs(call, &compiled.ran.stderr)?;
    let info = read_dep_info(call)?;
    let mut set = InputSet { inputs: record::inputs(&info, context, &compiled.start, call.observed)? };
    let mut observed = Observed::default();
    if let Some(seen) = seen(call, compiled)? {
        outputs.extend(outputs_beside(&outputs, &seen, call)?);
        observed = observed_inputs(&seen, &outputs, &info, (call, &compiled.start))?;
    }
    set.inputs.append(&mut observed.inputs);
    let unplaceable = || NotStored(Stored::MessagesUnplaceable, String::new());
    let out_dir = &call.invocation.out_dir;
    let stdout = messages::record(&compiled.ran.stdout, out_dir).ok_or_else(unplaceable)?;
    let stderr = messages::record(&compiled.ran.stderr, out_dir).ok_or_else(unplaceable)?;

    let mut scan =
        Scan::new(&call.common.roots).with_times(Times::new(observed.times.iter().map(|(_, seconds)| *seconds)));
    let produced = scan_outputs(outputs, &mut scan)?;
    // Where rustc is observed, the archives that it takes from are among what it read.
    for file in produced.iter().filter(|_| !call.observed) {
        let Source::File(path, _) = &file.source else { continue };
        let archive = (path.as_path(), file.output.kind);
        set.inputs.extend(record::archive_inputs(
            archive,
            (&call.invocation, &call.common.lookup),
            &call.common.compiler.sysroot,
            context,
        )?);
    }
    scan_messages(&[&stdout, &stderr], &mut scan);
    hidden::pin(&info, &call.invocation, context, &mut scan);
    call.common.declared.iter().for_each(|declared| declared.pin(context, &mut scan));
    let invocation = &call.invocation;
    if call::has_own_mapping(invocation) || call::wants_coverage(invocation) || call::wants_rpath(invocation) {
        scan.pin_all();
    }
    set.inputs.extend(observed.times.into_iter().filter(|(_, at)| scan.holds_time(*at)).map(|(input, _)| input));
    set.inputs.extend(scan.pinned().into_iter().map(|(kind, place)| Input::Pinned(kind, place)));
    if has_diagnostics(&stderr) {
        set.inputs.push(Input::DiagnosticWidth(call.invocation.diagnostic_width.clone()));
    }
    let outputs = produced.iter().map(|file| file.output.clone()).collect();
    let entry = entry(call, compiled, outputs, &info, (stdout, stderr));
    Ok(store(call, &set, &entry, &produced, &call.invocation.out_dir)?)
}

/// What was observed; `None` if nothing is to be.
fn seen(call: &Call<'_>, compiled: &Compiled<'_>) -> Result<Option<Seen>, NotStored> {
    let unobserved = |why: &str| NotStored(Stored::Unobserved, why.to_owned());
    match &compiled.trace {
        None if call.observed => Err(unobserved("no trace could be begun")),
        None => Ok(None),
        Some(trace) => trace.read(compiled.ran.process).map(Some).map_err(|torn| unobserved(&torn.to_string())),
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
    let is_private = |fact: &&Fact| matches!(&fact.what, What::Read(path) if incremental::is_private(Path::new(path)));
    if call.invocation.is_linked() && seen.facts.iter().any(|fact| is_private(&fact)) {
        return Err(NotStored(Stored::PrivateInput, String::new()));
    }
    let paths: Vec<PathBuf> = outputs.iter().map(|(path, _)| path.clone()).collect();
    written::side_effects(seen, &paths, known.subject, call.context(), start)?;
    observed::inputs(seen, known)
}

/// What the compile left behind under this unit's name without announcing it: its debug info.
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

/// The files that rustc announced, which must be what was asked for.
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
    // Cargo asks for `lib` and `staticlib` at once: as many links as crate types.
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

/// An output on its way into the store.
pub(super) struct Produced {
    pub(super) output: Output,
    pub(super) source: Source,
}

/// Where an output's bytes are.
pub(super) enum Source {
    /// In a file that was read under this stamp.
    File(PathBuf, Stamp),
    /// Here: they are not those of the file.
    Bytes(Vec<u8>),
}

fn scan_outputs(announced: Vec<(PathBuf, ArtifactKind)>, scan: &mut Scan<'_>) -> Result<Vec<Produced>, NotStored> {
    let mut produced = Vec::with_capacity(announced.len());
    for (path, kind) in announced {
        let Content { digest, stamp } = scan.file(&path)?;
        // Only the metadata of what has none (a checked binary) is empty; anything else was cut short.
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

/// Whether anything but notices was said. A notice leaves the text around its path: JSON and a line break.
fn has_diagnostics(stderr: &[Message]) -> bool {
    let is_frame = |line: &str| {
        line.is_empty() || line.starts_with("{\"$message_type\":\"artifact\"") || line.starts_with("\",\"emit\":")
    };
    stderr.iter().any(|message| match message {
        Message::Raw(text) => !text.lines().all(is_frame),
        Message::Artifact(_) | Message::Text(_) => false,
    })
}

fn entry(
    call: &Call<'_>,
    compiled: &Compiled<'_>,
    outputs: Vec<Output>,
    info: &DepInfo<String>,
    (stdout, stderr): (Vec<Message>, Vec<Message>),
) -> Entry {
    let invocation = &call.invocation;
    let labels = call.labels();
    let dep_info_name = invocation.stem() + ".d";
    let tokens = DepInfo {
        targets: info.targets.iter().map(|text| call.common.roots.tokenise(text)).collect(),
        files: info.files.iter().map(|text| call.common.roots.tokenise(text)).collect(),
        env: info
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.as_ref().map(|text| call.common.roots.tokenise(text))))
            .collect(),
    };
    Entry {
        crate_name: invocation.crate_name.clone(),
        package: labels.package,
        kind: labels.kind,
        emit: labels.emit.to_owned(),
        outputs,
        tree: None,
        dep_info_name,
        dep_info: tokens,
        stdout,
        stderr,
        cost_ms: compiled.cost_ms,
        created: clock::now().as_millis(),
        boot: fsx::boot_id(),
        pulled: false,
    }
}

/// Stores an entry: its blobs, itself, and the record that makes it visible. `dir` is where a killed restore leaves temps.
pub(super) fn store(
    task: &impl Task,
    set: &InputSet,
    entry: &Entry,
    produced: &[Produced],
    dir: &Path,
) -> fsx::Result<Published> {
    let (store, lookup) = (&task.common().store, task.common().lookup.key);
    let key = set.entry_key(lookup);
    let may_share = plan::shares_inodes(entry);
    let mut ladder = Ladder::default();
    let mut bytes = 0;
    store.mark()?;
    for Produced { output, source } in produced {
        let share = may_share && output.kind.may_share_inode();
        bytes += match source {
            Source::File(path, stamp) => {
                let new = store.adopt_blob(&mut ladder, (path, *stamp), output.blob, share)?;
                store.stamps().remember_own(path, output.blob.0, |now| now.same_file(stamp));
                new
            }
            Source::Bytes(bytes) => store.put_blob(output.blob, bytes)?,
        };
    }
    store.put_entry(key, entry)?;
    store.put_set(lookup, set)?;
    let now = clock::now();
    if gc::is_due(store, now) {
        super::report::collect_in_background();
        // A collection does not know the target directories.
        let _ = sweep::sweep(dir, now);
    }
    Ok(Published { key, bytes })
}
