//! One compile, as rustc's arguments describe it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::argfile;
use super::args::{self, Arg};
use crate::model::{BypassReason, EmitKind, Refusal};

/// Crate types whose output the linker writes.
const LINKED: &[&str] = &["bin", "dylib", "cdylib", "proc-macro"];
/// Crate types whose output rustc writes itself.
const ARCHIVED: &[&str] = &["lib", "rlib", "staticlib"];

/// A compile that the cache supports.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The arguments of rustc, unchanged, without the name of the compiler.
    pub argv: Vec<OsString>,
    /// The working directory of rustc.
    pub cwd: PathBuf,
    /// All flags, in the order of the command line.
    pub flags: Vec<Arg>,
    /// The path of the crate root, as given.
    pub source: String,
    /// The value of `--crate-name`.
    pub crate_name: String,
    /// The values of all `--crate-type` flags; `bin` if none is given.
    pub crate_types: Vec<String>,
    /// Whether rustc builds a test harness (`--test`).
    pub test: bool,
    /// The kinds in `--emit`, sorted.
    pub emit: Vec<EmitKind>,
    /// The value of `--out-dir`, made absolute.
    pub out_dir: PathBuf,
    /// The value of `-C extra-filename`; empty if it is not given.
    pub extra_filename: String,
    /// The `--extern` flags that name a file.
    pub externs: Vec<Extern>,
    /// The value of `-C incremental`, as given.
    pub incremental: Option<String>,
    /// The value of `--diagnostic-width`, as given.
    pub diagnostic_width: Option<String>,
}

/// An `--extern` with a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extern {
    /// The text before `=`: options and the name.
    pub name: String,
    /// The file of the crate, as an absolute path.
    pub path: PathBuf,
}

impl Extern {
    /// Returns the crate's own name, derived from its file: `lib<crate>-<hash>.rmeta`. The name before `=` may be
    /// another one.
    pub fn crate_name(&self) -> &str {
        crate_of(&self.path)
    }
}

/// Returns the name of the crate in the file that cargo calls `lib<crate>-<hash>.<extension>`.
pub fn crate_of(path: &Path) -> &str {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let stem = stem.strip_prefix("lib").unwrap_or(stem);
    stem.rsplit_once('-').map_or(stem, |(name, _)| name)
}

impl Invocation {
    /// Parses rustc's arguments, or returns why the compile cannot be cached.
    pub fn parse(argv: &[OsString], cwd: &Path) -> Result<Self, Refusal> {
        let expanded = argfile::expand(argv, cwd)?;
        let (flags, inputs) = args::parse(&expanded)?;
        let [source] = inputs.as_slice() else {
            return Err(Refusal::new(BypassReason::Inputs, inputs.join(" ")));
        };
        let emit = emit_kinds(&flags)?;
        let invocation = Self {
            argv: argv.to_vec(),
            cwd: cwd.to_owned(),
            source: source.clone(),
            crate_name: last(&flags, "--crate-name").unwrap_or_default().to_owned(),
            crate_types: crate_types(&flags)?,
            test: flags.iter().any(|flag| flag.name == "--test"),
            out_dir: out_dir(&flags, cwd)?,
            extra_filename: last(&flags, "-C extra-filename").unwrap_or_default().to_owned(),
            externs: externs(&flags, cwd)?,
            incremental: last(&flags, "-C incremental").map(str::to_owned),
            diagnostic_width: last(&flags, "--diagnostic-width").map(str::to_owned),
            emit,
            flags,
        };
        invocation.check()?;
        Ok(invocation)
    }

    /// Refuses compiles that are understood but not cached.
    fn check(&self) -> Result<(), Refusal> {
        let refuse = |reason, detail: &str| Err(Refusal::new(reason, detail));
        if self.crate_name.is_empty() || self.source == "-" {
            return refuse(BypassReason::Probe, "no crate");
        }
        if self.cwd.to_str().is_none() || self.out_dir.to_str().is_none() {
            return refuse(BypassReason::NonUtf8, "directory");
        }
        if !self.emits(EmitKind::DepInfo) {
            return refuse(BypassReason::NoDepInfo, "");
        }
        if !self.announces_artifacts() {
            return refuse(BypassReason::NoArtifactNotices, "");
        }
        if self.last("--sysroot").is_some() {
            return refuse(BypassReason::UnknownFlag, "--sysroot");
        }
        Ok(())
    }

    /// Returns whether rustc needs whole libraries for this unit, also those of indirect dependencies, because it runs
    /// a linker or makes a static library of them.
    pub fn needs_whole_libraries(&self) -> bool {
        let takes_all = |kind: &String| LINKED.contains(&kind.as_str()) || kind == "staticlib";
        self.emits(EmitKind::Link) && (self.test || self.crate_types.iter().any(takes_all))
    }

