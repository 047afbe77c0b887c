//! Parses a command line of rustc into a list of flags.
//!
//! Every flag that this version supports is listed in one of the tables below, according to its shape. Any other flag
//! is refused, so that a new flag of a new rustc can never be ignored by accident. Different spellings (`-C opt`,
//! `-Copt`, `--codegen=opt`) become one.

use crate::model::{BypassReason, Refusal};

/// A flag and its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arg {
    /// The canonical name: the long one if there are two. Codegen options are `-C name`, unstable options `-Z name`.
    pub name: String,
    /// The value. `None` if the flag does not take one, or has none.
    pub value: Option<String>,
}

/// Long options with a value.
const LONG_WITH_VALUE: &[&str] = &[
    "--cfg",
    "--check-cfg",
    "--crate-type",
    "--crate-name",
    "--edition",
    "--emit",
    "--print",
    "--out-dir",
    "--explain",
    "--target",
    "--allow",
    "--warn",
    "--force-warn",
    "--deny",
    "--forbid",
    "--cap-lints",
    "--codegen",
    "--extern",
    "--sysroot",
    "--error-format",
    "--json",
    "--color",
    "--diagnostic-width",
    "--remap-path-prefix",
    "--remap-path-scope",
];

/// Long options without a value.
const LONG_WITHOUT_VALUE: &[&str] = &["--test", "--verbose", "--version", "--help"];

/// Short options with a value, and their canonical names.
const SHORT_WITH_VALUE: &[(char, &str)] = &[
    ('L', "-L"),
    ('l', "-l"),
    ('o', "-o"),
    ('A', "--allow"),
    ('W', "--warn"),
    ('D', "--deny"),
    ('F', "--forbid"),
    ('C', "--codegen"),
    ('Z', "-Z"),
];

/// Short options without a value, and their canonical names.
const SHORT_WITHOUT_VALUE: &[(char, &str)] =
    &[('g', "-g"), ('O', "-O"), ('h', "--help"), ('V', "--version"), ('v', "--verbose")];

/// Codegen options whose effect on a unit that is not linked is known: all options of rustc 1.95 except
/// [`CODEGEN_SIDE_OUTPUTS`].
const CODEGEN: &[&str] = &[
    "ar",
    "code-model",
    "codegen-units",
    "collapse-macro-debuginfo",
    "control-flow-guard",
    "debug-assertions",
    "debuginfo",
    "default-linker-libraries",
    "dlltool",
    "dwarf-version",
    "embed-bitcode",
    "extra-filename",
    "force-frame-pointers",
    "force-unwind-tables",
    "incremental",
    "inline-threshold",
    "instrument-coverage",
    "jump-tables",
    "link-arg",
    "link-args",
    "link-dead-code",
    "link-self-contained",
    "linker",
    "linker-features",
    "linker-flavor",
    "linker-plugin-lto",
    "llvm-args",
    "lto",
    "metadata",
    "no-prepopulate-passes",
    "no-redzone",
    "no-stack-check",
    "no-vectorize-loops",
    "no-vectorize-slp",
    "opt-level",
    "overflow-checks",
    "panic",
    "passes",
    "prefer-dynamic",
    "profile-generate",
    "profile-use",
    "relocation-model",
    "relro-level",
    "rpath",
    "soft-float",
    "split-debuginfo",
    "strip",
    "symbol-mangling-version",
    "target-cpu",
    "target-feature",
    "unsafe-allow-abi-mismatch",
];

/// Codegen options that make rustc write or print more than its announced outputs.
const CODEGEN_SIDE_OUTPUTS: &[&str] = &["save-temps", "remark"];

/// Unstable options that change the result only in ways that the key covers. Many others dump or write files.
const UNSTABLE: &[&str] = &[
    "allow-features",
    "build-sdylib-interface",
    "cache-proc-macros",
    "crate-attr",
    "embed-metadata",
    "force-unstable-if-unmarked",
    "fmt-debug",
    "function-sections",
    "mir-opt-level",
    "next-solver",
    "no-codegen",
    "panic-abort-tests",
    "polonius",
    "randomize-layout",
    "sanitizer",
    "share-generics",
    "threads",
    "tune-cpu",
    "ub-checks",
    "unstable-options",
    "virtual-function-elimination",
];

/// Parses a command line without `@path` arguments. Returns the flags and the free arguments (the source).
pub fn parse(args: &[String]) -> Result<(Vec<Arg>, Vec<String>), Refusal> {
    let mut flags = Vec::with_capacity(args.len());
    let mut inputs = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if let Some(long) = arg.strip_prefix("--") {
            if long.is_empty() {
                return Err(unknown(arg));
            }
            flags.push(parse_long(arg, &mut rest)?);
        } else if arg.len() > 1 && arg.starts_with('-') {
            parse_short(arg, &mut rest, &mut flags)?;
        } else {
            inputs.push(arg.clone());
        }
    }
    let flags = flags.into_iter().map(canonical).collect::<Result<_, _>>()?;
    Ok((flags, inputs))
}

fn unknown(arg: &str) -> Refusal {
    Refusal::new(BypassReason::UnknownFlag, arg)
}

