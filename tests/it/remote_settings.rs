//! The settings of transfers reach the requests of commands.

use std::time::Duration;

use crate::support::Project;
use crate::support::entries::{self, Size};
use crate::support::remote::ProxiedServer;
use crate::support::s3_server::{S3Server, WRITER};

fn project(proxied: &ProxiedServer) -> Project {
    let mut project = Project::new();
    project.use_remote(&S3Server::variables(&proxied.proxy.endpoint(), WRITER));
    project
}

#[test]
fn the_part_size_decides_how_packs_are_transferred() {
    let proxied = ProxiedServer::new();
    let project = project(&proxied);
    // Three parts of 5 MiB, and less than two of the default.
    entries::fill(&project.cache_dir(), 1, Size { bytes: 11_000_000, noise: 100 });
    for (part_size, uploaded, downloaded) in [("8MiB", 0, 1), ("5MiB", 3, 3)] {
        proxied.server.clear();
        proxied.proxy.forget();
        project.kache_with("KACHE_REMOTE_PART_SIZE", part_size, &["push", "--all"]).must_succeed();
        assert_eq!(proxied.proxy.count("PUT", "partNumber"), uploaded, "{part_size}");
        let mut other = project.other_machine(part_size);
        other.set("KACHE_REMOTE_PART_SIZE", part_size).kache(&["pull", "--all"]).must_succeed();
        assert_eq!(proxied.proxy.count("GET", "packs/"), downloaded, "{part_size}");
        other.assert_store_whole();
    }
}

#[test]
fn no_more_requests_are_in_flight_than_the_setting_allows() {
    let proxied = ProxiedServer::new();
    let project = project(&proxied);
    entries::fill(&project.cache_dir(), 24, Size { bytes: 2000, noise: 50 });
    project.kache(&["push"]).must_succeed();
    proxied.proxy.set_latency(Duration::from_millis(30));
    let peak = |connections: &str| {
        proxied.proxy.forget();
        let mut other = project.other_machine(connections);
        other.set("KACHE_REMOTE_CONNECTIONS", connections).kache(&["pull", "--all"]).must_succeed();
        other.assert_store_whole();
        proxied.proxy.peak()
    };
    let (few, many) = (peak("2"), peak("64"));
    assert!(few <= 2 && many > 2, "{few} {many}");
}
