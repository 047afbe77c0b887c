//! Verifies a hit, if the user sets `KACHE_VERIFY=hits`: rustc runs anyway, and kache compares its result with the
//! entry.
//!
//! Cargo gets the fresh result, including the exit status, and the entry stays as it is. A difference means that an
//! input is missing from the input set, that the store is damaged, or that the build of this crate is not reproducible.
//! kache cannot distinguish the three; the user has to.

use std::path::Path;

use super::call::Call;
use super::delivered::after_delivery;
use super::entry_hit::EntryHit;
use super::report::EventReporter;
use super::task::{Labels, RUN_KIND, Task};
use super::{bypass, declared, incremental};
use crate::cargo::unit_dir::unit_id;
use crate::config::{Config, Verify};
use crate::events::Event;
use crate::fsx::{self, Stamp, compare, sys_process};
use crate::keys::{record, validate};
use crate::model::{Digest, HitSource, MissReason, Outcome, Stored};
use crate::restore::messages;
use crate::restore::plan::{RestorePlan, RestoreStep};
use crate::rustc::spawn::{self, ProgramOutput, ReadUntil};
use crate::store::{Entry, Message, Output, Stamps};

/// Whether to verify this hit: the same for all calls for the unit from one cargo.
pub(super) fn is_drawn(task: &impl Task) -> bool {
    if !verifies(task.common().config) {
        return false;
    }
    let cargo = format!("{}-{}", sys_process::caller(), sys_process::caller_began().unwrap_or_default());
    let Labels { unit, emit, .. } = task.labels();
    is_drawn_for(task.common().config, &cargo, &unit, emit == RUN_KIND)
}

/// Whether the settings ask for verification.
pub(super) fn verifies(config: &Config) -> bool {
    config.verify.value == Verify::Hits
}

/// Whether to verify a hit of a unit (`<name>-<unit id>`) for the cargo with this name ([`super::background::Cargo`]).
pub(super) fn is_drawn_for(config: &Config, cargo: &str, unit: &str, is_run: bool) -> bool {
    let id = unit_id(unit).unwrap_or(unit);
    let random = Digest::of(format!("{cargo} {id} {is_run}").as_bytes());
    let seed = random.as_bytes().iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    verifies(config) && config.verify_rate.value.takes(seed)
}

/// Compiles as a miss would, compares, and ends with rustc's status. Returns only if rustc cannot be started.
pub(super) fn verify(call: &Call<'_>, hit: &EntryHit, plan: &RestorePlan, report: &EventReporter) {
    bypass::unlink_shared(&call.invocation);
    incremental::mark_shared(&call.invocation);
    // Not under the observer: its effects on the outputs should show as differences.
    let Ok(sessions) = fsx::Temp::dir() else { return };
    let args = call.verify_args(sessions.path());
    let command = spawn::command(&call.chain.program, &args, &call.invocation.cwd, &[]);
    let Ok(ran) = spawn::run(command, ReadUntil::ShortlyAfterExit, None) else { return };
    drop(sessions);
    declared::extend_dep_info(call);
    let event = after_delivery(|| verified_event(call, hit, plan, &ran));
    after_delivery(|| {
        report.write(event.unwrap_or_else(|| differs(call, "panic".to_owned())));
        call.common.store.touch_entry(hit.record.key);
    });
    sys_process::exit_like(ran.status)
}

fn verified_event(call: &Call<'_>, hit: &EntryHit, plan: &RestorePlan, ran: &ProgramOutput) -> Event {
    let differences = differences(call, &hit.entry, plan, ran);
    // If an input was edited meanwhile, rustc compiled something else, and a difference proves nothing.
    let context = call.context();
    let still_holds = || {
        let declared = call.common.declared.as_ref().is_none_or(|declared| declared.still_holds(context).is_ok());
        declared
            && validate::holds(&hit.record.inputs, context).is_ok()
            && record::recheck(&call.common.lookup, context).is_ok()
    };
    let mut event = if differences.is_empty() {
        EventReporter::event(Outcome::Hit(HitSource::Verified), call)
    } else if still_holds() {
        differs(call, differences.join("; "))
    } else {
        let mut event = EventReporter::event(Outcome::Miss(MissReason::InputChanged), call);
        event.stored = Some(Stored::InputChanged);
        "while the hit was verified".clone_into(&mut event.detail);
        event
    };
    event.key = hit.record.key.0.hex();
    event
}

