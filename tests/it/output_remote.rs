//! The whole output of the commands about the remote, with a server in this process.

use crate::support::s3_server::{READER, S3Server, WRITER};
use crate::support::{KACHE, Project, Run, real_cargo};

/// A program and its library, not built yet, and the remote.
fn app(server: &S3Server, keys: (&str, &str)) -> Project {
    let mut project = Project::app_over("pub fn value() -> u32 { 7 }\n");
    project.set("KACHE_MAX_SIZE", "1GiB").use_remote(&S3Server::variables(&server.endpoint(), keys));
    project
}

/// Builds without the remote, so that no agent starts.
fn build(project: &Project) -> Run {
    let mut command = project.command(real_cargo());
    command.arg("build").env("RUSTC_WRAPPER", KACHE).env_remove("KACHE_S3_BUCKET");
    project.finish(command).must_succeed()
}

#[test]
fn push_and_pull() {
    let server = S3Server::start();
    let one = app(&server, WRITER);
    let two = one.other_machine("two");
    build(&one).misses(&["dep", "app"]);
    one.shows("push", &["push --dry-run", "push", "push"]);
    two.shows("pull", &["pull --dry-run", "pull", "pull", "pull --crate absent", "pull --build absent"]);
    build(&two).hits(&["dep", "app"]);
}

#[test]
fn doctor_with_a_remote() {
    let server = S3Server::start();
    app(&server, WRITER).shows("doctor-remote", &["doctor --remote"]);
    let mut reader = app(&server, READER);
    reader.shows("doctor-remote-denied", &["doctor --remote"]);
    reader.set("KACHE_REMOTE_READONLY", "1").shows("doctor-remote-read-only", &["doctor --remote", "push"]);
    let mut elsewhere = app(&server, WRITER);
    elsewhere.set("KACHE_S3_BUCKET", "no-such-bucket").shows("error-no-bucket", &["pull --all"]);
    app(&server, (WRITER.0, "not-the-secret")).shows("doctor-remote-wrong-secret", &["doctor --remote", "pull --all"]);
}

#[test]
fn a_server_that_is_not_there() {
    let mut project = Project::new();
    project.use_remote(&S3Server::variables("http://127.0.0.1:9", WRITER));
    project.shows("doctor-remote-unreachable", &["doctor --remote"]);
}
