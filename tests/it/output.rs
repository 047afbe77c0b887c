//! The whole output of the commands about builds and the store, by the real binary after real builds.
//!
//! These snapshots and `refusals.snap` (`report.rs`) are the only tests that compare sentences and columns. Other tests
//! check the one fact that they are about, if possible in the JSON.

use crate::support::{Project, manifest, settle};

/// A library that depends on the values of two variables, one of which looks secret.
const DEP: &str = "pub fn value() -> String {\n    format!(\"{:?} {:?} {}\", option_env!(\"MOOD\"), \
                   option_env!(\"API_KEY\"), base::value())\n}\n";

/// The crates of [`chain`], in the order in which cargo builds them.
const CRATES: [&str; 3] = ["base", "dep", "app"];

/// `app`, which depends on `dep`, which depends on `base`.
fn chain() -> Project {
    let mut project = Project::app_over(DEP);
    project.set("KACHE_MAX_SIZE", "1GiB");
    project.file("dep/Cargo.toml", manifest("dep", "[dependencies]\nbase = { path = \"../base\" }\n"));
    project.file("base/Cargo.toml", manifest("base", "")).file("base/src/lib.rs", "pub fn value() -> u32 { 1 }\n");
    project
}

#[test]
fn before_the_first_build() {
    let mut project = Project::new();
    project.set("KACHE_MAX_SIZE", "1GiB");
    project.shows("nothing-built", &["stats", "stats --since 1h", "why", "report", "report --since 1h"]);
    project.shows("nothing-built-report-formats", &["report --format markdown", "report --format json"]);
    project.shows("nothing-stored", &["list", "list dep", "purge --crate dep", "purge", "gc", "gc --quiet"]);
    project.shows("no-agent", &["agent status", "agent status --json", "agent logs", "agent stop"]);
}

#[test]
fn after_an_edit() {
    let mut project = chain();
    project.warm(&["base", "dep", "app"]);
    project.set("MOOD", "glad").set("API_KEY", "hush").file("dep/src/lib.rs", format!("{DEP}// edited\n"));
    project.rebuild_misses(&["dep", "app"]).hits(&["base"]);
    project.with_fixed_figures(&CRATES);
    project.shows("why", &["why", "why dep", "why app", "why base", "why absent"]);
    project.shows("report", &["report", "report --since 5h", "report --since 1h"]);
    project.shows("report-formats", &["report --format markdown", "report --format json"]);
    project.shows("stats", &["stats", "stats --since 5h", "stats --since 1h", "stats --json"]);
}

#[test]
fn after_odd_builds() {
    let mut project = chain();
    project.hook("after", "base", "echo 'pub fn value() -> u64 { 2 }' > base/src/lib.rs\n").build();
    project.unhook("after", "base").with_fixed_figures(&CRATES).shows("why-not-stored", &["why", "why base"]);
    settle();
    project.wipe().build();
    project.set("KACHE_VERIFY", "hits");
    project.wipe().build();
    project.unset("KACHE_VERIFY").set("RUSTFLAGS", "-Csave-temps").wipe().build();
    project.with_fixed_figures(&CRATES);
    project.shows("why-bypass", &["why", "why dep"]);
    project.shows("stats-of-odd-builds", &["stats", "report"]);
    project.unset("RUSTFLAGS").wipe().build();
    project.with_fixed_figures(&CRATES).shows("why-all-hits", &["why", "why dep"]);
}

#[test]
fn the_store() {
    let project = chain();
    // One after the other, because the list is sorted by the time of the last use.
    for name in CRATES {
        project.cargo(&["build", "--package", name]);
    }
    project.shows("list", &["list", "list dep", "list absent"]);
    // The store may share files with the target directory, which purge and gc report.
    project.wipe();
    project.shows("purge-and-gc", &["purge --crate dep", "purge --crate absent", "gc", "purge"]);
}

#[test]
fn the_setup() {
    let mut project = Project::new();
    project.unset("RUSTC_WRAPPER");
    project.shows(
        "init",
        &["init --check", "init", "init --yes", "init --yes", "init --check", "init --undo --yes", "init --undo --yes"],
    );
    project.set("RUSTC_WRAPPER", "sccache").shows("init-overridden", &["init --yes", "init --check"]);
    project.unset("RUSTC_WRAPPER").kache(&["init", "--undo", "--yes"]).ends(0);
    project.shows("doctor-not-set-up", &["doctor"]);
    project.file("../../cargo-home/config.toml", "[build]\nrustc-wrapper = \"sccache\"\n");
    project.shows("init-other-wrapper", &["init --check", "init --yes", "init --undo --yes"]);
}

#[test]
fn a_doctor_who_finds_nothing() {
    let project = Project::new();
    project.shows("doctor", &["doctor"]);
}

#[test]
fn a_doctor_who_finds_what_was_set() {
    let mut project = Project::new();
    project.file(".kache.toml", "[inputs.\"*\"]\nenv = [\"FLAVOUR\"]\n");
    let settings = project.path("settings.toml");
    project
        .file("settings.toml", "[cache]\nmax_size = \"1GiB\"\n[build]\nverify_rate = \"1/10\"\nclaim_wait = \"1s\"\n");
    project.set("KACHE_CONFIG", settings).set("KACHE_VERIFY", "hits").set("KACHE_OBSERVE", "0");
    project.set("KACHE_DISABLED", "1");
    project.shows("doctor-settings", &["doctor"]);
}

#[test]
fn keys_to_sign() {
    Project::new().shows("keygen", &["keygen", "keygen --out secret", "keygen --out secret"]);
}
