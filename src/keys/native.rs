//! Native static libraries, which rustc bundles into a library that it writes.
//!
//! kache finds the library for `-l static=name` as rustc does
//! (`rustc_metadata::native_libs::find_native_static_library`), and its content is part of the key. A `#[link(kind =
//! "static")]` in the source does not show on the command line. So kache inspects the produced archive afterwards, and
//! does not store the result if no known archive explains one of its members.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::fsx;
use crate::model::{BypassReason, EmitKind, Refusal};
use crate::rustc::Invocation;
use crate::rustc::archive::{self, Member};

/// Returns the static libraries that the flags name, in order.
pub fn static_libraries(invocation: &Invocation) -> Result<Vec<PathBuf>, Refusal> {
    if !invocation.emits(EmitKind::Link) {
        return Ok(Vec::new());
    }
    let named = invocation.flags.iter().filter(|flag| flag.name == "-l").filter_map(|flag| flag.value.as_deref());
    named.filter_map(static_name).map(|name| find(invocation, &name)).collect()
}

/// Returns the file names to look for, if the value of an `-l` names a static library.
fn static_name(value: &str) -> Option<Vec<String>> {
    let (kind, name) = value.split_once('=')?;
    let (kind, modifiers) = kind.split_once(':').unwrap_or((kind, ""));
    if kind != "static" {
        return None;
    }
    // `-l static=name:rename` links `rename`.
    let name = name.split_once(':').map_or(name, |(_, rename)| rename);
    let verbatim = modifiers.split(',').any(|modifier| modifier == "+verbatim");
    Some(if verbatim { vec![name.to_owned()] } else { vec![format!("lib{name}.a"), format!("{name}.lib")] })
}

fn find(invocation: &Invocation, names: &[String]) -> Result<PathBuf, Refusal> {
    let refuse = || Refusal::new(BypassReason::NativeLibrary, names.join(" or "));
    let found = native_dirs(invocation)
        .flat_map(|dir| names.iter().map(move |name| dir.join(name)))
        .find(|path| fsx::metadata(path).is_ok_and(|metadata| metadata.is_file()));
    let path = found.ok_or_else(refuse)?;
    // Thin archives refer to files that are not digested.
    match archive::members(&path) {
        Ok(Some(_)) => Ok(path),
        _ => Err(refuse()),
    }
}

fn native_dirs(invocation: &Invocation) -> impl Iterator<Item = PathBuf> {
    let dirs = invocation.flags.iter().filter(|flag| flag.name == "-L").filter_map(|flag| flag.value.as_deref());
    dirs.filter_map(|value| match value.split_once('=') {
        Some(("native" | "all", dir)) => Some(dir),
        Some(("dependency" | "crate" | "framework", _)) => None,
        _ => Some(value),
    })
    .map(|dir| invocation.cwd.join(dir))
}

/// The origin of the members of a produced archive.
#[derive(Debug, PartialEq, Eq)]
pub enum MemberOrigin {
    /// Every member is an object of this crate, or is in an archive that is part of the key.
    Key,
    /// The other members are in these archives, which must be inputs.
    Files(Vec<PathBuf>),
    /// The member of this name is not in any known archive.
    Unknown(String),
}

/// Finds the origin of the members of the library at `produced`. `upstream`: archives that rustc may have copied from
/// (a staticlib contains all its dependencies).
pub fn origin_of_members(
    produced: &Path,
    invocation: &Invocation,
    keyed: &[PathBuf],
    upstream: &[PathBuf],
) -> fsx::Result<MemberOrigin> {
    // rustc names its objects `<stem>.<codegen unit>.rcgu.o`.
    let own = format!("{}.", invocation.stem());
    let Some(mut members) = archive::members(produced)? else { return Ok(MemberOrigin::Unknown("no archive".into())) };
    members.retain(|member| !member.name.starts_with("lib.rmeta") && !member.name.starts_with(&own));
    let mut open: HashSet<Member> = members.into_iter().collect();
    for archive in keyed {
        take_members(archive, &mut open)?;
    }
    let mut used = Vec::new();
    // Every archive that could be the origin counts, even if another one has already explained the member.
    let wanted = open.clone();
    for archive in upstream {
        if wanted.is_empty() {
            break;
        }
        let found = archive::members(archive)?.unwrap_or_default();
        let before = used.len();
        for member in found.iter().filter(|member| wanted.contains(*member)) {
            open.remove(member);
            if used.len() == before {
                used.push(archive.clone());
            }
        }
    }
    Ok(match open.into_iter().min() {
        Some(member) => MemberOrigin::Unknown(member.name),
        None if used.is_empty() => MemberOrigin::Key,
        None => MemberOrigin::Files(used),
    })
}

fn take_members(archive: &Path, open: &mut HashSet<Member>) -> fsx::Result<()> {
    for member in archive::members(archive)?.unwrap_or_default() {
        open.remove(&member);
    }
    Ok(())
}

/// Returns the rlibs that a staticlib may have copied from: those in the directories of `-L dependency`, `-L crate` and
/// `-L all`, those that `--extern` names, and those of the sysroot.
pub fn upstream_archives(invocation: &Invocation, sysroot: &Path) -> fsx::Result<Vec<PathBuf>> {
    let mut dirs: Vec<PathBuf> = Vec::new();
    for value in invocation.flags.iter().filter(|flag| flag.name == "-L").filter_map(|flag| flag.value.as_deref()) {
        if let Some(("dependency" | "crate" | "all", dir)) = value.split_once('=') {
            dirs.push(invocation.cwd.join(dir));
        }
    }
    let triples = sysroot.join("lib").join("rustlib");
    for triple in fsx::list(&triples)? {
        dirs.push(triples.join(triple).join("lib"));
    }
    let mut archives: Vec<PathBuf> = invocation.externs.iter().map(|dep| dep.path.clone()).collect();
    for dir in dirs {
        archives.extend(fsx::list(&dir)?.into_iter().map(|name| dir.join(name)));
    }
    // rustc takes crates from rlibs only. A `.a` next to them is the output of some staticlib, perhaps of this very
    // unit.
    archives.retain(|path| path.extension().is_some_and(|extension| extension == "rlib"));
    archives.sort();
    archives.dedup();
    Ok(archives)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u05_names_are_read_as_rustc_reads_them() {
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(static_name("static=foo"), names(&["libfoo.a", "foo.lib"]));
        assert_eq!(static_name("static:+verbatim,-bundle=foo.o"), names(&["foo.o"]));
        assert_eq!(static_name("static=foo:bar"), names(&["libbar.a", "bar.lib"]));
        assert_eq!(static_name("dylib=foo"), None);
        assert_eq!(static_name("foo"), None);
    }
}
