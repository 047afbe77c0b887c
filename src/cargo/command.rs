//! Commands of cargo, as names: two commands have the same name if they build the same units.
//!
//! The name is the command's arguments without those that change only how cargo works or what it prints, and the
//! variables that select units. It is only a name: another spelling of a command gets another one.

use std::path::{Component, Path, PathBuf};

use crate::config::{Env, env};

/// Commands of which kache makes snapshots. (`cargo clippy` runs `cargo check`.) Arguments of any other command may be
/// those of a program, and may be secret.
const COMMANDS: [&str; 5] = ["bench", "build", "check", "run", "test"];

/// Cargo's own short names for them.
const SHORT: [(&str, &str); 4] = [("b", "build"), ("c", "check"), ("r", "run"), ("t", "test")];

/// Arguments that do not select units.
const OF_PRESENTATION: [&str; 18] = [
    "--color",
    "--frozen",
    "--future-incompat-report",
    "--jobs",
    "--keep-going",
    "--locked",
    "--manifest-path",
    "--no-fail-fast",
    "--no-run",
    "--offline",
    "--quiet",
    "--target-dir",
    "--timings",
    "--verbose",
    "-j",
    "-q",
    "-v",
    "-vv",
];

/// Arguments whose value is the next argument, unless it is attached.
const WITH_VALUE: [&str; 17] = [
    "--bench",
    "--bin",
    "--color",
    "--example",
    "--exclude",
    "--features",
    "--jobs",
    "--manifest-path",
    "--message-format",
    "--package",
    "--profile",
    "--target",
    "--target-dir",
    "--test",
    "-F",
    "-j",
    "-p",
];

/// Arguments that change settings, or the working directory: no snapshots are made with them.
const REFUSED: [&str; 3] = ["--config", "-C", "-Z"];

/// Variables that select units or their flags.
const SELECTING: [&str; 5] =
    ["CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "CARGO_INCREMENTAL", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS"];
/// The prefixes of more such variables.
const SELECTING_PREFIXES: [&str; 3] = ["CARGO_BUILD_RUSTFLAGS", "CARGO_PROFILE_", "CARGO_TARGET_"];

/// Returns the name of a command, from all arguments of cargo and its environment. `place` is the directory that the
/// command is for, relative to the workspace: cargo builds the package there. `None` if kache does not make
/// snapshots of the command.
pub fn name(args: &[String], vars: &Env, place: &str) -> Option<String> {
    let mut words = selecting_words(own(args).iter().skip(1).map(String::as_str).filter(|arg| !arg.starts_with('+')))?;
    if !place.is_empty() {
        words.push(format!("in {place}"));
    }
    words.extend(vars.all().into_iter().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| selects(name))?;
        Some(format!("{name}={}", value.to_string_lossy()))
    }));
    Some(words.join("\n"))
}

/// Returns the names of commands that build nearly the same units: for `cargo run`, that of `cargo build` with the same
/// arguments. `name` is a name ([`name`]).
pub fn similar(name: &str) -> Vec<String> {
    let (subcommand, rest) = name.split_at(name.find('\n').unwrap_or(name.len()));
    let others: &[&str] = match subcommand {
        "build" => &["run"],
        "run" => &["build"],
        "test" => &["build", "run"],
        _ => &[],
    };
    let mut all: Vec<String> = others.iter().map(|other| format!("{other}{rest}")).collect();
    // `cargo clippy` checks only the members of the workspace with another compiler.
    let is_wrapper = |line: &&str| line.starts_with("RUSTC_WORKSPACE_WRAPPER=");
    if subcommand == "check" && name.lines().any(|line| is_wrapper(&line)) {
        all.push(name.lines().filter(|line| !is_wrapper(line)).collect::<Vec<_>>().join("\n"));
    }
    all
}

/// How many aliases are replaced at most: cargo refuses those that name themselves.
const MAX_ALIASES: usize = 8;

/// Replaces an alias in the arguments of cargo by its words, which `alias` returns.
pub fn without_alias(mut args: Vec<String>, alias: impl Fn(&str) -> Option<Vec<String>>) -> Vec<String> {
    for _ in 0..MAX_ALIASES {
        let Some(at) = subcommand(&args) else { break };
        let words = (!COMMANDS.contains(&args[at].as_str())).then(|| alias(&args[at])).flatten();
        let Some(words) = words else { break };
        args.splice(at..=at, words);
    }
    args
}

/// The index of the subcommand: the first argument that is neither an option nor its value.
fn subcommand(args: &[String]) -> Option<usize> {
    let mut at = 1;
    while args.get(at)?.starts_with(['-', '+']) {
        at += if WITH_VALUE.contains(&args[at].as_str()) { 2 } else { 1 };
    }
    Some(at)
}

