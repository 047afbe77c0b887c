//! Cargo's own dep-info: the files and variables that cargo checks before it calls a compile fresh
//! (`fingerprint/dep_info.rs`, `EncodedDepInfo`, version 1).
//!
//! Cargo translates it from rustc's dep-info after each compile (`translate_dep_info`). This module does the same for a
//! restored compile. Where it cannot know what cargo would leave out, it keeps more: cargo then checks more.

use std::path::{Path, PathBuf};

use crate::config::env;
use crate::fsx;
use crate::model::DepInfo;

/// Precedes the version: a length of one, and a type of path that does not exist. Older versions have neither.
const MARKER: [u8; 5] = [1, 0, 0, 0, u8::MAX];
const VERSION: u8 = 1;

/// The variables with metadata of a package that cargo compares with the manifest (`ManifestMetadata::should_track`).
const TRACKED_METADATA: [&str; 8] = [
    "CARGO_PKG_AUTHORS",
    "CARGO_PKG_DESCRIPTION",
    "CARGO_PKG_HOMEPAGE",
    "CARGO_PKG_LICENSE",
    "CARGO_PKG_LICENSE_FILE",
    "CARGO_PKG_README",
    "CARGO_PKG_REPOSITORY",
    "CARGO_PKG_RUST_VERSION",
];

/// Variables that cargo sets for rustc from facts that the fingerprint contains, and does not check again.
const UNTRACKED: [&str; 16] = [
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
    env::CARGO_MANIFEST_DIR,
    "CARGO_MANIFEST_LINKS",
    "CARGO_MANIFEST_PATH",
    env::CARGO_PKG_NAME,
    env::CARGO_PKG_VERSION,
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
    env::CARGO_PRIMARY_PACKAGE,
    "CARGO_RUSTC_CURRENT_DIR",
    "CARGO_SBOM_PATH",
    "CARGO_TARGET_TMPDIR",
    env::OUT_DIR,
];

/// The compile whose dep-info is translated.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "it holds a closure")]
pub struct Compile<'a> {
    /// The working directory of rustc.
    pub cwd: &'a Path,
    /// The directory of the package.
    pub package: &'a Path,
    /// The build directory: the target directory, unless `build.build-dir` names another one.
    pub build_dir: &'a Path,
    /// Whether the package is a source below cargo's home, which cargo does not check for changes.
    pub is_from_registry: bool,
    /// Returns whether cargo set this variable for the compile.
    pub is_set_by_cargo: &'a dyn Fn(&str) -> bool,
    /// The variables that the build script of the package sets for the compile.
    pub set_by_script: &'a [String],
}

/// Returns cargo's dep-info for a compile, from rustc's. `None` if a path is longer than the format allows.
pub fn translate(info: &DepInfo<String>, compile: Compile<'_>) -> Option<Vec<u8>> {
    let real = |path: &Path| fsx::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (build_dir, package) = (real(compile.build_dir), real(compile.package));
    let files = info.files.iter().filter_map(|file| {
        let absolute = compile.cwd.join(file);
        let file = real(&absolute);
        if let Ok(inside) = file.strip_prefix(&build_dir) {
            Some((PathKind::InBuildDir, inside.to_owned()))
        } else if let Ok(inside) = file.strip_prefix(&package) {
            (!compile.is_from_registry).then(|| (PathKind::InPackage, inside.to_owned()))
        } else {
            // Cargo joins it to the build directory, which does not change an absolute path.
            Some((PathKind::InBuildDir, absolute))
        }
    });
    let variables = info.env.iter().filter(|(name, _)| is_tracked(name, compile));
    encode(&files.collect::<Vec<_>>(), &variables.collect::<Vec<_>>())
}

/// Whether cargo checks a variable that the compile read. Cargo checks those of the user and of `[env]` in its
/// configuration, the metadata of the package, and its own path.
fn is_tracked(name: &str, compile: Compile<'_>) -> bool {
    if TRACKED_METADATA.contains(&name) || name == env::CARGO {
        return true;
    }
    let is_untracked = UNTRACKED.contains(&name) || name.starts_with("CARGO_BIN_EXE_");
    let is_of_script = compile.set_by_script.iter().any(|of_script| of_script == name);
    !((is_untracked || is_of_script) && (compile.is_set_by_cargo)(name))
}