fn differs(call: &Call<'_>, detail: String) -> Event {
    Event { detail, ..EventReporter::event(Outcome::Hit(HitSource::Differs), call) }
}

/// Describes every difference between the compile and the entry.
fn differences(call: &Call<'_>, entry: &Entry, plan: &RestorePlan, ran: &ProgramOutput) -> Vec<String> {
    if !ran.status.success() {
        return vec![format!("rustc failed ({})", ran.status)];
    }
    let out_dir = &call.invocation.out_dir;
    let is_incremental = call.invocation.incremental.is_some();
    let is_same = |step: &RestoreStep| is_incremental && differ_by_names_of_objects(&step.source, &step.target);
    let steps = plan.steps.iter().zip(&entry.outputs);
    let outputs = steps.filter_map(|(step, output)| of_output(step, output).filter(|_| !is_same(step)));
    let (path, text) = &plan.dep_info;
    let dep_info = match fsx::read(path) {
        Ok(fresh) => of_bytes(&entry.dep_info_name, text.as_bytes(), &fresh),
        Err(error) => Some(error.to_string()),
    };
    let stream = |name, stored: &[Message], fresh: &[u8]| of_bytes(name, &messages::replay(stored, out_dir), fresh);
    let streams = [stream("stdout", &entry.stdout, &ran.stdout), stream("stderr", &entry.stderr, &ran.stderr)];
    outputs.chain(dep_info).chain(streams.into_iter().flatten()).collect()
}

/// How the output that rustc has just written differs from the blob.
fn of_output(step: &RestoreStep, output: &Output) -> Option<String> {
    let name = &output.name;
    let fresh = match Stamp::of(&step.target) {
        Ok(stamp) => stamp,
        Err(error) => return Some(error.to_string()),
    };
    if (fresh.mode & 0o111 != 0) != output.executable {
        return Some(format!("{name}: mode {:o} now", fresh.mode & 0o777));
    }
    match compare::first_difference(&step.source, &step.target) {
        Ok(None) => None,
        Ok(Some(at)) => Some(sizes(name, output.size, fresh.size, at)),
        // A garbage collection may have removed the blob meanwhile, but the entry still has its digest.
        Err(_) if unmemoised(&step.target) == Some(output.blob.0) => None,
        Err(error) => Some(error.to_string()),
    }
}

/// Whether two libraries differ only in the random part that an incremental compile puts into the names of its object
/// files: `<unit>.<codegen unit>.<random>.rcgu.o` (`rustc_session::Session::invocation_temp`).
fn differ_by_names_of_objects(one: &Path, other: &Path) -> bool {
    let without_random = |path: &Path| {
        let mut bytes = fsx::read(path).ok()?;
        let ends: Vec<usize> = memchr::memmem::find_iter(&bytes, b".rcgu.o").collect();
        for end in ends {
            let start = bytes[..end].iter().rposition(|byte| !byte.is_ascii_alphanumeric()).map_or(0, |at| at + 1);
            bytes[start..end].fill(b'x');
        }
        bytes.starts_with(b"!<arch>\n").then_some(bytes)
    };
    let (one, other) = (without_random(one), without_random(other));
    one.is_some() && one == other
}

fn unmemoised(path: &Path) -> Option<Digest> {
    Stamps::open(Path::new("/dev/null")).content(path).ok().map(|content| content.digest)
}

fn of_bytes(name: &str, stored: &[u8], fresh: &[u8]) -> Option<String> {
    let at = compare::first_difference_of(stored, fresh)?;
    Some(sizes(name, stored.len() as u64, fresh.len() as u64, at))
}

fn sizes(name: &str, stored: u64, fresh: u64, at: u64) -> String {
    format!("{name}: {stored} bytes in the store, {fresh} now, first difference at byte {at}")
}
