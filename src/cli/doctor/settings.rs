//! The settings and their sources, and whether cargo calls this program.

use std::path::Path;

use super::check::Check;
use crate::cli::cargo_config::{self, Wrapper};
use crate::config::{Config, Env, Project, Setting, Source, Verify};
use crate::fsx;

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let is_there = if fsx::exists(&config.file) { "" } else { " (absent)" };
    let mut checks = vec![
        Check::ok("config file", format!("{}{is_there}", config.file.display())),
        shown("cache.dir", &config.cache_dir, config.cache_dir.value.display()),
        shown("cache.max_size", &config.max_size, max_size(config)),
        shown("build.paths", &config.paths, config.paths.value.name()),
        shown("build.claim_wait", &config.claim_wait, humantime::format_duration(config.claim_wait.value)),
        observe(config),
        shown("build.scripts", &config.scripts, config.scripts.value),
        shown("build.bulk", &config.bulk, config.bulk.value),
        verify(config),
        shown("build.verify_rate", &config.verify_rate, config.verify_rate.value),
        shown("log.level", &config.log, config.log.value.0),
    ];
    checks.push(match config.disabled.value {
        false => shown("build.disabled", &config.disabled, "false"),
        true => Check::warn("build.disabled", format!("true (from {}): kache caches nothing", config.disabled.source)),
    });
    if !config.unknown_keys.is_empty() {
        let keys = config.unknown_keys.join(", ");
        checks.push(Check::fail(
            "unknown keys",
            format!("{keys}: other commands fail until they are removed; builds ignore them"),
        ));
    }
    checks
}

fn max_size(config: &Config) -> String {
    match config.max_size.value {
        Some(size) => size.display().iec().to_string(),
        None => "a twentieth of the disk (5 to 100 GiB), less if a tenth of the disk would not stay free".to_owned(),
    }
}

/// Reports the project file that applies to the current directory.
pub(super) fn project() -> Check {
    const WHAT: &str = ".kache.toml";
    match fsx::current_dir().map_err(Into::into).and_then(|dir| Project::find(&dir)) {
        Ok(None) => Check::ok(WHAT, "none in this directory or above it"),
        Ok(Some(project)) => {
            let sections: Vec<&str> = project.inputs.keys().map(String::as_str).collect();
            Check::ok(WHAT, format!("{}, inputs for: {}", project.path.display(), sections.join(", ")))
        }
        Err(error) => Check::fail(WHAT, format!("{error}; kache caches no crate below it")),
    }
}

fn observe(config: &Config) -> Check {
    match config.observe.value {
        true => shown("build.observe", &config.observe, "true"),
        false => Check::warn(
            "build.observe",
            format!("false (from {}): kache knows only the inputs in rustc's dep-info", config.observe.source),
        ),
    }
}

fn verify(config: &Config) -> Check {
    match config.verify.value {
        Verify::Off => shown("build.verify", &config.verify, "off"),
        Verify::Hits => {
            let (source, rate) = (config.verify.source, config.verify_rate.value);
            Check::warn("build.verify", format!("hits (from {source}): rustc runs on {rate} of the hits, too"))
        }
    }
}

fn shown<T>(name: &'static str, setting: &Setting<T>, value: impl std::fmt::Display) -> Check {
    Check::ok(
        name,
        match setting.source {
            Source::Default => value.to_string(),
            source => format!("{value} (from {source})"),
        },
    )
}

/// Reports which wrapper cargo uses in the current directory.
pub(super) fn wrapper(env: &Env) -> Vec<Check> {
    let found = fsx::current_dir().map_err(Into::into).and_then(|dir| cargo_config::in_force(env, &dir));
    vec![match found {
        Err(error) => Check::fail("rustc-wrapper", format!("{error:#}")),
        Ok(None) => Check::fail("rustc-wrapper", "not set: cargo does not call kache; run `kache init`"),
        Ok(Some(wrapper)) => check_wrapper(&wrapper),
    }]
}

fn check_wrapper(wrapper: &Wrapper) -> Check {
    let Wrapper { program, place } = wrapper;
    let path = Path::new(program);
    if program.is_empty() {
        return Check::fail("rustc-wrapper", format!("disabled by {place}: cargo does not call kache"));
    }
    if !cargo_config::is_kache(program) {
        return Check::fail(
            "rustc-wrapper",
            format!("{program} (from {place}): cargo does not call kache; run `kache init --replace`"),
        );
    }
    if path.is_absolute() && !fsx::exists(path) {
        return Check::fail("rustc-wrapper", format!("{program} (from {place}) does not exist; run `kache init`"));
    }
    let is_this = fsx::current_exe().ok().zip(fsx::canonicalize(path).ok()).is_none_or(|(this, named)| this == named);
    match is_this {
        true => Check::ok("rustc-wrapper", format!("{program} (from {place})")),
        false => Check::warn("rustc-wrapper", format!("{program} (from {place}) is not the program that runs now")),
    }
}
