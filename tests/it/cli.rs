//! The command line, by the real binary: what it changes, how it ends, and its JSON. `output.rs` has the texts.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{KACHE, Project, manifest, real_cargo};

/// A home in which kache is not set up.
fn home() -> Project {
    let mut project = Project::new();
    let settings = project.path("kache.toml");
    project.unset("RUSTC_WRAPPER").set("KACHE_CONFIG", settings);
    project
}

fn cargo_home(home: &Project) -> PathBuf {
    PathBuf::from(home.env_value("CARGO_HOME").unwrap())
}

/// The settings of cargo that `kache init` changes.
fn config(home: &Project) -> PathBuf {
    cargo_home(home).join("config.toml")
}

/// Builds a library crate called `name`, with more variables.
fn build_with(home: &Project, name: &str, variables: &[(&str, &str)]) {
    if !home.path(name).exists() {
        home.file(&format!("{name}/Cargo.toml"), manifest(name, ""));
        home.file(&format!("{name}/src/lib.rs"), format!("pub fn {}() {{}}\n", name.replace('-', "_")));
    }
    let mut cargo = home.command(real_cargo());
    cargo.args(["build", "--quiet"]).current_dir(home.path(name)).envs(variables.iter().copied());
    home.finish(cargo).must_succeed();
}

/// Builds a library crate called `name` through kache.
fn build(home: &Project, name: &str) {
    build_with(home, name, &[("RUSTC_WRAPPER", KACHE)]);
}

