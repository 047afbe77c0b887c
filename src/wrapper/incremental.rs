//! Incremental compiles. A result is private if the compile continued a session or depends on a private result;
//! otherwise it is shared.
//!
//! `-C incremental` stays in the arguments from the first compile on, so that every edit finds a session. A restored
//! unit has no session, so the store keeps one of each unit (`store::sessions`) and kache puts it in place before the
//! first edit is compiled. If the trace of a compile that was planned as shared shows that rustc read a session, the
//! result is private. A marker next to private outputs records that they belong to one checkout. kache writes it before
//! rustc starts, because cargo starts dependents before rustc ends.
//!
//! If rustc is not observed, the first compile drops the flag and is shared. Edits keep the flag and are private.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::alias;
use super::call::Call;
use super::incremental_plan::IncrementalPlan;
use crate::fsx::clock::Time;
use crate::fsx::{self, Publish, clock};
use crate::keys::{KeyHasher, NotStored, lookup};
use crate::model::{Digest, SessionKey, Stored};
use crate::observe::{Fact, Observation, Seen};
use crate::rustc::Invocation;
use crate::store::offers::OfferName;
use crate::store::sessions::Session;

const MARKER_SUFFIX: &str = ".kache-private";

impl IncrementalPlan {
    /// Looks for a session, and puts the one from the store in place if the unit was restored. Does nothing for units
    /// without `-C incremental`.
    pub(super) fn choose(call: &Call<'_>) -> Self {
        let invocation = &call.invocation;
        let Some(root) = session_root(invocation) else { return Self::default() };
        if !call.observed {
            let has_session = has_outputs(invocation);
            return Self { removes_flag: !has_session, uses_alias: false, has_session };
        }
        let fits = alias::fits(call);
        if let Some((crate_dir, alias)) = noted_session(invocation, &root)
            && Session::newest(&crate_dir).is_some()
        {
            return Self { removes_flag: false, uses_alias: alias && fits, has_session: true };
        }
        // Cargo has removed the old program or library, so only dep-info can show that the unit was restored. A unit
        // that was compiled here has a session directory, which `link_session` leaves as it is.
        let may_be_restored = fsx::exists(&invocation.dep_info_path());
        for alias in [true, false].into_iter().filter(|alias| may_be_restored && (fits || !alias)) {
            if let Ok(Some(linked)) = call.common.store.link_session(session_key(call, alias), &root) {
                note_session(invocation, &linked.crate_dir, alias);
                return Self { removes_flag: false, uses_alias: alias, has_session: true };
            }
        }
        let forbids_alias =
            || call.common.store.forbids_alias(session_key(call, true)) || alias::names_its_directory(call);
        Self { removes_flag: false, uses_alias: fits && !forbids_alias(), has_session: false }
    }

    /// Removes rustc's accesses to session directories from `seen`, and keeps the new session. Returns whether rustc
    /// built on an earlier session.
    pub(super) fn take_sessions(&self, call: &Call<'_>, seen: &mut Seen) -> bool {
        let Some(root) = session_root(&call.invocation) else { return false };
        let session_use = SessionUse::taken_from(seen, &root);
        if let Some(crate_dir) = &session_use.crate_dir {
            note_session(&call.invocation, crate_dir, self.uses_alias);
            self.keep(call, crate_dir);
        }
        if self.uses_alias && names_workspace(seen, call) {
            // The outputs may contain that path: without the alias, rustc would have remapped it.
            let _ = call.common.store.forbid_alias(session_key(call, true));
        }
        if session_use.was_read && !is_marked(&call.invocation) {
            mark_private(call, clock::precise());
        }
        session_use.was_read
    }

    /// Stops using the alias for a unit whose outputs contain it.
    pub(super) fn give_up_alias(&self, call: &Call<'_>, error: &NotStored) {
        if self.uses_alias && error.0 == Stored::HoldsAlias {
            let _ = call.common.store.forbid_alias(session_key(call, true));
            let _ = fsx::remove_file(&session_note(&call.invocation));
        }
    }

    fn keep(&self, call: &Call<'_>, crate_dir: &Path) {
        if let Some(session) = Session::newest(crate_dir) {
            // Fails if the store is on another file system, for example.
            let _ = call.common.store.keep_session(session_key(call, self.uses_alias), &session, clock::now());
        }
    }
}

/// The directory in `-C incremental`, absolute and without `.` components.
fn session_root(invocation: &Invocation) -> Option<PathBuf> {
    let dir = invocation.cwd.join(invocation.incremental.as_deref()?);
    Some(dir.components().filter(|part| *part != Component::CurDir).collect())
}

/// How rustc used sessions.
#[derive(Default)]
struct SessionUse {
    /// Whether rustc read a session of an earlier compile.
    was_read: bool,
    /// The directory in which rustc made a new session.
    crate_dir: Option<PathBuf>,
}

impl SessionUse {
    fn taken_from(seen: &mut Seen, root: &Path) -> Self {
        // rustc resolves links in the directory.
        let real = fsx::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        // By bytes first: most paths are not below, and comparing part by part costs ten times as much.
        let strip = |path: &str, dir: &Path| {
            if !path.as_bytes().starts_with(dir.as_os_str().as_bytes()) {
                return None;
            }
            Path::new(path).strip_prefix(dir).ok().map(Path::to_owned)
        };
        let below = |path: &str| strip(path, root).or_else(|| strip(path, &real));
        let mut session_use = Self::default();
        seen.facts.retain(|fact| {
            let Some(below) = path_of(fact).and_then(below).filter(|_| !fact.plugin) else { return true };
            // <crate>/<session>/<file>
            session_use.was_read |= matches!(fact.observation, Observation::Read(_)) && below.components().count() == 3;
            false
        });
        seen.written.retain(|path, by_plugin| {
            let Some(below) = below(path).filter(|_| !*by_plugin) else { return true };
            if let Some(Component::Normal(name)) = below.components().next() {
                session_use.crate_dir = Some(root.join(name));
            }
            false
        });
        session_use
    }
}

