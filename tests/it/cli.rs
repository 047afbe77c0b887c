//! The command line, by the real binary: what it prints, what it changes, how it ends.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{KACHE, Project, Run, manifest, real_cargo};

/// A home in which kache is not set up, and a directory with a few packages.
struct Home(Project);

impl Home {
    fn new() -> Self {
        let mut project = Project::new();
        let settings = project.path("kache.toml");
        project.unset("RUSTC_WRAPPER").set("KACHE_CONFIG", settings);
        Self(project)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    fn cargo_home(&self) -> PathBuf {
        PathBuf::from(self.0.env_value("CARGO_HOME").unwrap())
    }

    fn config(&self) -> PathBuf {
        self.cargo_home().join("config.toml")
    }

    fn kache(&self, args: &[&str]) -> Run {
        self.0.kache(args)
    }

    /// Runs kache with one more variable.
    fn kache_with(&self, name: &str, value: &str, args: &[&str]) -> Run {
        let mut command = self.0.command(KACHE);
        command.args(args).env(name, value);
        self.0.finish(command)
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.kache(args).ends(0)).unwrap()
    }

    /// Builds a library crate called `name`, with more variables.
    fn build_with(&self, name: &str, variables: &[(&str, &str)]) {
        if !self.path(name).exists() {
            self.0.file(&format!("{name}/Cargo.toml"), manifest(name, ""));
            self.0.file(&format!("{name}/src/lib.rs"), format!("pub fn {}() {{}}\n", name.replace('-', "_")));
        }
        let mut cargo = self.0.command(real_cargo());
        cargo.args(["build", "--quiet"]).current_dir(self.path(name)).envs(variables.iter().copied());
        self.0.finish(cargo).must_succeed();
    }

    /// Builds a library crate called `name` through kache.
    fn build(&self, name: &str) {
        self.build_with(name, &[("RUSTC_WRAPPER", KACHE)]);
    }

