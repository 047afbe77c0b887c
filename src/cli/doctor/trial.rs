//! The trial: builds a tiny crate twice with real cargo, real rustc and this program, in a temporary cache.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use super::check::Check;
use crate::cargo::built_units;
use crate::cli::units;
use crate::config::{Env, env};
use crate::events::{Event, EventLog};
use crate::fsx::{self, Publish, Temp};
use crate::model::Stored;

const CRATE_NAME: &str = "kache_doctor";

const MANIFEST: &str = "\
[package]
name = \"kache_doctor\"
version = \"0.0.0\"
edition = \"2021\"

[workspace]
";

const SOURCE: &str = "\
//! Compiled by `kache doctor`.

/// Something with a path in its debug info.
pub fn place() -> &'static str {
    file!()
}
";

pub(super) fn checks(vars: &Env) -> Vec<Check> {
    match build_twice(vars) {
        Ok(checks) => checks,
        Err(error) => vec![Check::fail("build", format!("{error:#}"))],
    }
}

fn build_twice(vars: &Env) -> anyhow::Result<Vec<Check>> {
    let dir = Temp::dir().context("cannot create a directory")?;
    let first = build(vars, &dir, "first")?;
    let mut checks = vec![check_event("first build", &first, is_stored, "miss, stored")];
    checks.extend(check_fingerprints(&dir.path().join("first/target")));
    if is_stored(&first) {
        let second = build(vars, &dir, "some/where/else")?;
        checks.push(check_event("second build", &second, |event| event.outcome.is_hit(), "hit"));
    }
    Ok(checks)
}

fn is_stored(event: &Event) -> bool {
    event.outcome.is_miss() && event.is_stored()
}

/// Builds the crate in a new directory and returns the event that kache logged.
fn build(vars: &Env, dir: &Temp, name: &str) -> anyhow::Result<Event> {
    let (project, cache) = (dir.path().join(name), dir.path().join("cache"));
    Publish::default().bytes(&project.join("Cargo.toml"), MANIFEST.as_bytes())?;
    Publish::default().bytes(&project.join("src/lib.rs"), SOURCE.as_bytes())?;
    let cargo = vars.path(env::CARGO).unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args(["build", "--offline", "--quiet", "--target-dir"]).arg(project.join("target")).current_dir(&project);
    for name in [env::RUSTC_LOG, env::CARGO_TARGET_DIR, env::CARGO_BUILD_RUSTC_WRAPPER] {
        command.env_remove(name);
    }
    command
        .env(env::RUSTC_WRAPPER, fsx::current_exe()?)
        .env(env::KACHE_CACHE_DIR, &cache)
        .env(env::KACHE_DISABLED, "0")
        .env(env::KACHE_BULK, "off")
        .env(env::KACHE_VERIFY, "off");
    let output = command.output().with_context(|| format!("cannot run {}", cargo.display()))?;
    ensure!(output.status.success(), "cargo failed: {}", last_line(&output.stderr));
    last_event(&cache)?.context("cargo built the crate without calling kache")
}

/// Warns if this cargo writes fingerprints that kache does not know.
fn check_fingerprints(target: &Path) -> Option<Check> {
    let is_known = !built_units::read_all(target, "debug").is_empty();
    let text = "this cargo computes fingerprints in an unknown way, so kache does not restore whole builds, only units";
    (!is_known).then(|| Check::warn("whole builds", text))
}

fn last_event(cache: &Path) -> anyhow::Result<Option<Event>> {
    let events = EventLog::of(cache).read(i64::MIN)?;
    Ok(events.into_iter().rfind(|event| event.crate_name == CRATE_NAME))
}

fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it printed nothing").to_owned()
}

fn check_event(what: &'static str, event: &Event, is_right: fn(&Event) -> bool, expected: &str) -> Check {
    let took = units::millis(event.ms);
    if is_right(event) {
        return Check::ok(what, format!("{expected}; took {took}"));
    }
    let mut parts = vec![event.outcome.id(), event.outcome.sentence()];
    parts.extend(event.stored.as_ref().map(Stored::sentence));
    parts.extend(Some(event.detail.as_str()).filter(|detail| !detail.is_empty()));
    Check::fail(what, format!("expected {expected}, got {}", parts.join("; ")))
}