/// Returns the directory that a command is for: that of its manifest, else the working directory.
pub fn directory(args: &[String], cwd: &Path) -> PathBuf {
    let manifest = value(args, "--manifest-path").map(|path| cwd.join(path));
    let dir = manifest.as_deref().and_then(Path::parent).unwrap_or(cwd);
    normalize(dir)
}

/// Returns a path without `.` and `..`, as cargo passes it on (`cargo_util::paths::normalize_path`).
pub fn normalize(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// Returns the arguments of cargo without those for a program that it runs, or for rustc.
fn own(args: &[String]) -> &[String] {
    &args[..args.iter().position(|arg| arg == "--").unwrap_or(args.len())]
}

/// Returns the first value of an argument of cargo with a name like `--manifest-path`.
pub fn value<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    values(args, name).into_iter().next()
}

/// Returns all values of an argument of cargo with a name like `--config`.
pub fn values<'a>(args: &'a [String], name: &str) -> Vec<&'a str> {
    let args = own(args);
    let value = |(at, arg): (usize, &'a String)| {
        let rest = arg.strip_prefix(name)?;
        rest.strip_prefix('=').or_else(|| args.get(at + 1).filter(|_| rest.is_empty()).map(String::as_str))
    };
    args.iter().enumerate().filter_map(value).collect()
}

/// Whether cargo must not change `Cargo.lock`.
pub fn is_locked(args: &[String]) -> bool {
    own(args).iter().any(|arg| arg == "--locked" || arg == "--frozen")
}

/// Returns the number of jobs of a command, as cargo tells it to build scripts: from its arguments, else from a
/// variable, else one for each processor. (Settings in cargo's configuration are not read.)
pub fn jobs(args: &[String], vars: &Env) -> String {
    let attached = own(args).iter().find_map(|arg| arg.strip_prefix("-j").filter(|jobs| !jobs.is_empty()));
    let named = || value(args, "--jobs").or_else(|| value(args, "-j"));
    let asked = attached.or_else(named).map(str::to_owned).or_else(|| vars.text(env::CARGO_BUILD_JOBS));
    let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match asked.and_then(|asked| asked.parse::<i64>().ok()) {
        Some(jobs) if jobs > 0 => jobs.to_string(),
        Some(fewer) => (i64::try_from(all).unwrap_or(1) + fewer).max(1).to_string(),
        None => all.to_string(),
    }
}

/// The subcommand and those of its arguments that select units. An argument that is not an option belongs to a program
/// (`cargo run`, as do all that follow it) or names tests.
fn selecting_words<'a>(mut args: impl Iterator<Item = &'a str>) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    while let Some(arg) = args.next() {
        let plain = arg.split_once('=').map_or(arg, |(name, _)| name);
        let value = if WITH_VALUE.contains(&arg) { args.next() } else { None };
        let is_attached_jobs = arg.strip_prefix("-j").is_some_and(|jobs| jobs.parse::<u32>().is_ok());
        if REFUSED.iter().any(|refused| plain.starts_with(refused)) {
            return None;
        }
        if OF_PRESENTATION.contains(&plain) || is_attached_jobs {
            continue;
        }
        if arg.starts_with('-') {
            words.extend([Some(arg), value].into_iter().flatten().map(str::to_owned));
        } else if words.is_empty() {
            words.push(long_name(arg).to_owned());
        } else if words[0] == "run" {
            break;
        }
    }
    words.first().is_some_and(|first| COMMANDS.contains(&first.as_str())).then_some(words)
}

fn long_name(subcommand: &str) -> &str {
    SHORT.iter().find(|(short, _)| *short == subcommand).map_or(subcommand, |(_, long)| long)
}

