//! Decides which variables count for a program that copies the whole environment and then looks up names in its copy.
//!
//! The observer records that such a program read all variables, and no more. But the program finds a value only by a
//! name, and it must have the name from somewhere. Any variable that the program cannot name (one of a terminal, or of
//! a CI job) may change. A variable that was not set before is judged when it first appears. The rules, by the name of
//! the program:
//!
//! * Programs that contain the `cc` crate, which does so since 1.11, in nearly every script that compiles C
//!   (`cc::Build::target_envs`): a name that the program contains (`CFLAGS`, `CRATE_CC_NO_DEFAULTS`), such a name after
//!   `HOST_` or `TARGET_`, or before `_` and a target (`CFLAGS_x86_64-unknown-linux-gnu`).
//! * `cargo` and `rustup`: a name that the program contains, or one that it forms from its settings
//!   (`CARGO_BUILD_JOBS`). Names in cargo's configuration files count as well (`observed::variables`).
//! * `dash` and `bash`: the variables that the shell itself uses. Those that its commands name count as well
//!   (`super::shells`).

use std::path::Path;

use memchr::memmem;

use super::{Context, environment};
use crate::config::env;
use crate::fsx;
use crate::model::{Digest, KnownVariables};

/// The names before a target in variables of `cc`. Other names of that form count if they end in this build's target or
/// host.
const TARGET_VARIABLE_PREFIXES: [&str; 8] =
    ["CC_", "CXX_", "AR_", "RANLIB_", "NVCC_", "CFLAGS_", "CXXFLAGS_", "ARFLAGS_"];
/// The prefixes that `cc` puts before a name.
const NAME_PREFIXES: [&str; 2] = ["HOST_", "TARGET_"];

/// The prefixes of the names that cargo and rustup form from settings.
const CARGO_PREFIXES: [&str; 3] = ["CARGO_", "__CARGO_", "RUSTUP_"];

/// Variables that affect dash and bash if they are not interactive: modes, languages, and which functions and commands
/// are called. (`PATH` leads to programs, which are inputs; `PS1`, `MAIL`, `TERM` and the like are for people.)
const SHELL_VARIABLES: [&str; 15] = [
    "BASHOPTS",
    "EXECIGNORE",
    "FUNCNEST",
    "GLOBIGNORE",
    "GLOBSORT",
    "IFS",
    "LANG",
    "LANGUAGE",
    "OPTERR",
    "OPTIND",
    "POSIXLY_CORRECT",
    "PS4",
    "SHELLOPTS",
    "TMOUT",
    "TZ",
];
/// Prefixes of more such variables: functions (`BASH_FUNC_ls%%`), `BASH_ENV`.
const SHELL_PREFIXES: [&str; 2] = ["BASH_", "LC_"];

/// The rule by which names are judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    Cc,
    Cargo,
    Shell,
}

impl Rule {
    /// Returns the rule for the program in a file.
    fn of(file: &str) -> Self {
        match name_of(file) {
            "cargo" | "rustup" => Self::Cargo,
            "dash" | "bash" => Self::Shell,
            _ => Self::Cc,
        }
    }

    /// Whether a program that contains `code` can know a name.
    fn knows(self, name: &str, code: &[u8], context: Context<'_>) -> bool {
        let begins = |parts: &[&str]| parts.iter().any(|part| name.starts_with(part));
        let is_held = || memmem::find(code, name.as_bytes()).is_some();
        match self {
            Self::Cc => is_of_a_target(name, context) || is_held(),
            Self::Cargo => begins(&CARGO_PREFIXES) || is_held(),
            Self::Shell => SHELL_VARIABLES.contains(&name) || begins(&SHELL_PREFIXES),
        }
    }
}