    /// Returns whether a linker, or bitcode of other crates, affects the output, which only observation reveals.
    pub fn needs_observer(&self) -> bool {
        let needs_linker = |kind: &String| LINKED.contains(&kind.as_str());
        let is_split = self.last("-C split-debuginfo").is_some_and(|value| value != "off");
        self.emits(EmitKind::Link)
            && (self.test || is_split || self.crate_types.iter().any(needs_linker) || self.is_lto_staticlib())
    }

    fn is_lto_staticlib(&self) -> bool {
        self.crate_types.iter().any(|kind| kind == "staticlib") && self.links_with_lto()
    }

    /// Returns the directories of all `-L` flags.
    pub fn search_dirs(&self) -> impl Iterator<Item = PathBuf> {
        self.searches().map(|(_, dir)| self.cwd.join(dir))
    }

    /// Returns the directories of all `-L dependency=` flags. rustc does not search them for crates that a source names
    /// itself.
    pub fn dependency_dirs(&self) -> impl Iterator<Item = PathBuf> {
        self.searches().filter(|(kind, _)| *kind == "dependency").map(|(_, dir)| self.cwd.join(dir))
    }

    fn searches(&self) -> impl Iterator<Item = (&str, &str)> {
        values(&self.flags, "-L").map(|value| match value.split_once('=') {
            Some((kind @ ("dependency" | "crate" | "native" | "framework" | "all"), dir)) => (kind, dir),
            _ => ("all", value),
        })
    }

    /// Returns the last value of a flag, which is the one that rustc uses.
    pub fn last(&self, name: &str) -> Option<&str> {
        last(&self.flags, name)
    }

    /// Returns whether `--emit` contains `kind`.
    pub fn emits(&self, kind: EmitKind) -> bool {
        self.emit.contains(&kind)
    }

    /// Returns the unit's kind, for people: `test` or the crate types.
    pub fn kind(&self) -> String {
        if self.test { "test".to_owned() } else { self.crate_types.join(",") }
    }

    /// Returns the crate name with `-C extra-filename`: the stem of every output.
    pub fn stem(&self) -> String {
        format!("{}{}", self.crate_name, self.extra_filename)
    }

    /// Returns the path of the `.d` file.
    pub fn dep_info_path(&self) -> PathBuf {
        self.out_dir.join(self.stem() + ".d")
    }

    /// Returns the files that this unit may write into the output directory.
    pub fn possible_outputs(&self) -> Vec<PathBuf> {
        let stem = self.stem();
        let names = [
            format!("lib{stem}.rlib"),
            format!("lib{stem}.rmeta"),
            format!("lib{stem}.a"),
            format!("lib{stem}.so"),
            format!("{stem}.d"),
            stem,
        ];
        names.iter().map(|name| self.out_dir.join(name)).collect()
    }

    /// `--json` requires `--error-format=json`, so cached messages are never laid out for a terminal.
    fn announces_artifacts(&self) -> bool {
        self.flags.iter().any(|flag| {
            flag.name == "--json"
                && flag.value.as_deref().is_some_and(|value| value.split(',').any(|part| part == "artifacts"))
        })
    }

    fn links_with_lto(&self) -> bool {
        let off = |value: &str| matches!(value, "off" | "no" | "n" | "false");
        let flag = self.flags.iter().rev().find(|flag| flag.name == "-C lto");
        let plugin = self.flags.iter().any(|flag| flag.name == "-C linker-plugin-lto");
        plugin || flag.is_some_and(|flag| !flag.value.as_deref().is_some_and(off))
    }
}

fn last<'a>(flags: &'a [Arg], name: &str) -> Option<&'a str> {
    flags.iter().rev().find(|flag| flag.name == name).and_then(|flag| flag.value.as_deref())
}

fn values<'a>(flags: &'a [Arg], name: &'a str) -> impl Iterator<Item = &'a str> {
    flags.iter().filter(move |flag| flag.name == name).filter_map(|flag| flag.value.as_deref())
}

fn emit_kinds(flags: &[Arg]) -> Result<Vec<EmitKind>, Refusal> {
    let mut kinds = Vec::new();
    for part in values(flags, "--emit").flat_map(|value| value.split(',')) {
        if part.contains('=') {
            return Err(Refusal::new(BypassReason::ExplicitOutput, format!("--emit={part}")));
        }
        kinds.push(EmitKind::parse(part).ok_or_else(|| Refusal::new(BypassReason::EmitKind, part))?);
    }
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.is_empty() {
        return Err(Refusal::new(BypassReason::NoDepInfo, ""));
    }
    Ok(kinds)
}

