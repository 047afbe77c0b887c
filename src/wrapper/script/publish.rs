//! Stores a run: its inputs from the trace, its outputs from `OUT_DIR` and both streams.

use std::path::{Path, PathBuf};

use super::outputs::{MAX_TEXT_BYTES, RunOutputs};
use super::run::ScriptRun;
use crate::fsx;
use crate::fsx::clock;
use crate::keys::escaped_roots::EscapedRoots;
use crate::keys::observed::{self, ObservedInputs};
use crate::keys::scan::Scan;
use crate::keys::times::Times;
use crate::keys::{NotStored, ObservedContext, ObservedSubject, Roots, StartSnapshot, record, script, side_effects};
use crate::model::{ArtifactKind, BlobId, DepInfo, Digest, Input, InputSet, Stored};
use crate::observe::Seen;
use crate::rustc::linked;
use crate::rustc::spawn::ProgramOutput;
use crate::script::directives;
use crate::store::stamps::StampedDigest;
use crate::store::{Entry, Message, Origin, Output};
use crate::wrapper::delivered::after_delivery;
use crate::wrapper::origin;
use crate::wrapper::store_entry::{self, OutputSource, ProducedOutput, StoredEntry};
use crate::wrapper::task::Task;

/// A run that has ended.
pub(super) struct FinishedRun<'a> {
    pub(super) ran: &'a ProgramOutput,
    /// The state that was noted before the script started.
    pub(super) start: StartSnapshot,
    /// Duration of the run, in milliseconds.
    pub(super) cost_ms: f64,
}

/// Records the inputs and outputs of a successful run and stores them. A panic is handled like any other failure.
pub(super) fn publish(run: &ScriptRun<'_>, seen: &Seen, finished: &FinishedRun<'_>) -> Result<StoredEntry, NotStored> {
    after_delivery(|| record_and_store(run, seen, finished))
        .unwrap_or_else(|| Err(NotStored(Stored::StoreFailed, "panic".into())))
}

fn record_and_store(run: &ScriptRun<'_>, seen: &Seen, finished: &FinishedRun<'_>) -> Result<StoredEntry, NotStored> {
    let (context, subject) = (run.context(), ObservedSubject::Run(&run.script));
    record::recheck(&run.common.lookup, context)?;
    if let Some(declared) = &run.common.declared {
        declared.recheck(context, finished.start.time)?;
    }
    check_directives(run, &finished.ran.stdout)?;
    let text_roots = script::text_roots(&run.common.roots);
    let outputs = RunOutputs::read(&run.script.out_dir, [&finished.ran.stdout, &finished.ran.stderr], &text_roots)?;
    side_effects::check(seen, &[], subject, context, &finished.start)?;

    let texts: Vec<String> = outputs.texts().filter_map(|text| run.common.roots.expand(text)).collect();
    let observed = observed_inputs(run, seen, finished, &texts)?;

    let mut scan =
        Scan::new(&run.common.roots).with_times(Times::new(observed.times.iter().map(|(_, seconds)| *seconds)));
    let produced = scan_files(&outputs, &mut scan, run)?;
    scan_messages(&outputs, &mut scan);
    // Names are restored without changes, so roots in them are pinned.
    outputs.names().for_each(|name| scan.name(name));
    pin_escaped(&outputs, [&finished.ran.stdout, &finished.ran.stderr], &text_roots, &mut scan)?;
    pin_named_by_inputs(&outputs, &observed.inputs, &mut scan, run)?;
    run.common.declared.iter().for_each(|declared| declared.pin(context, &mut scan));
    let mut set = InputSet { inputs: observed.inputs };
    set.inputs.extend(observed.times.into_iter().filter(|(_, at)| scan.holds_time(*at)).map(|(input, _)| input));
    set.inputs.extend(scan.pinned().into_iter().map(|(kind, place)| Input::Pinned(kind, place)));
    let entry = entry(run, finished, &set, outputs, &produced);
    // A killed restore leaves its tree next to OUT_DIR.
    let dir = run.script.out_dir.parent().unwrap_or(Path::new("/"));
    store_entry::store(run, &set, &entry, &produced, dir)
}

/// Returns the inputs that the trace shows. `texts`: all that names the checkout in the outputs.
pub(super) fn observed_inputs(
    run: &ScriptRun<'_>,
    seen: &Seen,
    finished: &FinishedRun<'_>,
    texts: &[String],
) -> Result<ObservedInputs, NotStored> {
    let observed_context = ObservedContext {
        subject: ObservedSubject::Run(&run.script),
        context: run.context(),
        lookup: &run.common.lookup,
        info: None,
        texts,
        sysroot: &run.common.compiler.sysroot,
        start: &finished.start,
    };
    observed::inputs(seen, observed_context)
}

/// Refuses a run whose directives make cargo run the script in every build.
fn check_directives(run: &ScriptRun<'_>, stdout: &[u8]) -> Result<(), NotStored> {
    let text = String::from_utf8_lossy(stdout);
    match directives::find_always_stale(&text, &run.script.cwd, &run.script.out_dir) {
        Some(path) => Err(NotStored(Stored::AlwaysRuns, path.display().to_string())),
        None => Ok(()),
    }
}

