//! `kill -9` of a whole build at random moments (design 3.6): the state is never torn, and the next build is right.

use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::support::{Project, manifest, random, real_cargo, signal};

const ROUNDS: u64 = 30;
const CRATES: u64 = 8;
const NAMES: [&str; 8] = ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"];

/// `app` prints the sum of the values of eight libraries. Each odd one depends on the one before it.
fn workspace() -> Project {
    let project = Project::new();
    let path = |n: u64| format!("k{n} = {{ path = \"k{n}\" }}\n");
    let all: String = (0..CRATES).map(path).collect();
    project.file("Cargo.toml", manifest("app", &format!("[dependencies]\n{all}[workspace]\n")));
    let sum: Vec<String> = (0..CRATES).map(|n| format!("k{n}::value()")).collect();
    project.file("src/main.rs", format!("fn main() {{ println!(\"{{}}\", {}); }}\n", sum.join(" + ")));
    for n in 0..CRATES {
        let below =
            if n % 2 == 1 { format!("[dependencies]\nk{} = {{ path = \"../k{0}\" }}\n", n - 1) } else { String::new() };
        project.file(&format!("k{n}/Cargo.toml"), manifest(&format!("k{n}"), &below));
        write_crate(&project, n, 0);
    }
    project
}

/// Writes one library. An even one returns `value`; an odd one returns the value of the library below plus `value`.
fn write_crate(project: &Project, n: u64, value: u64) {
    let below = if n % 2 == 1 { format!("k{}::value() + ", n - 1) } else { String::new() };
    let text = format!("fn never_called() {{}}\npub fn value() -> u64 {{ {below}{value} }}\n");
    project.file(&format!("k{n}/src/lib.rs"), text);
}

/// The sum that `app` must print.
fn sum(values: &[u64]) -> String {
    let of = |n: usize| values[n] + if n % 2 == 1 { values[n - 1] } else { 0 };
    (0..values.len()).map(of).sum::<u64>().to_string()
}

/// Starts a build, lets it run for the given time, and kills all of its processes.
fn build_and_kill(project: &Project, after: Duration) {
    let mut command = project.command(real_cargo());
    command.args(["build", "-j4"]).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut cargo = command.spawn().expect("cargo starts");
    std::thread::sleep(after);
    signal("KILL", &format!("-{}", cargo.id()));
    cargo.wait().expect("cargo was killed");
}

/// Edits up to three libraries, so that the next build finds units to compile and units to hit.
fn edit(project: &Project, rng: &mut Rng, values: &mut [u64]) {
    for _ in 0..=rng.u64(..3) {
        let n = rng.u64(..CRATES);
        let at = usize::try_from(n).expect("small");
        values[at] = rng.u64(..5);
        write_crate(project, n, values[at]);
    }
}

fn killed_builds(mut project: Project, incremental: &str) {
    let mut rng = random::generator();
    project.set("CARGO_INCREMENTAL", incremental);
    let mut values = [0; NAMES.len()];
    let began = Instant::now();
    project.build();
    let whole = u64::try_from(began.elapsed().as_millis()).expect("short").clamp(200, 4000);
    for round in 0..ROUNDS / 2 {
        edit(&project, &mut rng, &mut values);
        if rng.bool() {
            project.wipe();
        }
        build_and_kill(&project, Duration::from_millis(rng.u64(..whole)));
        project.assert_store_whole();
        if round % 5 == 4 {
            let (_, said) = project.build_and_run();
            assert_eq!(said, sum(&values), "after round {round}");
            project.assert_noop();
        }
    }
    let (_, said) = project.build_and_run();
    assert_eq!(said, sum(&values));
    // Another checkout restores the entries stored between the kills; none of them is torn.
    let other = project.clone_to("elsewhere/other");
    assert_eq!(other.build_and_run().1, sum(&values));
    other.wipe().build().hits(&NAMES);
    assert_eq!(other.app_output(), sum(&values));
    project.assert_store_whole();
    let unnamed = crate::support::files_under(&project.cache_dir().join("v1/blobs"));
    let is_known = |name: &str| name.starts_with(crate::support::TEMP_PREFIX) || name.len() == 64;
    assert!(unnamed.iter().all(|path| is_known(&path.file_name().expect("name").to_string_lossy())), "{unnamed:?}");
}

#[test]
#[ignore = "slow"]
fn kill_nine_of_whole_builds() {
    killed_builds(workspace(), "0");
}

#[test]
#[ignore = "slow"]
fn kill_nine_of_whole_incremental_builds() {
    killed_builds(workspace(), "1");
}

/// Control: the check of the store detects half a blob.
#[test]
#[should_panic(expected = "a damaged blob")]
fn control_a_torn_blob_is_seen() {
    let project = Project::lib("pub fn value() -> u32 { 7 }\n");
    project.unit("dep", "src/lib.rs").misses();
    let blob = project.blobs().remove(0);
    let bytes = std::fs::read(&blob).expect("a blob");
    std::fs::write(&blob, &bytes[..bytes.len() / 2]).expect("tear it");
    project.assert_store_whole();
}
