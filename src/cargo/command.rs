//! Commands of cargo, as names: two commands have the same name if they build the same units.
//!
//! The name is the command's arguments without those that change only how cargo works or what it prints, and the
//! variables that select units. It is only a name: another spelling of a command gets another one.

use crate::config::{Env, env};

/// Arguments that do not select units, and whether a value follows as the next argument.
const OF_PRESENTATION: [(&str, bool); 19] = [
    ("--color", true),
    ("--frozen", false),
    ("--future-incompat-report", false),
    ("--jobs", true),
    ("--keep-going", false),
    ("--locked", false),
    ("--manifest-path", true),
    ("--message-format", true),
    ("--no-fail-fast", false),
    ("--no-run", false),
    ("--offline", false),
    ("--quiet", false),
    ("--target-dir", true),
    ("--timings", false),
    ("--verbose", false),
    ("-j", true),
    ("-q", false),
    ("-v", false),
    ("-vv", false),
];

/// Commands that build elsewhere than in the workspace's target directory, or more than units.
const OTHER_COMMANDS: [&str; 8] = ["doc", "fix", "install", "metadata", "miri", "package", "publish", "rustdoc"];

/// Cargo's own short names for commands.
const SHORT: [(&str, &str); 5] = [("b", "build"), ("c", "check"), ("d", "doc"), ("r", "run"), ("t", "test")];

/// Commands after whose `--` come arguments for a program that cargo runs.
const RUNS_PROGRAMS: [&str; 3] = ["bench", "run", "test"];

/// Variables that select units or their flags.
const SELECTING: [&str; 5] =
    ["CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "CARGO_INCREMENTAL", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS"];
/// The prefixes of more such variables.
const SELECTING_PREFIXES: [&str; 3] = ["CARGO_BUILD_RUSTFLAGS", "CARGO_PROFILE_", "CARGO_TARGET_"];

/// Returns the name of a command, from all arguments of cargo and its environment. `None` if there is no subcommand,
/// or one that builds in another way.
pub fn name(args: &[String], vars: &Env) -> Option<String> {
    let words = selecting_words(args.iter().skip(1).map(String::as_str).filter(|arg| !arg.starts_with('+')));
    let variables = vars.all().into_iter().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| selects(name))?;
        Some(format!("{name}={}", value.to_string_lossy()))
    });
    let is_build = !words.is_empty() && !words.iter().any(|word| OTHER_COMMANDS.contains(word));
    is_build.then(|| words.into_iter().map(str::to_owned).chain(variables).collect::<Vec<_>>().join("\n"))
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

/// The subcommand and those of its arguments that select units.
fn selecting_words<'a>(mut args: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut words: Vec<&str> = Vec::new();
    while let Some(arg) = args.next() {
        let plain = arg.split_once('=').map_or(arg, |(name, _)| name);
        let is_attached_jobs = arg.strip_prefix("-j").is_some_and(|jobs| jobs.parse::<u32>().is_ok());
        match OF_PRESENTATION.iter().find(|(name, _)| *name == plain) {
            _ if arg == "--" && words.first().is_some_and(|first| RUNS_PROGRAMS.contains(first)) => break,
            _ if is_attached_jobs => {}
            Some((_, true)) if plain == arg => drop(args.next()),
            Some(_) => {}
            None if words.is_empty() => words.push(long_name(arg)),
            None => words.push(arg),
        }
    }
    words
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
        name(&args, &Env::of([("HOME", "/h")])).map(|name| name.replace('\n', " "))
    }

    #[test]
    fn only_what_selects_units_is_in_the_name() {
        let same = |text: &str, expected: &str| assert_eq!(name_of(text).as_deref(), Some(expected), "{text}");
        same("cargo build", "build");
        same("/t/bin/cargo +nightly -q --color never b -j 4 -j8 --jobs=2 -v --locked", "build");
        same("cargo test --release -p a --message-format=json -- --nocapture", "test --release -p a");
        same("cargo check --workspace --all-targets --target-dir /t", "check --workspace --all-targets");
        same("cargo rustc --release -- -C opt-level=1", "rustc --release -- -C opt-level=1");
        assert_eq!((name_of("cargo -q"), name_of("cargo install ripgrep")), (None, None));
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
        let of = |variable: &str| name(&args, &Env::of([(variable, "1")])).unwrap();
        assert_eq!(of("CARGO_PROFILE_DEV_DEBUG"), "build\nCARGO_PROFILE_DEV_DEBUG=1");
        assert_eq!(of("TERM"), "build");
    }
}