fn name_of(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

/// Whether a program reads all variables, but only those that it can know count. `file` is its path without links.
pub(super) fn has_rule(file: &str) -> bool {
    Rule::of(file) != Rule::Cc
}

/// Records the variables that the program in `file`, which contains `code`, can know.
pub(super) fn record(file: &str, code: &[u8], context: Context<'_>) -> KnownVariables {
    let can_know = |name: &str| Rule::of(file).knows(name, code, context);
    let all = context.env.all();
    let names = all.keys().filter_map(|name| name.to_str()).filter(|name| environment::is_in_digest(name));
    let unknown: Vec<String> = names.filter(|name| !can_know(name)).map(str::to_owned).collect();
    let digest = digest_without(&unknown, context);
    KnownVariables { program: context.roots.tokenise(file), unknown, digest }
}

/// Whether the variables that the program can know are unchanged.
pub(super) fn holds(known: &KnownVariables, context: Context<'_>) -> bool {
    digest(known, context) == Some(known.digest)
}

/// Digest of the variables that the program can know now. `None` if its file cannot be read.
pub(super) fn digest(known: &KnownVariables, context: Context<'_>) -> Option<Digest> {
    let was_judged = |name: &str| known.unknown.iter().any(|unknown| unknown == name);
    let first = digest_without(&known.unknown, context);
    if first == known.digest {
        return Some(first);
    }
    // Something differs. It may be a variable that has not been judged yet, so read the program now, and only now.
    let program = context.roots.expand(&known.program)?;
    let code = fsx::read(Path::new(&program)).ok()?;
    let can_know = |name: &str| Rule::of(&program).knows(name, &code, context);
    Some(environment::digest_of(context, |name| {
        !environment::is_read_by_std(name) && !was_judged(name) && can_know(name)
    }))
}

fn digest_without(unknown: &[String], context: Context<'_>) -> Digest {
    environment::digest_of(context, |name| {
        !environment::is_read_by_std(name) && !unknown.iter().any(|unknown| unknown == name)
    })
}

/// Whether `cc` may make this name of another one, with a target or a prefix.
fn is_of_a_target(name: &str, context: Context<'_>) -> bool {
    let targets = [env::TARGET, env::HOST].into_iter().filter_map(|variable| context.env.text(variable));
    let spellings = targets.flat_map(|target| [target.replace(['-', '.'], "_"), target]);
    TARGET_VARIABLE_PREFIXES.iter().chain(&NAME_PREFIXES).any(|before| name.starts_with(before))
        || spellings.into_iter().any(|target| name.ends_with(&target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;
    use crate::keys::Roots;
    use crate::store::Stamps;

    /// Whether a record made with the variables `before` still holds with those of `after`.
    fn holds_with(before: &[(&str, &str)], after: &[(&str, &str)]) -> bool {
        holds_for("program", before, after)
    }

    fn holds_for(program: &str, before: &[(&str, &str)], after: &[(&str, &str)]) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(program);
        let code = b"\x7fELF...CFLAGSCRATE_CC_NO_DEFAULTS...";
        fsx::Publish::default().bytes(&file, code).unwrap();
        let (roots, stamps) = (Roots::default(), Stamps::open(Path::new("/dev/null")));
        let with = |vars: &[(&str, &str)]| Env::of([&[("TARGET", "a-b"), ("HOST", "c.d")], vars].concat());
        let (before, after) = (with(before), with(after));
        let context = |env| Context { cwd: dir.path(), diagnostic_width: None, roots: &roots, env, stamps: &stamps };
        let known = record(file.to_str().unwrap(), code, context(&before));
        assert!(holds(&known, context(&before)), "as it was recorded");
        holds(&known, context(&after))
    }

    #[test]
    fn names_that_cc_can_make_count_and_others_do_not() {
        let set = |name: &str| holds_with(&[("X", "1")], &[("X", "1"), (name, "v")]);
        for name in
            ["CFLAGS", "CRATE_CC_NO_DEFAULTS", "CFLAGS_a-b", "CFLAGS_a_b", "LDFLAGS_c_d", "HOST_AR", "TARGET_LD"]
        {
            assert!(!set(name), "{name}");
        }
        for name in ["GITHUB_RUN_ID", "SSH_CONNECTION", "WINDOWID", "RUST_BACKTRACE", "PWD", "KACHE_LOG"] {
            assert!(set(name), "{name}");
        }
    }

    #[test]
    fn what_was_set_before_may_change_or_go_if_nobody_can_know_it() {
        let before = [("CFLAGS", "-O1"), ("GITHUB_RUN_ID", "1")];
        assert!(holds_with(&before, &[("CFLAGS", "-O1"), ("GITHUB_RUN_ID", "2")]));
        assert!(holds_with(&before, &[("CFLAGS", "-O1")]));
        assert!(holds_with(&before, &[("CFLAGS", "-O1"), ("OTHER", "1")]));
        assert!(!holds_with(&before, &[("CFLAGS", "-O2"), ("GITHUB_RUN_ID", "1")]));
        assert!(!holds_with(&before, &[("GITHUB_RUN_ID", "1")]));
    }

    #[test]
    fn cargo_and_shells_know_their_own() {
        let sets = |program: &str, name: &str| holds_for(program, &[("X", "1")], &[("X", "1"), (name, "v")]);
        for name in ["CARGO_BUILD_JOBS", "RUSTUP_TOOLCHAIN", "CFLAGS"] {
            assert!(!sets("cargo", name), "{name}");
        }
        for name in ["BASH_FUNC_cc%%", "BASH_ENV", "LC_ALL", "PS4"] {
            assert!(!sets("bash", name) && sets("cargo", name), "{name}");
        }
        for name in ["GITHUB_RUN_ID", "SSH_CONNECTION", "TERM", "HOSTNAME", "CFLAGS", "TARGET_X"] {
            assert!(sets("dash", name), "{name}");
        }
    }
}