fn selects(variable: &str) -> bool {
    let is_named =
        SELECTING.contains(&variable) || SELECTING_PREFIXES.iter().any(|prefix| variable.starts_with(prefix));
    is_named && variable != env::CARGO_TARGET_DIR
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(text: &str) -> Option<String> {
        let args: Vec<String> = text.split(' ').map(str::to_owned).collect();
        name(&args, &Env::of([("HOME", "/h")]), "").map(|name| name.replace('\n', " "))
    }

    #[test]
    fn only_what_selects_units_is_in_the_name() {
        let same = |text: &str, expected: &str| assert_eq!(name_of(text).as_deref(), Some(expected), "{text}");
        same("cargo build", "build");
        same("/t/bin/cargo +nightly -q --color never b -j 4 -j8 --jobs=2 -v --locked", "build");
        same("cargo test --release one_test -p a -- --nocapture", "test --release -p a");
        same("cargo run --bin a login hunter2", "run --bin a");
        same("cargo check --workspace --all-targets --target-dir /t", "check --workspace --all-targets");
        same("cargo check --message-format json", "check --message-format json");
        for refused in [
            "cargo -q",
            "cargo install ripgrep",
            "cargo xtask --token x",
            "cargo build --config a.b=1",
            "cargo -Zx build",
        ] {
            assert_eq!(name_of(refused), None, "{refused}");
        }
        let args = ["cargo".to_owned(), "build".to_owned()];
        assert_eq!(name(&args, &Env::of([("A", "1")]), "tiny").as_deref(), Some("build\nin tiny"));
    }

    #[test]
    fn commands_that_build_nearly_the_same_are_similar() {
        assert_eq!(similar("run\n--release"), ["build\n--release"]);
        assert_eq!(similar("test"), ["build", "run"]);
        assert_eq!(similar("check\n-p\na\nRUSTC_WORKSPACE_WRAPPER=/c"), ["check\n-p\na"]);
        assert_eq!((similar("check"), similar("bench")), (Vec::new(), Vec::new()));
    }

    #[test]
    fn an_alias_is_its_words() {
        let alias = |name: &str| match name {
            "x" => Some(vec!["run".to_owned(), "--bin".to_owned(), "a".to_owned(), "--".to_owned()]),
            "y" => Some(vec!["x".to_owned(), "secret".to_owned()]),
            "round" => Some(vec!["round".to_owned()]),
            _ => None,
        };
        let of = |text: &str| {
            let args: Vec<String> = text.split(' ').map(str::to_owned).collect();
            name(&without_alias(args, alias), &Env::of([("A", "1")]), "").map(|name| name.replace('\n', " "))
        };
        for command in ["cargo x", "cargo +nightly --color never -q y", "cargo run --bin a"] {
            assert_eq!(of(command).as_deref(), Some("run --bin a"), "{command}");
        }
        assert_eq!((of("cargo round"), of("cargo z"), of("cargo"), of("cargo --color")), (None, None, None, None));
    }

    #[test]
    fn jobs_are_those_that_cargo_tells_build_scripts() {
        let of = |text: &str, vars: &Env| jobs(&text.split(' ').map(str::to_owned).collect::<Vec<_>>(), vars);
        let (none, three) = (Env::of([("A", "1")]), Env::of([(env::CARGO_BUILD_JOBS, "3")]));
        assert_eq!((of("cargo build -j7", &three), of("cargo build --jobs=7", &three)), ("7".into(), "7".into()));
        assert_eq!((of("cargo build -j 7", &none), of("cargo build", &three)), ("7".into(), "3".into()));
        let all = std::thread::available_parallelism().unwrap().get();
        assert_eq!((of("cargo build", &none), of("cargo build -j-99", &none)), (all.to_string(), "1".into()));
    }

    #[test]
    fn a_command_is_for_a_plain_directory() {
        let of = |text: &str| directory(&text.split(' ').map(str::to_owned).collect::<Vec<_>>(), Path::new("/a/b"));
        assert_eq!(of("cargo check --manifest-path ../c/./Cargo.toml"), Path::new("/a/c"));
        assert_eq!(of("cargo check"), Path::new("/a/b"));
    }

    #[test]
    fn values_are_found_in_both_spellings() {
        let of = |text: &str| {
            let args: Vec<String> = text.split(' ').map(str::to_owned).collect();
            value(&args, "--manifest-path").map(str::to_owned)
        };
        assert_eq!(of("cargo check --manifest-path /a/Cargo.toml").as_deref(), Some("/a/Cargo.toml"));
        assert_eq!(of("cargo check --manifest-path=/a/Cargo.toml -q").as_deref(), Some("/a/Cargo.toml"));
        assert_eq!(of("cargo run -- --manifest-path /a/Cargo.toml"), None, "of the program");
        assert_eq!((of("cargo check --manifest-paths x"), of("cargo check --manifest-path")), (None, None));
    }

    #[test]
    fn variables_that_select_units_are_in_the_name() {
        let args = ["cargo".to_owned(), "build".to_owned()];
        let of = |variable: &str| name(&args, &Env::of([(variable, "1")]), "").unwrap();
        assert_eq!(of("CARGO_PROFILE_DEV_DEBUG"), "build\nCARGO_PROFILE_DEV_DEBUG=1");
        assert_eq!(of("TERM"), "build");
    }
}
