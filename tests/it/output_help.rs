//! The help of kache and of every command.

use std::fs;
use std::path::Path;

use crate::support::Project;

/// The commands that have help.
const COMMANDS: [&str; 23] = [
    "init",
    "stats",
    "why",
    "report",
    "doctor",
    "list",
    "purge",
    "gc",
    "restore",
    "push",
    "pull",
    "agent",
    "agent run",
    "agent status",
    "agent stop",
    "agent logs",
    "remote",
    "remote stats",
    "remote gc",
    "remote policy",
    "remote revoke",
    "keygen",
    "completions",
];

#[test]
fn every_command_has_help_that_fits_the_page() {
    let project = Project::new();
    let help = project.kache(&["--help"]).ends(0);
    let commands = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("commands");
    let named: Vec<&str> = commands.lines().map(|line| line.split_whitespace().next().expect("a name")).collect();
    let known: Vec<&str> = COMMANDS.into_iter().filter(|name| !name.contains(' ')).chain(["help"]).collect();
    assert_eq!(named, known);
    project.shows("help", &["--help"]);
    for command in COMMANDS {
        let line = format!("{command} --help");
        project.shows(&format!("help-{}", command.replace(' ', "-")), &[&line]);
        let help = project.kache(&line.split(' ').collect::<Vec<_>>()).ends(0);
        let wide: Vec<&str> = help.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{command}: {wide:?}");
    }
    let wide: Vec<&str> = help.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:?}");
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = Project::new().kache(&["--version"]).ends(0);
    assert_eq!(version, format!("kache {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_snapshot_has_a_test() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let list = |dir: &Path| fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    let sources: Vec<String> = list(&tests)
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
        .map(|path| fs::read_to_string(path).expect("text").split_whitespace().collect())
        .collect();
    for file in list(&tests.join("snapshots")) {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let is_help = COMMANDS.iter().any(|command| name == format!("help-{}", command.replace(' ', "-")));
        // In a call of `shows`, or in a list of pairs of names and variables.
        let is_named = |source: &String| {
            source.contains(&format!("shows(\"{name}\"")) || source.contains(&format!("(\"{name}\",\"KACHE_"))
        };
        let is_named = sources.iter().any(is_named);
        assert!(file.extension().is_some_and(|kind| kind == "snap") && (is_help || is_named), "{}", file.display());
    }
}