fn parse_long<'a>(arg: &str, rest: &mut impl Iterator<Item = &'a String>) -> Result<Arg, Refusal> {
    let (name, attached) = match arg.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (arg, None),
    };
    if LONG_WITH_VALUE.contains(&name) {
        let value = attached.or_else(|| rest.next().cloned()).ok_or_else(|| unknown(arg))?;
        return Ok(Arg { name: name.to_owned(), value: Some(value) });
    }
    if LONG_WITHOUT_VALUE.contains(&name) && attached.is_none() {
        return Ok(Arg { name: name.to_owned(), value: None });
    }
    Err(unknown(arg))
}

/// Parses a cluster such as `-O`, `-gO`, `-Copt-level=3`, `-L dir`.
fn parse_short<'a>(
    arg: &str,
    rest: &mut impl Iterator<Item = &'a String>,
    flags: &mut Vec<Arg>,
) -> Result<(), Refusal> {
    let letters = &arg[1..];
    for (at, letter) in letters.char_indices() {
        if let Some((_, name)) = SHORT_WITHOUT_VALUE.iter().find(|(known, _)| *known == letter) {
            flags.push(Arg { name: (*name).to_owned(), value: None });
            continue;
        }
        let known = SHORT_WITH_VALUE.iter().find(|(known, _)| *known == letter);
        let (_, name) = known.ok_or_else(|| unknown(arg))?;
        let attached = &letters[at + letter.len_utf8()..];
        let value = if attached.is_empty() { rest.next().cloned() } else { Some(attached.to_owned()) };
        flags.push(Arg { name: (*name).to_owned(), value: Some(value.ok_or_else(|| unknown(arg))?) });
        return Ok(());
    }
    Ok(())
}

/// Splits `-C name=value` and `-Z name=value`. rustc accepts `_` for `-` in their names.
fn canonical(arg: Arg) -> Result<Arg, Refusal> {
    let (letter, known) = match arg.name.as_str() {
        "--codegen" => ("-C", CODEGEN),
        "-Z" => ("-Z", UNSTABLE),
        "--print" | "--explain" | "--version" | "--help" => return Err(Refusal::new(BypassReason::DumpMode, arg.name)),
        "-o" => return Err(Refusal::new(BypassReason::ExplicitOutput, arg.name)),
        _ => return Ok(arg),
    };
    let text = arg.value.unwrap_or_default();
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text.as_str(), None),
    };
    let name = name.replace('_', "-");
    let spelled = format!("{letter} {name}");
    if letter == "-C" && CODEGEN_SIDE_OUTPUTS.contains(&name.as_str()) {
        return Err(Refusal::new(BypassReason::SideOutputs, spelled));
    }
    if spelled == "-C llvm-args" && value.as_deref().is_some_and(names_file_or_prints) {
        return Err(Refusal::new(BypassReason::SideOutputs, spelled));
    }
    if letter == "-Z" && (name.starts_with("dump") || name.starts_with("print") || name == "unpretty") {
        return Err(Refusal::new(BypassReason::DumpMode, spelled));
    }
    if !known.contains(&name.as_str()) {
        return Err(unknown(&spelled));
    }
    Ok(Arg { name: spelled, value })
}

/// LLVM has many options. Those that read or write files, or print, have names or values that show it.
fn names_file_or_prints(value: &str) -> bool {
    ["/", "file", "path", "dir", "output", "dump", "print", "stats", "debug"].iter().any(|word| value.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Result<(Vec<Arg>, Vec<String>), Refusal> {
        parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn reason(text: &str) -> BypassReason {
        args(text).unwrap_err().reason
    }

    #[test]
    fn u12_spellings_become_one() {
        let (plain, _) = args("-C opt-level=3 -L dir -O --warn x").unwrap();
        assert_eq!(args("-Copt_level=3 -Ldir -O -Wx").unwrap().0, plain);
        assert_eq!(args("--codegen=opt-level=3 -L dir -O --warn=x").unwrap().0, plain);
    }

    #[test]
    fn u12_order_is_kept() {
        assert_ne!(args("-O -C opt-level=0").unwrap(), args("-C opt-level=0 -O").unwrap());
    }

    #[test]
    fn clusters_are_taken_apart() {
        let (flags, inputs) = args("-gO -gCdebuginfo=1 a.rs").unwrap();
        let names: Vec<_> = flags.iter().map(|flag| flag.name.as_str()).collect();
        assert_eq!(names, ["-g", "-O", "-g", "-C debuginfo"]);
        assert_eq!(inputs, ["a.rs"]);
    }

    #[test]
    fn t03_what_is_not_understood_is_refused() {
        assert_eq!(reason("--new-flag"), BypassReason::UnknownFlag);
        assert_eq!(reason("-C shiny=1"), BypassReason::UnknownFlag);
        assert_eq!(reason("-Z self-profile"), BypassReason::UnknownFlag);
        assert_eq!(reason("-Zunpretty=expanded"), BypassReason::DumpMode);
        assert_eq!(reason("--print cfg"), BypassReason::DumpMode);
        assert_eq!(reason("-oF"), BypassReason::ExplicitOutput);
        assert_eq!(reason("-C save-temps"), BypassReason::SideOutputs);
        assert_eq!(reason("-C llvm-args=-forceattrs-csv-path=f"), BypassReason::SideOutputs);
        args("-C llvm-args=-unroll-threshold=9").unwrap();
        assert_eq!(reason("--cfg"), BypassReason::UnknownFlag);
        assert_eq!(reason("--"), BypassReason::UnknownFlag);
    }
}
