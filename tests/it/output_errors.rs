//! The common errors, as a person sees them.

use crate::support::Project;

/// A project with these settings.
fn with_settings(settings: &str) -> Project {
    let mut project = Project::new();
    let file = project.path("settings.toml");
    project.set("KACHE_CONFIG", file).file("settings.toml", settings);
    project
}

#[test]
fn settings_that_kache_cannot_read() {
    with_settings("[cache\n").shows("error-settings-syntax", &["stats", "gc --quiet", "doctor"]);
    with_settings("[cache]\nmax_size = \"lots\"\n").shows("error-settings-value", &["stats", "doctor"]);
    with_settings("[cache]\nmax_sise = \"1GiB\"\n").shows("error-settings-unknown", &["stats", "gc --quiet", "doctor"]);
    with_settings("[cache.remote]\nregion = 7\n").shows("error-settings-remote", &["push"]);
}

#[test]
fn variables_that_kache_cannot_read() {
    for (name, value) in [
        ("error-variable-max-size", "KACHE_MAX_SIZE=lots"),
        ("error-variable-observe", "KACHE_OBSERVE=maybe"),
        ("error-variable-claim-wait", "KACHE_CLAIM_WAIT=soon"),
        ("error-variable-paths", "KACHE_PATHS=some"),
        ("error-variable-cache-dir", "KACHE_CACHE_DIR=relative"),
    ] {
        let mut project = Project::new();
        let (variable, value) = value.split_once('=').expect("a value");
        project.set(variable, value);
        project.shows(name, &["stats"]);
    }
}

#[test]
fn a_remote_that_is_not_set() {
    let project = Project::new();
    project.shows("error-no-remote", &["push", "pull", "agent run", "doctor --remote"]);
}

#[test]
fn half_a_remote_and_bad_keys() {
    let mut project = Project::new();
    project.set("KACHE_S3_BUCKET", "some-bucket").set("KACHE_S3_ACCESS_KEY", "the-id");
    project.shows("error-half-a-remote", &["push", "doctor --remote"]);
    project.set("KACHE_S3_SECRET_KEY", "the-secret").set("KACHE_S3_ENDPOINT", "http://127.0.0.1:9");
    project.set("KACHE_SIGNING_KEY", "kache-sk1:nonsense");
    project.shows("error-signing-key", &["push", "doctor --remote"]);
    project.unset("KACHE_SIGNING_KEY").set("KACHE_TRUSTED_KEYS", "nonsense");
    project.shows("error-trusted-key", &["pull", "doctor --remote"]);
}

#[test]
fn command_lines_that_kache_cannot_read() {
    Project::new().shows(
        "error-usage",
        &[
            "",
            "bogus",
            "stats --sinse 1h",
            "stats --since soon",
            "report --format html",
            "agent",
            "completions",
            "push x",
        ],
    );
}
