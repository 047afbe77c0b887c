//! Builds that no cargo made: a workspace, and the events of a build there, as the wrapper appends them to its log.
//!
//! `kache push` writes a build record of the entries that these events name.
#![allow(dead_code, reason = "a toolbox: each binary that includes it uses its part")]

use std::path::Path;

use kache::events::{Event, EventLog, event};
use kache::fsx::clock;
use kache::model::Stored;

use super::entries::Made;

/// Target and profile of the builds.
pub(crate) const SHAPE: &str = "host/debug";

/// Creates a workspace. Two of them at different paths are checkouts of the same one.
pub(crate) fn write_workspace(root: &Path) {
    std::fs::create_dir_all(root).expect("workspace");
    let package = "name = \"bench\"\nversion = \"0.1.0\"\n";
    std::fs::write(root.join("Cargo.toml"), format!("[package]\n{package}")).expect("manifest");
    std::fs::write(root.join("Cargo.lock"), format!("version = 4\n\n[[package]]\n{package}")).expect("lock");
}

/// Appends the events of a build in the workspace that compiled these entries into the store of `cache`.
pub(crate) fn append_events(cache: &Path, root: &Path, cargo_pid: u64, made: &[Made]) {
    let log = EventLog::of(cache);
    for Made { crate_name, lookup, key } in made {
        let event = Event {
            v: event::VERSION,
            at: clock::now().as_millis(),
            outcome: "miss.no-manifest".into(),
            crate_name: crate_name.clone(),
            package: format!("{crate_name} 1.0.0"),
            kind: "lib".to_owned(),
            emit: "link".to_owned(),
            ms: 100.0,
            stored: Some(Stored::Yes),
            lookup: lookup.0.hex(),
            key: key.0.hex(),
            target: root.join("target").to_str().expect("text").to_owned(),
            shape: SHAPE.to_owned(),
            cargo_pid,
            unit: format!("{crate_name}-0123456789abcdef"),
            ..Event::default()
        };
        log.append(&event).expect("the event log");
    }
}