fn rebuild(home: &Project, name: &str) {
    fs::remove_dir_all(home.path(name).join("target")).unwrap();
    build(home, name);
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn init_is_idempotent_and_undone_to_the_byte() {
    let home = home();
    let before = "# mine\n[net]\nretry = 3 # thrice\n\n[build]\n# two cores\njobs = 2\n";
    write(&config(&home), before);
    fs::set_permissions(config(&home), fs::Permissions::from_mode(0o600)).unwrap();
    home.kache(&["init", "--check"]).ends(3);
    home.kache(&["init", "--yes"]).ends(0);
    let after = read(&config(&home));
    assert_eq!(after, format!("{before}rustc-wrapper = \"{KACHE}\"\n"));
    assert_eq!(fs::metadata(config(&home)).unwrap().permissions().mode() & 0o777, 0o600);
    home.kache(&["init", "--yes"]).ends(0);
    assert_eq!(read(&config(&home)), after);
    home.kache(&["init", "--check"]).ends(0);
    home.kache(&["init", "--undo", "--yes"]).ends(0);
    assert_eq!(read(&config(&home)), before);
    home.kache(&["init", "--undo", "--yes"]).ends(0);
    assert_eq!(read(&config(&home)), before);
}

#[test]
fn init_makes_and_removes_a_file_that_was_not_there() {
    let home = home();
    home.kache(&["init", "--yes"]).ends(0);
    assert_eq!(read(&config(&home)), format!("[build]\nrustc-wrapper = \"{KACHE}\"\n"));
    home.kache(&["init", "--undo", "--yes"]).ends(0);
    assert!(!config(&home).exists());
    assert_eq!(fs::read_dir(cargo_home(&home)).unwrap().count(), 0);
}

#[test]
fn init_asks_nobody_without_a_terminal() {
    let home = home();
    home.kache(&["init"]).ends(1);
    assert!(!config(&home).exists());
}

#[test]
fn init_leaves_another_wrapper_alone_unless_told() {
    let home = home();
    let before = "[build]\nrustc-wrapper = \"sccache\" # fast\n";
    write(&config(&home), before);
    home.kache(&["init", "--yes"]).ends(1);
    home.kache(&["init", "--undo", "--yes"]).ends(0);
    home.kache(&["init", "--check"]).ends(3);
    assert_eq!(read(&config(&home)), before);
    home.kache(&["init", "--yes", "--replace"]).ends(0);
    assert_eq!(read(&config(&home)), format!("[build]\nrustc-wrapper = \"{KACHE}\" # fast\n"));
}

#[test]
fn init_writes_what_a_link_leads_to() {
    let home = home();
    let dotfile = home.path("dotfiles/cargo.toml");
    write(&dotfile, "[net]\nretry = 3\n");
    symlink(&dotfile, config(&home)).unwrap();
    home.kache(&["init", "--yes"]).ends(0);
    assert!(fs::symlink_metadata(config(&home)).unwrap().is_symlink());
    assert!(read(&dotfile).contains("rustc-wrapper"));
}

#[test]
fn init_writes_the_file_that_cargo_prefers() {
    let home = home();
    write(&cargo_home(&home).join("config"), "[net]\nretry = 3\n");
    home.kache(&["init", "--yes"]).ends(0);
    assert!(read(&cargo_home(&home).join("config")).contains("rustc-wrapper"));
    assert!(!config(&home).exists());
}

#[test]
fn init_leaves_a_file_alone_that_it_cannot_read() {
    let home = home();
    write(&config(&home), "[build\n");
    home.kache(&["init", "--yes"]).ends(1);
    assert_eq!(read(&config(&home)), "[build\n");
}

#[test]
fn check_finds_a_variable_that_overrides_the_file() {
    let home = home();
    home.kache(&["init", "--yes"]).ends(0);
    home.kache(&["init", "--check"]).ends(0);
    home.kache_with("RUSTC_WRAPPER", "", &["init", "--check"]).ends(3);
}

#[test]
fn cargo_uses_what_init_has_set() {
    let home = home();
    home.kache(&["init", "--yes"]).ends(0);
    build_with(&home, "one", &[]);
    assert_eq!(home.kache_json(&["stats", "--json"])["events"]["misses"], 1);
}

#[test]
fn stats_count_a_real_build() {
    let home = home();
    build(&home, "one");
    rebuild(&home, "one");
    let stats = home.kache_json(&["stats", "--json"]);
    assert_eq!(stats["v"], 1);
    assert_eq!(stats["since"], Value::Null);
    assert_eq!(stats["hit_rate"], 50.0);
    assert_eq!((&stats["events"]["hits"], &stats["events"]["misses"]), (&1.into(), &1.into()));
    assert_eq!(stats["events"]["outcomes"]["hit.local"], 1);
    assert_eq!(stats["events"]["stored"]["stored"], 1);
    assert_eq!(stats["store"]["entries"], 1);
    assert_eq!(stats["store"]["blobs"], 2);
    let restored = |name: &str| stats["events"][name].as_u64().unwrap();
    assert!(restored("reflink_bytes") + restored("hardlink_bytes") + restored("copy_bytes") > 0);
}

#[test]
fn stats_of_a_period_leave_out_what_was_before() {
    let home = home();
    build(&home, "one");
    assert_eq!(home.kache_json(&["stats", "--json", "--since", "1h"])["events"]["misses"], 1);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(home.kache_json(&["stats", "--json", "--since", "1ms"])["events"]["misses"], 0);
    home.kache(&["stats", "--since", "soon"]).ends(2);
}

#[test]
fn list_names_entries_by_crate_and_package() {
    let home = home();
    build(&home, "one");
    build(&home, "an-other");
    assert_eq!(home.kache_json(&["list", "--json"]).as_array().unwrap().len(), 2);
    for name in ["an-other", "an_other"] {
        let listed = home.kache_json(&["list", name, "--json"]);
        assert_eq!(listed.as_array().unwrap().len(), 1);
        let entry = &listed[0];
        assert_eq!((&entry["crate"], &entry["package"]), (&"an_other".into(), &"an-other 0.1.0".into()));
        assert_eq!((&entry["kind"], &entry["emit"]), (&"lib".into(), &"link".into()));
        assert_eq!(entry["outputs"].as_array().unwrap().len(), 2);
    }
    assert_eq!(home.kache_json(&["list", "absent", "--json"]), Value::Array(vec![]));
}

#[test]
fn purge_of_one_crate_leaves_the_others() {
    let home = home();
    build(&home, "one");
    build(&home, "two");
    home.kache(&["purge", "--crate", "one"]).ends(0);
    rebuild(&home, "one");
    rebuild(&home, "two");
    let stats = home.kache_json(&["stats", "--json"]);
    assert_eq!((&stats["events"]["hits"], &stats["events"]["misses"]), (&1.into(), &3.into()));
}

#[test]
fn purge_empties_the_store_and_keeps_targets_and_events() {
    let home = home();
    build(&home, "one");
    home.kache(&["purge"]).ends(0);
    let stats = home.kache_json(&["stats", "--json"]);
    assert_eq!((&stats["store"]["entries"], &stats["store"]["blobs"]), (&0.into(), &0.into()));
    assert_eq!(stats["store"]["bytes"], 0);
    assert_eq!(stats["events"]["misses"], 1);
    build(&home, "one");
    assert_eq!(home.kache_json(&["stats", "--json"])["events"]["misses"], 1, "the target directory is still fresh");
    rebuild(&home, "one");
    assert_eq!(home.kache_json(&["stats", "--json"])["store"]["entries"], 1);
}

#[test]
#[ignore = "slow"]
fn purge_disturbs_no_build() {
    let home = home();
    build(&home, "one");
    let built = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !built.load(std::sync::atomic::Ordering::Relaxed) {
                home.kache(&["purge"]).ends(0);
            }
        });
        for _ in 0..8 {
            rebuild(&home, "one");
        }
        built.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn gc_trims_to_the_limit() {
    let home = home();
    build(&home, "one");
    home.kache(&["gc"]).ends(0);
    assert_eq!(home.kache_json(&["list", "--json"]).as_array().unwrap().len(), 1);
    let ran = home.kache_with("KACHE_MAX_SIZE", "1B", &["gc", "--quiet"]);
    assert_eq!(ran.ends(0), "");
    assert_eq!(home.kache_json(&["list", "--json"]), Value::Array(vec![]));
}