    fn rebuild(&self, name: &str) {
        fs::remove_dir_all(self.path(name).join("target")).unwrap();
        self.build(name);
    }
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
    let home = Home::new();
    let before = "# mine\n[net]\nretry = 3 # thrice\n\n[build]\n# two cores\njobs = 2\n";
    write(&home.config(), before);
    fs::set_permissions(home.config(), fs::Permissions::from_mode(0o600)).unwrap();
    home.kache(&["init", "--check"]).ends(3);
    home.kache(&["init", "--yes"]).ends(0);
    let after = read(&home.config());
    assert_eq!(after, format!("{before}rustc-wrapper = \"{KACHE}\"\n"));
    assert_eq!(fs::metadata(home.config()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(home.kache(&["init", "--yes"]).ends(0).contains("already set up"));
    assert_eq!(read(&home.config()), after);
    home.kache(&["init", "--check"]).ends(0);
    home.kache(&["init", "--undo", "--yes"]).ends(0);
    assert_eq!(read(&home.config()), before);
    assert!(home.kache(&["init", "--undo", "--yes"]).ends(0).contains("nothing to undo"));
}

#[test]
fn init_makes_and_removes_a_file_that_was_not_there() {
    let home = Home::new();
    home.kache(&["init", "--yes"]).ends(0);
    assert_eq!(read(&home.config()), format!("[build]\nrustc-wrapper = \"{KACHE}\"\n"));
    home.kache(&["init", "--undo", "--yes"]).ends(0);
    assert!(!home.config().exists());
    assert_eq!(fs::read_dir(home.cargo_home()).unwrap().count(), 0);
}

#[test]
fn init_asks_nobody_without_a_terminal() {
    let home = Home::new();
    let ran = home.kache(&["init"]);
    ran.ends(1);
    assert!(ran.stderr.contains("--yes"), "{}", ran.stderr);
    assert!(!home.config().exists());
}

#[test]
fn init_leaves_another_wrapper_alone_unless_told() {
    let home = Home::new();
    let before = "[build]\nrustc-wrapper = \"sccache\" # fast\n";
    write(&home.config(), before);
    let ran = home.kache(&["init", "--yes"]);
    ran.ends(1);
    assert!(ran.stderr.contains("sccache") && ran.stderr.contains("--replace"), "{}", ran.stderr);
    home.kache(&["init", "--undo", "--yes"]).ends(0);
    home.kache(&["init", "--check"]).ends(3);
    assert_eq!(read(&home.config()), before);
    home.kache(&["init", "--yes", "--replace"]).ends(0);
    assert_eq!(read(&home.config()), format!("[build]\nrustc-wrapper = \"{KACHE}\" # fast\n"));
}

#[test]
fn init_writes_what_a_link_leads_to() {
    let home = Home::new();
    let dotfile = home.path("dotfiles/cargo.toml");
    write(&dotfile, "[net]\nretry = 3\n");
    symlink(&dotfile, home.config()).unwrap();
    home.kache(&["init", "--yes"]).ends(0);
    assert!(fs::symlink_metadata(home.config()).unwrap().is_symlink());
    assert!(read(&dotfile).contains("rustc-wrapper"));
}

#[test]
fn init_writes_the_file_that_cargo_prefers() {
    let home = Home::new();
    write(&home.cargo_home().join("config"), "[net]\nretry = 3\n");
    home.kache(&["init", "--yes"]).ends(0);
    assert!(read(&home.cargo_home().join("config")).contains("rustc-wrapper"));
    assert!(!home.config().exists());
}

#[test]
fn init_leaves_a_file_alone_that_it_cannot_read() {
    let home = Home::new();
    write(&home.config(), "[build\n");
    home.kache(&["init", "--yes"]).ends(1);
    assert_eq!(read(&home.config()), "[build\n");
}

#[test]
fn check_says_what_overrides_the_file() {
    let home = Home::new();
    home.kache(&["init", "--yes"]).ends(0);
    let ran = home.kache_with("RUSTC_WRAPPER", "", &["init", "--check"]);
    ran.ends(3);
    assert!(ran.stderr.contains("RUSTC_WRAPPER"), "{}", ran.stderr);
}

#[test]
fn cargo_uses_what_init_has_set() {
    let home = Home::new();
    home.kache(&["init", "--yes"]).ends(0);
    home.build_with("one", &[]);
    assert_eq!(home.json(&["stats", "--json"])["events"]["misses"], 1);
}

#[test]
fn stats_count_a_real_build() {
    let home = Home::new();
    home.build("one");
    home.rebuild("one");
    let stats = home.json(&["stats", "--json"]);
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
    let text = home.kache(&["stats"]).ends(0);
    assert!(text.contains("50.0 % of 2") && text.contains("no-manifest"), "{text}");
    assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
}

#[test]
fn stats_of_a_period_leave_out_what_was_before() {
    let home = Home::new();
    home.build("one");
    assert_eq!(home.json(&["stats", "--json", "--since", "1h"])["events"]["misses"], 1);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(home.json(&["stats", "--json", "--since", "1ms"])["events"]["misses"], 0);
    home.kache(&["stats", "--since", "soon"]).ends(2);
}

#[test]
fn list_names_entries_by_crate_and_package() {
    let home = Home::new();
    home.build("one");
    home.build("an-other");
    let all = home.kache(&["list"]).ends(0);
    assert_eq!(all.lines().count(), 3, "{all}");
    for name in ["an-other", "an_other"] {
        let listed = home.json(&["list", name, "--json"]);
        assert_eq!(listed.as_array().unwrap().len(), 1);
        let entry = &listed[0];
        assert_eq!((&entry["crate"], &entry["package"]), (&"an_other".into(), &"an-other 0.1.0".into()));
        assert_eq!((&entry["kind"], &entry["emit"]), (&"lib".into(), &"link".into()));
        assert_eq!(entry["outputs"].as_array().unwrap().len(), 2);
    }
    let none = home.kache(&["list", "absent"]);
    assert_eq!(none.ends(0), "");
    assert!(none.stderr.contains("does not contain entries of absent"));
}

#[test]
fn purge_of_one_crate_leaves_the_others() {
    let home = Home::new();
    home.build("one");
    home.build("two");
    let said = home.kache(&["purge", "--crate", "one"]).ends(0);
    assert!(said.starts_with("removed 1 entry and 2 blobs"), "{said}");
    home.rebuild("one");
    home.rebuild("two");
    let stats = home.json(&["stats", "--json"]);
    assert_eq!((&stats["events"]["hits"], &stats["events"]["misses"]), (&1.into(), &3.into()));
}

#[test]
fn purge_empties_the_store_and_keeps_targets_and_events() {
    let home = Home::new();
    home.build("one");
    home.kache(&["purge"]).ends(0);
    let stats = home.json(&["stats", "--json"]);
    assert_eq!((&stats["store"]["entries"], &stats["store"]["blobs"]), (&0.into(), &0.into()));
    assert_eq!(stats["store"]["bytes"], 0);
    assert_eq!(stats["events"]["misses"], 1);
    home.build("one");
    assert_eq!(home.json(&["stats", "--json"])["events"]["misses"], 1, "the target directory is still fresh");
    home.rebuild("one");
    assert_eq!(home.json(&["stats", "--json"])["store"]["entries"], 1);
}

#[test]
fn purge_disturbs_no_build() {
    let home = Home::new();
    home.build("one");
    let built = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !built.load(std::sync::atomic::Ordering::Relaxed) {
                home.kache(&["purge"]).ends(0);
            }
        });
        for _ in 0..8 {
            home.rebuild("one");
        }
        built.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn gc_trims_to_the_limit() {
    let home = Home::new();
    home.build("one");
    let text = home.kache(&["gc"]).ends(0);
    assert!(text.starts_with("removed 0 entries"), "{text}");
    let ran = home.kache_with("KACHE_MAX_SIZE", "1B", &["gc", "--quiet"]);
    assert_eq!(ran.ends(0), "");
    assert_eq!(home.json(&["list", "--json"]), Value::Array(vec![]));
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
fn doctor_shows_a_miss_and_a_hit() {
    let home = Home::new();
    let ran = home.kache(&["doctor"]);
    assert!(ran.ends(3).contains("fail  rustc-wrapper"), "not set up");
    assert!(
        ran.stdout.ends_with("\n1 problem: fix each line that begins with fail, then run this again.\n"),
        "{}",
        ran.stdout
    );
    home.kache(&["init", "--yes"]).ends(0);
    let text = home.kache(&["doctor"]).ends(0);
    for line in ["KACHE_CACHE_DIR", "miss, stored", "ok    second build", "can be written", "rlibs by"] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("fail"), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("Everything works: build with cargo, then run `kache stats`."), "{text}");
    let left = fs::read_dir(home.0.cache_dir()).unwrap().count();
    assert_eq!(left, 0, "no probe is left behind");
}

#[test]
fn doctor_tells_what_is_wrong_with_the_settings() {
    let home = Home::new();
    home.kache(&["init", "--yes"]).ends(0);
    write(&home.path("kache.toml"), "[cache]\nmax_sise = \"1GiB\"\n");
    assert!(home.kache(&["doctor"]).ends(3).contains("cache.max_sise"));
    write(&home.path("kache.toml"), "[cache\n");
    assert!(home.kache(&["doctor"]).ends(3).contains("kache.toml"));
}

#[test]
fn commands_refuse_unknown_keys_and_builds_do_not() {
    let home = Home::new();
    write(&home.path("kache.toml"), "[cache]\nmax_sise = \"1GiB\"\n");
    for verb in ["stats", "why", "list", "purge", "gc"] {
        let ran = home.kache(&[verb]);
        ran.ends(1);
        assert!(ran.stderr.contains("cache.max_sise"), "{verb}: {}", ran.stderr);
    }
    home.kache(&["gc", "--quiet"]).ends(0);
    home.build("one");
    fs::remove_file(home.path("kache.toml")).unwrap();
    assert_eq!(home.json(&["stats", "--json"])["store"]["entries"], 1);
}

#[test]
fn help_names_every_verb_and_fits_the_page() {
    let home = Home::new();
    let text = home.kache(&["--help"]).ends(0);
    for verb in [
        "init",
        "stats",
        "why",
        "report",
        "doctor",
        "list",
        "purge",
        "gc",
        "push",
        "pull",
        "agent",
        "keygen",
        "completions",
    ] {
        assert!(text.contains(&format!("\n  {verb}")), "{verb}\n{text}");
        let help = home.kache(&[verb, "--help"]).ends(0);
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
        assert!(help.contains("\nExamples:\n"), "{help}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80) && text.contains("Exit codes:"), "{text}");
    assert!(home.kache(&[]).stderr.contains("Usage: kache"));
    home.kache(&[]).ends(2);
    home.kache(&["bogus"]).ends(2);
    assert_eq!(home.kache(&["--version"]).ends(0), format!("kache {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_agent_without_a_command_prints_its_help() {
    let home = Home::new();
    let ran = home.kache(&["agent"]);
    assert_eq!(ran.ends(2), "");
    for command in ["run", "status", "stop", "logs"] {
        assert!(ran.stderr.contains(&format!("\n  {command}")), "{}", ran.stderr);
    }
    assert!(!home.0.cache_dir().exists(), "no agent was started");
}

#[test]
fn completions_are_made_for_every_shell() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(home.kache(&["completions", shell]).ends(0).contains("purge"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = Home::new();
    let mut command = home.0.command(KACHE);
    command.args(["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// The `cc` crate takes a `RUSTC_WRAPPER` called kache for a wrapper of C compilers.
#[test]
fn a_c_compiler_behind_kache_just_runs() {
    let home = Home::new();
    let ran = home.kache(&["sh", "-c", "echo out; exit 7"]);
    assert_eq!(ran.ends(7), "out\n");
    assert!(!home.0.cache_dir().exists(), "nothing is noted");
}