/// What a path in cargo's dep-info is relative to (`DepInfoPathType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PathKind {
    InPackage = 0,
    InBuildDir = 1,
}

fn encode(files: &[(PathKind, PathBuf)], variables: &[&(String, Option<String>)]) -> Option<Vec<u8>> {
    let mut out = MARKER.to_vec();
    out.push(VERSION);
    push_length(&mut out, files.len())?;
    for (kind, path) in files {
        out.push(*kind as u8);
        push_bytes(&mut out, path.as_os_str().as_encoded_bytes())?;
        // No checksum.
        out.push(0);
    }
    push_length(&mut out, variables.len())?;
    for (name, value) in variables {
        push_bytes(&mut out, name.as_bytes())?;
        out.push(u8::from(value.is_some()));
        if let Some(value) = value {
            push_bytes(&mut out, value.as_bytes())?;
        }
    }
    Some(out)
}

fn push_length(out: &mut Vec<u8>, length: usize) -> Option<()> {
    out.extend(u32::try_from(length).ok()?.to_le_bytes());
    Some(())
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    push_length(out, bytes.len())?;
    out.extend(bytes);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(files: &[&str], env: &[(&str, Option<&str>)]) -> DepInfo<String> {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)));
        DepInfo { targets: Vec::new(), files: files.iter().map(|&file| file.to_owned()).collect(), env: env.collect() }
    }

    fn compile(is_from_registry: bool, is_set_by_cargo: &dyn Fn(&str) -> bool) -> Compile<'_> {
        let [cwd, package, build_dir] = ["/w", "/w/p", "/w/target"].map(Path::new);
        Compile { cwd, package, build_dir, is_from_registry, is_set_by_cargo, set_by_script: &[] }
    }

    #[test]
    fn the_bytes_are_cargos() {
        let translated = translate(
            &info(
                &["p/src/lib.rs", "/w/README.md", "target/debug/build/p-1/out/gen.rs"],
                &[("A", Some("x")), ("B", None)],
            ),
            compile(false, &|_| false),
        );
        let mut expected = b"\x01\0\0\0\xff\x01\x03\0\0\0".to_vec();
        expected.extend(b"\0\x0a\0\0\0src/lib.rs\0");
        expected.extend(b"\x01\x0c\0\0\0/w/README.md\0");
        expected.extend(b"\x01\x1a\0\0\0debug/build/p-1/out/gen.rs\0");
        expected.extend(b"\x02\0\0\0\x01\0\0\0A\x01\x01\0\0\0x\x01\0\0\0B\0");
        assert_eq!(translated.unwrap(), expected);
    }

    #[test]
    fn sources_from_the_registry_are_not_checked() {
        let length = |is_from_registry| {
            let info = info(&["/w/p/src/lib.rs", "/w/other.rs"], &[]);
            translate(&info, compile(is_from_registry, &|_| false)).unwrap()[6]
        };
        assert_eq!((length(false), length(true)), (2, 1));
    }

    #[test]
    fn variables_that_cargo_derives_are_not_checked() {
        let scripts = ["GENERATED".to_owned()];
        let by_cargo = |name: &str| name != "USER";
        let compile = Compile { set_by_script: &scripts, ..compile(false, &by_cargo) };
        let tracked = ["USER", "CONFIGURED", "CARGO", "CARGO_PKG_DESCRIPTION", "CARGO_UNKNOWN"];
        let untracked = ["OUT_DIR", "CARGO_MANIFEST_DIR", "CARGO_BIN_EXE_app", "GENERATED", "CARGO_PKG_VERSION"];
        for name in tracked {
            assert!(is_tracked(name, compile), "{name}");
        }
        for name in untracked {
            assert!(!is_tracked(name, compile), "{name}");
        }
        // A user who sets such a variable where cargo does not.
        let by_user = Compile { is_set_by_cargo: &|_| false, ..compile };
        assert!(is_tracked("CARGO_BIN_EXE_app", by_user));
    }
}
