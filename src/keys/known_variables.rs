//! Which of all variables a program can know that copies the whole environment and then looks up names in its copy.
//!
//! The observer sees that all variables were read, and no more. But such a program finds a value only by a name, and a name
//! comes from somewhere. Every variable that the program cannot name (a terminal's, a CI job's) may change. One that was not set
//! before is judged when it is met. The rules, by the program's name:
//!
//! * Programs that hold the `cc` crate, which does so since 1.11, in nearly every script that compiles C
//!   (`cc::Build::target_envs`): a name that the program holds (`CFLAGS`, `CRATE_CC_NO_DEFAULTS`), such a name behind `HOST_` or
//!   `TARGET_`, or before `_` and a target (`CFLAGS_x86_64-unknown-linux-gnu`).
//! * `cargo` and `rustup`: a name that the program holds, or one that its settings are made of (`CARGO_BUILD_JOBS`). What is
//!   named in cargo's configuration files counts besides (`observed::variables`).
//! * `dash` and `bash`: the variables that the shell uses itself. Those that its commands name count as well (`super::shells`).

use std::path::Path;

use memchr::memmem;

use super::{Context, environment};
use crate::config::env;
use crate::fsx;
use crate::model::{Digest, KnownVariables};

/// What `cc` puts a target behind. Other names of that form count if they end in this build's target or host.
const BEFORE_TARGET: [&str; 8] = ["CC_", "CXX_", "AR_", "RANLIB_", "NVCC_", "CFLAGS_", "CXXFLAGS_", "ARFLAGS_"];
/// What `cc` puts before a name.
const BEFORE_NAME: [&str; 2] = ["HOST_", "TARGET_"];

/// What cargo and rustup make names of.
const OF_CARGO: [&str; 3] = ["CARGO_", "__CARGO_", "RUSTUP_"];

/// What dash and bash go by where nobody types: modes, languages, and what functions and commands are called. (`PATH` leads to
/// programs, which are inputs; `PS1`, `MAIL`, `TERM` and the like are for people.)
const OF_SHELLS: [&str; 15] = [
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
/// The same, as the beginning of names: functions (`BASH_FUNC_ls%%`), `BASH_ENV`.
const BEGIN_OF_SHELLS: [&str; 2] = ["BASH_", "LC_"];

/// How names are judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    Cc,
    Cargo,
    Shell,
}

impl Rule {
    /// The rule for the program in a file.
    fn of(file: &str) -> Self {
        match name_of(file) {
            "cargo" | "rustup" => Self::Cargo,
            "dash" | "bash" => Self::Shell,
            _ => Self::Cc,
        }
    }

    /// Whether a program that holds `code` can know a name.
    fn knows(self, name: &str, code: &[u8], context: Context<'_>) -> bool {
        let begins = |parts: &[&str]| parts.iter().any(|part| name.starts_with(part));
        let is_held = || memmem::find(code, name.as_bytes()).is_some();
        match self {
            Self::Cc => is_of_a_target(name, context) || is_held(),
            Self::Cargo => begins(&OF_CARGO) || is_held(),
            Self::Shell => OF_SHELLS.contains(&name) || begins(&BEGIN_OF_SHELLS),
        }
    }
}

fn name_of(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

/// Whether a program reads all variables, and yet only those count that it can know. `file`: without links.
pub(super) fn has_rule(file: &str) -> bool {
    Rule::of(file) != Rule::Cc
}

/// The variables that the program in `file`, which holds `code`, can know.
pub(super) fn record(file: &str, code: &[u8], context: Context<'_>) -> KnownVariables {
    let can_know = |name: &str| Rule::of(file).knows(name, code, context);
    let all = context.env.all();
    let names = all.keys().filter_map(|name| name.to_str()).filter(|name| environment::is_of_whole(name));
    let unknown: Vec<String> = names.filter(|name| !can_know(name)).map(str::to_owned).collect();
    let digest = digest_without(&unknown, context);
    KnownVariables { program: context.roots.tokenise(file), unknown, digest }
}

/// Whether the variables that the program can know are unchanged.
pub(super) fn holds(known: &KnownVariables, context: Context<'_>) -> bool {
    digest(known, context) == Some(known.digest)
}

/// Digest of the variables that the program can know now. `None`: its file cannot be read.
pub(super) fn digest(known: &KnownVariables, context: Context<'_>) -> Option<Digest> {
    let was_judged = |name: &str| known.unknown.iter().any(|unknown| unknown == name);
    let first = digest_without(&known.unknown, context);
    if first == known.digest {
        return Some(first);
    }
    // Something differs: it may be a name that nobody has met yet. Only then the program is read.
    let program = context.roots.expand(&known.program)?;
    let code = fsx::read(Path::new(&program)).ok()?;
    let can_know = |name: &str| Rule::of(&program).knows(name, &code, context);
    Some(environment::digest_of(context, |name| !environment::is_of_std(name) && !was_judged(name) && can_know(name)))
}

fn digest_without(unknown: &[String], context: Context<'_>) -> Digest {
    environment::digest_of(context, |name| {
        !environment::is_of_std(name) && !unknown.iter().any(|unknown| unknown == name)
    })
}

/// Whether `cc` may make a name of another one and a target.
fn is_of_a_target(name: &str, context: Context<'_>) -> bool {
    let targets = [env::TARGET, env::HOST].into_iter().filter_map(|variable| context.env.text(variable));
    let spellings = targets.flat_map(|target| [target.replace(['-', '.'], "_"), target]);
    BEFORE_TARGET.iter().chain(&BEFORE_NAME).any(|before| name.starts_with(before))
        || spellings.into_iter().any(|target| name.ends_with(&target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;
    use crate::keys::Roots;
    use crate::store::Stamps;

    /// Whether what was recorded with some variables still holds with others.
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