fn crate_types(flags: &[Arg]) -> Result<Vec<String>, Refusal> {
    let mut types: Vec<String> =
        values(flags, "--crate-type").flat_map(|value| value.split(',')).map(str::to_owned).collect();
    if let Some(unknown) =
        types.iter().find(|kind| !LINKED.contains(&kind.as_str()) && !ARCHIVED.contains(&kind.as_str()))
    {
        return Err(Refusal::new(BypassReason::UnknownFlag, format!("--crate-type {unknown}")));
    }
    if types.is_empty() {
        types.push("bin".to_owned());
    }
    Ok(types)
}

fn out_dir(flags: &[Arg], cwd: &Path) -> Result<PathBuf, Refusal> {
    match last(flags, "--out-dir") {
        Some(dir) => Ok(cwd.join(dir)),
        None => Err(Refusal::new(BypassReason::ExplicitOutput, "no --out-dir")),
    }
}

/// Crates of the sysroot that rustc finds by name alone. The compiler's identity covers them.
const SYSROOT_CRATES: &[&str] = &["proc_macro", "std", "core", "alloc", "test"];

fn externs(flags: &[Arg], cwd: &Path) -> Result<Vec<Extern>, Refusal> {
    let mut externs = Vec::new();
    for value in values(flags, "--extern") {
        match value.split_once('=') {
            Some((name, path)) => externs.push(Extern { name: name.to_owned(), path: cwd.join(path) }),
            None if SYSROOT_CRATES.contains(&value.rsplit(':').next().unwrap_or(value)) => {}
            None => return Err(Refusal::new(BypassReason::ExternUnresolved, value)),
        }
    }
    Ok(externs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "--crate-name a src/lib.rs --error-format=json --json=diagnostic-rendered-ansi,artifacts \
        --crate-type lib --emit=dep-info,metadata,link -C metadata=1 -C extra-filename=-2 --out-dir target/deps";

    fn parse(text: &str) -> Result<Invocation, Refusal> {
        let argv: Vec<_> = text.split_whitespace().map(OsString::from).collect();
        Invocation::parse(&argv, Path::new("/w"))
    }

    fn reason(text: &str) -> BypassReason {
        parse(text).unwrap_err().reason
    }

    #[test]
    fn a_lib_is_modelled() {
        let lib = parse(&format!("{LIB} --extern b=/w/libb.rmeta --extern proc_macro")).unwrap();
        assert_eq!(lib.stem(), "a-2");
        assert_eq!(lib.out_dir, Path::new("/w/target/deps"));
        assert_eq!(lib.externs, [Extern { name: "b".into(), path: "/w/libb.rmeta".into() }]);
    }

    #[test]
    fn what_links_needs_the_observer_unless_only_metadata_is_written() {
        let needs = |text: &str| parse(text).unwrap().needs_observer();
        assert!(!needs(LIB));
        assert!(needs(&LIB.replace("type lib", "type bin")));
        assert!(needs(&LIB.replace("--crate-type lib", "")), "a crate is a program by default");
        assert!(needs(&format!("{LIB} --test")));
        assert!(needs(&format!("{LIB} --crate-type proc-macro")));
        assert!(needs(&format!("{LIB} -C split-debuginfo=packed")));
        assert!(!needs(&LIB.replace("type lib", "type bin").replace(",link", "")));
        let staticlib = LIB.replace("type lib", "type staticlib");
        assert!(needs(&format!("{staticlib} -C lto")));
        assert!(!needs(&staticlib) && !needs(&format!("{staticlib} -C lto=off")));
    }

    #[test]
    fn t03_explicit_outputs_and_other_emits_are_refused() {
        assert_eq!(reason(&format!("{LIB} --emit=link=x.rlib")), BypassReason::ExplicitOutput);
        assert_eq!(reason(&format!("{LIB} --emit=asm")), BypassReason::EmitKind);
        assert_eq!(reason(&LIB.replace("dep-info,", "")), BypassReason::NoDepInfo);
        assert_eq!(reason(&LIB.replace(",artifacts", "")), BypassReason::NoArtifactNotices);
        assert_eq!(reason(&LIB.replace("--out-dir target/deps", "")), BypassReason::ExplicitOutput);
        assert_eq!(reason(&format!("{LIB} b.rs")), BypassReason::Inputs);
        assert_eq!(reason(&format!("{LIB} --extern b")), BypassReason::ExternUnresolved);
    }
}