/// The unwinder is linked in, since another library costs each hit a tenth of its time (`build.rs`).
#[test]
fn starts_load_no_unwinder() {
    let asked = Command::new("cc").arg("-print-file-name=libgcc_eh.a").output().unwrap();
    assert!(String::from_utf8(asked.stdout).unwrap().starts_with('/'), "this C compiler has no static unwinder");
    // The loader lists what a program needs instead of starting it.
    let libraries = |program: &Path| {
        let listed = Command::new(program).env("LD_TRACE_LOADED_OBJECTS", "1").output().unwrap();
        String::from_utf8(listed.stdout).unwrap()
    };
    let of_kache = libraries(Path::new(KACHE));
    assert!(of_kache.contains("libc.so") && !of_kache.contains("libgcc_s"), "{of_kache}");
    // This test's own program is linked as cargo links any other.
    let of_others = libraries(&std::env::current_exe().unwrap());
    assert!(of_others.contains("libgcc_s"), "{of_others}");
}

#[test]
fn doctor_leaves_nothing_behind() {
    let home = home();
    home.kache(&["doctor"]).ends(3);
    home.kache(&["init", "--yes"]).ends(0);
    home.kache(&["doctor"]).ends(0);
    assert_eq!(fs::read_dir(home.cache_dir()).unwrap().count(), 0);
}

#[test]
fn commands_refuse_unknown_keys_and_builds_do_not() {
    let home = home();
    write(&home.path("kache.toml"), "[cache]\nmax_sise = \"1GiB\"\n");
    for verb in ["stats", "why", "list", "purge", "gc"] {
        assert_eq!(home.kache(&[verb]).ends(1), "", "{verb}");
    }
    home.kache(&["gc", "--quiet"]).ends(0);
    build(&home, "one");
    fs::remove_file(home.path("kache.toml")).unwrap();
    assert_eq!(home.kache_json(&["stats", "--json"])["store"]["entries"], 1);
}

#[test]
fn an_agent_without_a_command_starts_none() {
    let home = home();
    home.kache(&["agent"]).ends(2);
    assert!(!home.cache_dir().exists());
}

#[test]
fn completions_are_made_for_every_shell() {
    let home = home();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(home.kache(&["completions", shell]).ends(0).contains("purge"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = home();
    let mut command = home.command(KACHE);
    command.args(["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// The `cc` crate takes a `RUSTC_WRAPPER` called kache for a wrapper of C compilers.
#[test]
fn a_c_compiler_behind_kache_just_runs() {
    let home = home();
    let ran = home.kache(&["sh", "-c", "echo out; exit 7"]);
    assert_eq!(ran.ends(7), "out\n");
    assert!(!home.cache_dir().exists(), "nothing is noted");
}