fn path_of(fact: &Fact) -> Option<&str> {
    match &fact.observation {
        Observation::Read(path)
        | Observation::Stat(path, _)
        | Observation::LinkStat(path, _)
        | Observation::List(path)
        | Observation::Link(path, _)
        | Observation::Resolve(path, _) => Some(path),
        Observation::Env(..)
        | Observation::Lookup(..)
        | Observation::Program(_)
        | Observation::Library(_)
        | Observation::Environ(_) => None,
    }
}

/// Whether rustc read a source by an absolute path in the workspace, according to dep-info.
fn names_workspace(seen: &Seen, call: &Call<'_>) -> bool {
    let Ok(text) = fsx::read_to_string(&call.invocation.dep_info_path()) else { return false };
    let info = crate::rustc::dep_info::parse(&text);
    let files = info.iter().flat_map(|info| &info.files);
    !seen.facts.is_empty() && files.into_iter().any(|file| Path::new(file).starts_with(&call.invocation.cwd))
}

/// The key of the sessions of this unit: what rustc checks a session against, inputs aside. Without the alias, a
/// session serves one working directory only.
fn session_key(call: &Call<'_>, alias: bool) -> SessionKey {
    let mut key = KeyHasher::new(false);
    key.digest("compiler", "", call.common.compiler.identity);
    key.field("driver", if call.chain.driver == crate::rustc::Driver::Clippy { "clippy" } else { "rustc" });
    key.field("unit", &call.invocation.stem());
    key.field("source", &call.invocation.source);
    key.field("cwd", if alias { "" } else { call.invocation.cwd.to_str().unwrap_or_default() });
    for flag in call.invocation.flags.iter().filter(|flag| !lookup::names_places(&flag.name)) {
        key.optional(&flag.name, flag.value.as_deref());
    }
    SessionKey(key.finish().0.0)
}

/// The file next to the outputs of a unit that names the directory of its sessions.
fn session_note(invocation: &Invocation) -> PathBuf {
    invocation.out_dir.join(format!(".kache-session-{}", invocation.stem()))
}

fn note_session(invocation: &Invocation, crate_dir: &Path, alias: bool) {
    let Some(name) = crate_dir.file_name().and_then(|name| name.to_str()) else { return };
    let text = format!("{name} {}", if alias { "alias" } else { "plain" });
    let path = session_note(invocation);
    if fsx::read_to_string(&path).is_ok_and(|noted| noted == text) {
        return;
    }
    // Without this file, kache assumes that the unit has no session, which costs time only.
    let _ = Publish::default().bytes(&path, text.as_bytes());
}

/// The directory of a unit's sessions, and whether they use the alias.
fn noted_session(invocation: &Invocation, root: &Path) -> Option<(PathBuf, bool)> {
    let text = fsx::read_to_string(&session_note(invocation)).ok()?;
    let (name, how) = text.split_once(' ')?;
    let is_name = matches!(Path::new(name).components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
    is_name.then(|| (root.join(name), how == "alias"))
}

/// Whether the output directory contains an earlier result of this unit. A failed compile leaves at most dep-info.
/// (Cargo removes the old `.rlib` before it asks for a new one, but leaves the `.rmeta`.)
fn has_outputs(invocation: &Invocation) -> bool {
    let info = invocation.dep_info_path();
    fsx::exists(&info) && invocation.possible_outputs().iter().any(|path| *path != info && fsx::exists(path))
}

/// The path of the marker for the unit with these outputs.
fn marker(out_dir: &Path, stem: &str) -> PathBuf {
    out_dir.join(format!(".{stem}{MARKER_SUFFIX}"))
}

/// Marks the outputs of this unit as private, and names the offer that will be made of them. Best effort: if a private
/// output is not marked, the store gets an entry that no other checkout asks for.
pub(super) fn mark_private(call: &Call<'_>, asked: Time) {
    let marker = marker(&call.invocation.out_dir, &call.invocation.stem());
    let own = format!("{} {} {}", std::process::id(), asked.as_nanos(), marker.display());
    let name = OfferName { lookup: call.common.lookup.key, own: Digest::of(own.as_bytes()) };
    let _ = Publish::default().bytes(&marker, name.to_string().as_bytes());
}

/// The offer that this unit's marker names.
pub(super) fn noted_offer(invocation: &Invocation) -> Option<OfferName> {
    fsx::read_to_string(&marker(&invocation.out_dir, &invocation.stem())).ok()?.parse().ok()
}

fn is_marked(invocation: &Invocation) -> bool {
    fsx::exists(&marker(&invocation.out_dir, &invocation.stem()))
}

/// Removes the marker of private outputs, because the outputs of this unit are shared now.
pub(super) fn mark_shared(invocation: &Invocation) {
    let _ = fsx::remove_file(&marker(&invocation.out_dir, &invocation.stem()));
}

/// Whether the file is a private output of any unit.
pub(super) fn is_private(path: &Path) -> bool {
    let (Some(dir), Some(stem)) = (path.parent(), path.file_stem().and_then(|stem| stem.to_str())) else {
        return false;
    };
    fsx::exists(&marker(dir, stem.strip_prefix("lib").unwrap_or(stem)))
}

/// The first dependency that is private.
pub(super) fn private_dependency(invocation: &Invocation) -> Option<&Path> {
    invocation.externs.iter().map(|dep| dep.path.as_path()).find(|path| is_private(path))
}
