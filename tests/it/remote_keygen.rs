//! `kache keygen`, run as the real binary.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use kache::remote::{SigningKey, Trust};

use super::support::KACHE;

fn keygen(dir: &Path, args: &[&str]) -> Output {
    Command::new(KACHE).arg("keygen").args(args).current_dir(dir).output().unwrap()
}

/// The keys in `trusted_keys = [...]`, parsed as the settings would be.
fn trusted(stdout: &str) -> Vec<String> {
    let settings: toml::Table =
        stdout.lines().filter(|line| !line.starts_with("KACHE_")).collect::<Vec<_>>().join("\n").parse().unwrap();
    settings["trusted_keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect()
}

#[test]
fn both_halves_are_printed_ready_to_use() {
    let dir = tempfile::tempdir().unwrap();
    let output = keygen(dir.path(), &[]);
    assert!(output.status.success());
    let stdout = String::from_utf8(output.stdout).unwrap();
    let secret = stdout.lines().find_map(|line| line.strip_prefix("KACHE_SIGNING_KEY=")).unwrap();
    let key = SigningKey::parse(secret).unwrap();
    assert_eq!(Trust::of(&trusted(&stdout), None), Ok(Trust::of_keys([key.public()])));
    assert_ne!(keygen(dir.path(), &[]).stdout, stdout.as_bytes(), "another pair each time");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_secret_in_a_file_is_its_owner_s_alone_and_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("k");
    let output = keygen(dir.path(), &["--out", "k"]);
    assert!(output.status.success());
    let secret = fs::read_to_string(&file).unwrap();
    let key = SigningKey::parse(&secret).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let printed = [output.stdout.clone(), output.stderr].concat();
    assert!(!String::from_utf8_lossy(&printed).contains(secret.trim()), "the secret is in the file only");
    assert_eq!(trusted(&String::from_utf8(output.stdout).unwrap()), [key.public().to_string()]);

    let again = keygen(dir.path(), &["--out", "k"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(again.stdout.is_empty() && String::from_utf8_lossy(&again.stderr).contains("cannot write the secret key"));
    assert_eq!(fs::read_to_string(&file).unwrap(), secret);
}