/// Hashes and scans all files. Texts with tokens are stored with the tokens.
fn scan_files(
    outputs: &RunOutputs,
    scan: &mut Scan<'_>,
    run: &ScriptRun<'_>,
) -> Result<Vec<ProducedOutput>, NotStored> {
    let left = fsx::new_file_mode(true);
    let mut produced = Vec::with_capacity(outputs.files.len());
    for file in &outputs.files {
        let mode = file.stamp.mode;
        let (kind, digest, size, source) = if let Some(text) = &file.text {
            let bytes = text.as_str().as_bytes().to_vec();
            scan.bytes(&bytes);
            (ArtifactKind::GeneratedText, Digest::of(&bytes), bytes.len() as u64, OutputSource::Bytes(bytes))
        } else {
            let StampedDigest { digest, stamp } = scan.file(&file.path)?;
            (ArtifactKind::Generated, digest, stamp.size, OutputSource::File(file.path.clone(), stamp))
        };
        let mut output = Output {
            name: file.name.clone(),
            kind,
            blob: BlobId(digest),
            size,
            executable: mode & 0o111 != 0,
            read_only: mode & 0o200 == 0,
            mode: None,
            needs_glibc: (kind == ArtifactKind::Generated).then(|| linked::glibc_requirement(&file.path)).flatten(),
        };
        let mode = mode & 0o777;
        output.mode = (mode != output.usual_mode() & left).then_some(mode);
        check_holds_nothing_of_the_build(&file.path, file.stamp.size, run)?;
        produced.push(ProducedOutput { output, source });
    }
    Ok(produced)
}

/// Refuses a file that contains the value of a jobserver variable, which differs in every build, or of `RUSTC_WRAPPER`.
fn check_holds_nothing_of_the_build(path: &Path, size: u64, run: &ScriptRun<'_>) -> Result<(), NotStored> {
    /// In bytes. Files that describe how something was built are smaller.
    const MAX_SEARCHED_BYTES: u64 = 1 << 20;
    if size > MAX_SEARCHED_BYTES {
        return Ok(());
    }
    match script::build_variable_in(&fsx::read(path)?, run.common.env) {
        Some(name) => Err(NotStored(Stored::OutDirUnsupported, format!("{} holds {name}", path.display()))),
        None => Ok(()),
    }
}

fn scan_messages(outputs: &RunOutputs, scan: &mut Scan<'_>) {
    for message in outputs.stdout.iter().chain(&outputs.stderr) {
        match message {
            Message::Raw(text) => scan.bytes(text.as_bytes()),
            Message::Text(text) => scan.bytes(text.as_str().as_bytes()),
            Message::Artifact(_) => {}
        }
    }
}

/// Pins the roots that texts name in an escaped spelling, because kache does not rewrite those.
fn pin_escaped(outputs: &RunOutputs, streams: [&[u8]; 2], roots: &Roots, scan: &mut Scan<'_>) -> Result<(), NotStored> {
    let escaped = EscapedRoots::new(roots);
    if escaped.is_empty() {
        return Ok(());
    }
    for stream in streams {
        escaped.found_in(stream).for_each(|kind| scan.pin(kind));
    }
    for file in outputs.files.iter().filter(|file| file.stamp.size <= MAX_TEXT_BYTES) {
        escaped.found_in(&fsx::read(&file.path)?).for_each(|kind| scan.pin(kind));
    }
    Ok(())
}

/// Pins the roots that texts name if the program or an input file names them, too. The path then comes from there, and
/// may be the same in another checkout.
fn pin_named_by_inputs(
    outputs: &RunOutputs,
    inputs: &[Input],
    scan: &mut Scan<'_>,
    run: &ScriptRun<'_>,
) -> Result<(), NotStored> {
    /// In bytes. Larger files are compilers and their libraries.
    const MAX_SCANNED_BYTES: u64 = 4 << 20;
    let named = outputs.named();
    if named.is_empty() {
        return Ok(());
    }
    let roots = Roots::new(named.iter().map(|kind| (*kind, run.common.roots.place(*kind).map(PathBuf::from))));
    let mut of_inputs = Scan::new(&roots);
    of_inputs.file(&run.script.program)?;
    for input in inputs {
        let Input::File(path, _) = input else { continue };
        let Some(path) = run.common.roots.expand(path).map(|path| run.script.cwd.join(path)) else { continue };
        if fsx::metadata(&path)?.len() <= MAX_SCANNED_BYTES {
            of_inputs.bytes(&fsx::read(&path)?);
        }
    }
    of_inputs.pinned().into_iter().for_each(|(kind, _)| scan.pin(kind));
    Ok(())
}

fn entry(
    run: &ScriptRun<'_>,
    finished: &FinishedRun<'_>,
    set: &InputSet,
    outputs: RunOutputs,
    produced: &[ProducedOutput],
) -> Entry {
    let labels = run.labels();
    Entry {
        crate_name: labels.crate_name,
        package: labels.package,
        kind: labels.kind,
        emit: labels.emit.to_owned(),
        outputs: produced.iter().map(|file| file.output.clone()).collect(),
        tree: Some(outputs.tree),
        dep_info_name: String::new(),
        dep_info: DepInfo { targets: Vec::new(), files: Vec::new(), env: Vec::new() },
        stdout: outputs.stdout,
        stderr: outputs.stderr,
        cost_ms: finished.cost_ms,
        created: clock::now().as_millis(),
        boot: fsx::boot_id(),
        pulled: false,
        origin: Some(Origin { told: origin::told(run, &finished.ran.stdout), ..origin::of(run, &set.inputs) }),
    }
}
