//! Makes the input set of a compile from its dep-info and its outputs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::native::{self, MemberOrigin};
use super::start_snapshot::may_be_newer;
use super::{Context, Lookup, NotStored, StartSnapshot};
use crate::config::env;
use crate::fsx::clock::Time;
use crate::fsx::{self, Stamp, stamp};
use crate::model::{ArtifactKind, DepInfo, Input, RootKind, Stored};
use crate::rustc::Invocation;

/// Returns the files and variables that the compile read, as rustc recorded them. Fails if one has changed since
/// `start`, because rustc may have read another version of it. `observed`: whether the trace shows where rustc looked
/// in vain.
pub fn inputs(
    info: &DepInfo<String>,
    context: Context<'_>,
    start: &StartSnapshot,
    observed: bool,
) -> Result<Vec<Input>, NotStored> {
    let mut inputs = Vec::with_capacity(info.files.len() * 2 + info.env.len());
    check_directories(&info.files, context, start)?;
    for file in &info.files {
        inputs.push(file_input(file, context, start.time)?);
    }
    for file in info.files.iter().filter(|_| !observed) {
        inputs.extend(shadow_of(file, context));
    }
    for (name, value) in &info.env {
        let value = value.as_ref().map(|value| context.roots.tokenise(value));
        inputs.push(Input::Env(name.clone(), value));
    }
    Ok(inputs)
}

pub(super) fn file_input(file: &str, context: Context<'_>, start: Time) -> Result<Input, NotStored> {
    let path = context.cwd.join(file);
    let content = context.stamps.content(&path).map_err(|_| NotStored::changed(&path))?;
    // A shared rlib: a restore in another checkout changes its ctime, but any write would have changed its mtime.
    let is_blob = content.stamp.is_canonical();
    if !is_blob && may_be_newer(content.stamp.ctime, start, || stamp::is_on_network(&path)) {
        return Err(NotStored::changed(&path));
    }
    Ok(Input::File(context.roots.tokenise(file), content.digest))
}

/// Checks that no directory between the working directory and a source was swapped for another since `start`. That
/// changes the ctime of the directory, but not of any file. The directories above `OUT_DIR` are not checked, because
/// cargo puts files there as units end.
fn check_directories(files: &[String], context: Context<'_>, start: &StartSnapshot) -> Result<(), NotStored> {
    let cwd = context.cwd;
    let target = context.roots.place(RootKind::Target).map(Path::new);
    let generated = context.env.path(env::OUT_DIR);
    let is_cargos = |dir: &Path| {
        target.is_some_and(|target| dir.starts_with(target))
            && generated.as_deref().is_some_and(|generated| generated.starts_with(dir) && generated != dir)
    };
    let relative = |file: &String| Path::new(file).strip_prefix(cwd).map_or(PathBuf::from(file), Path::to_owned);
    let mut dirs: BTreeSet<PathBuf> = BTreeSet::new();
    for file in files.iter().map(relative).filter(|file| file.is_relative()) {
        dirs.extend(file.ancestors().skip(1).filter(|dir| *dir != Path::new("")).map(Path::to_owned));
    }
    for dir in dirs {
        let path = cwd.join(dir);
        if is_cargos(&path) {
            continue;
        }
        let is_newer = |metadata: fsx::Metadata| {
            may_be_newer(Stamp::from(&metadata).ctime, start.time, || stamp::is_on_network(&path))
        };
        let changed = fsx::symlink_metadata(&path).map_or(true, is_newer);
        if changed && !start.is_same_repository(&path, context) {
            return Err(NotStored::changed(&path));
        }
    }
    Ok(())
}

/// Returns the path that must be absent because it would be the same module (`m.rs` and `m/mod.rs`): if both exist,
/// rustc refuses to choose. Sources of the registry do not change.
fn shadow_of(file: &str, context: Context<'_>) -> Option<Input> {
    let path = Path::new(file);
    let shadow: PathBuf = match path.file_name()?.to_str()? {
        "mod.rs" => path.parent()?.with_extension("rs"),
        _ => path.with_extension("").join("mod.rs"),
    };
    let token = context.roots.tokenise(shadow.to_str()?);
    let is_module = path.extension().is_some_and(|extension| extension == "rs");
    let is_fixed = token.roots().contains(&RootKind::CargoHome);
    let absent = is_module && !is_fixed && !fsx::exists(&context.cwd.join(&shadow));
    absent.then_some(Input::Absent(token))
}

/// Checks that the files behind the lookup key are unchanged: by stamp, or else by content. (The `.rmeta` of a
/// dependency gets another link, and so another ctime, while its own incremental compile ends.)
pub fn recheck(lookup: &Lookup, context: Context<'_>) -> Result<(), NotStored> {
    for (path, before) in &lookup.files {
        let now = Stamp::of(path).map_err(|_| NotStored::changed(path))?;
        let same = now.has_same_content(&before.stamp)
            || context.stamps.content(path).is_ok_and(|content| content.digest == before.digest);
        if !same {
            return Err(NotStored::changed(path));
        }
    }
    Ok(())
}

/// A library that a compile produced.
#[derive(Clone, Copy, Debug)]
pub struct ProducedLibrary<'a> {
    /// The path of the library.
    pub path: &'a Path,
    /// The kind of the library.
    pub kind: ArtifactKind,
}

/// Returns the rlibs that a staticlib contains, as inputs, and checks that a library does not contain anything unknown.
pub fn archive_inputs(
    library: ProducedLibrary<'_>,
    invocation: &Invocation,
    lookup: &Lookup,
    sysroot: &Path,
    context: Context<'_>,
) -> Result<Vec<Input>, NotStored> {
    let upstream = match library.kind {
        ArtifactKind::Staticlib => native::upstream_archives(invocation, sysroot)?,
        ArtifactKind::Rlib => Vec::new(),
        ArtifactKind::Rmeta
        | ArtifactKind::Linked
        | ArtifactKind::DebugInfo
        | ArtifactKind::Generated
        | ArtifactKind::GeneratedText => return Ok(Vec::new()),
    };
    let used = match native::origin_of_members(library.path, invocation, &lookup.static_libraries, &upstream)? {
        MemberOrigin::Key => return Ok(Vec::new()),
        MemberOrigin::Unknown(member) => return Err(NotStored(Stored::UnkeyedArchive, member)),
        MemberOrigin::Files(used) => used,
    };
    // The identity of the compiler covers its own libraries.
    let others = used.into_iter().filter(|path| !path.starts_with(sysroot));
    others
        .map(|path| {
            let content = context.stamps.content(&path)?;
            Ok(Input::File(context.roots.tokenise(&path.to_string_lossy()), content.digest))
        })
        .collect()
}
