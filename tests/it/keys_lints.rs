//! Arguments and variables that change whether rustc succeeds and which messages it prints (hazards U13, U14, U20).

use crate::support::Project;

const UNUSED: &str = "fn never_called() {}\npub fn value() -> u32 { 1 }\n";

#[test]
fn u13_a_hit_never_hides_a_denied_warning() {
    let project = Project::lib(UNUSED);
    let quiet = project.unit("dep", "src/lib.rs");
    quiet.warm();
    for deny in [["-D", "warnings"], ["-D", "dead_code"], ["-F", "dead_code"]] {
        let run = project.unit("dep", "src/lib.rs").args(deny).run().must_fail();
        assert!(run.stderr.contains("never_called"), "{}", run.stderr);
        project.unit("dep", "src/lib.rs").args(deny).run().must_fail();
    }
    quiet.hits();
}

#[test]
fn u13_the_order_of_lint_levels_is_kept() {
    let project = Project::lib(UNUSED);
    project.unit("dep", "src/lib.rs").args(["-D", "dead_code", "-A", "dead_code"]).warm();
    project.unit("dep", "src/lib.rs").args(["-A", "dead_code", "-D", "dead_code"]).run().must_fail();
}

#[test]
fn u13_cap_lints_and_forced_warnings_count() {
    let project = Project::lib(&format!("#![deny(dead_code)]\n{UNUSED}"));
    project.unit("dep", "src/lib.rs").args(["--cap-lints", "allow"]).warm();
    project.unit("dep", "src/lib.rs").args(["--cap-lints", "warn"]).misses();
    project.unit("dep", "src/lib.rs").run().must_fail();
    let forced = project.unit("dep", "src/lib.rs").args(["--cap-lints", "allow", "--force-warn", "dead_code"]);
    assert!(forced.misses().stderr.contains("never_called"));
    assert!(forced.hits().stderr.contains("never_called"));
}

#[test]
fn u13_check_cfg_counts() {
    let project = Project::lib("#[cfg(surprise)] pub fn other() {}\npub fn value() -> u32 { 1 }\n");
    project.unit("dep", "src/lib.rs").args(["--check-cfg", "cfg(surprise)", "-D", "unexpected_cfgs"]).warm();
    let run = project.unit("dep", "src/lib.rs").args(["--check-cfg", "cfg(other)", "-D", "unexpected_cfgs"]).run();
    assert!(run.must_fail().stderr.contains("surprise"));
}

#[test]
fn u13_cargo_with_denied_warnings_fails_on_a_warm_cache() {
    let mut project = Project::lib(UNUSED);
    project.warm(&["dep"]);
    project.set("RUSTFLAGS", "-Dwarnings").wipe();
    assert!(project.try_cargo(&["build"]).must_fail().stderr.contains("never_called"));
    project.unset("RUSTFLAGS");
    project.rebuild_hits(&["dep"]);
}

#[test]
fn u14_diagnostics_are_replayed_in_the_form_asked_for() {
    let project = Project::lib(UNUSED);
    let narrow = project.unit("dep", "src/lib.rs").args(["--diagnostic-width=40"]);
    let wide = project.unit("dep", "src/lib.rs").args(["--diagnostic-width=200"]);
    let first = narrow.misses().stderr;
    assert!(first.contains("never_called"));
    wide.misses();
    assert_eq!(narrow.hits().stderr, first);
}

#[test]
fn u14_width_is_no_reason_to_compile_what_is_silent() {
    let project = Project::lib("pub fn value() -> u32 { 1 }\n");
    project.unit("dep", "src/lib.rs").args(["--diagnostic-width=40"]).warm();
    project.unit("dep", "src/lib.rs").args(["--diagnostic-width=200"]).hits();
    project.unit("dep", "src/lib.rs").hits();
    // Control: with a warning, the width is a reason to compile again.
    project.file("src/lib.rs", UNUSED);
    project.unit("dep", "src/lib.rs").args(["--diagnostic-width=40"]).warm();
    project.unit("dep", "src/lib.rs").args(["--diagnostic-width=200"]).misses();
}

#[test]
fn u14_json_is_not_replayed_to_a_human() {
    let mut project = Project::lib(UNUSED);
    // `Project::unit` always requests JSON, so this test calls kache with plain arguments.
    let rustc = project.env_value("RUSTC").expect("set").to_owned();
    let human = |project: &Project, color: &str| {
        let mut command = project.command(crate::support::KACHE);
        command.arg(&rustc).args(["--crate-name", "dep", "--edition=2024", "src/lib.rs", "--crate-type", "lib"]);
        command.args(["--emit=dep-info,metadata,link", color, "--out-dir", "target/debug/deps"]);
        command.args(["-C", "metadata=0000000000000000", "-C", "extra-filename=-0000000000000000"]);
        project.finish(command).must_succeed()
    };
    project.unit("dep", "src/lib.rs").warm();
    let plain = human(&project, "--color=never").stderr;
    assert!(plain.starts_with("warning: ") && !plain.contains("$message_type"), "{plain}");
    assert_eq!(human(&project, "--color=never").stderr, plain);
    assert!(human(&project, "--color=always").stderr.contains("\u{1b}["));
    assert_eq!(human(&project, "--color=never").stderr, plain);
    project.set("KACHE_DISABLED", "1");
    assert_eq!(human(&project, "--color=never").stderr, plain, "control: rustc says the same");
}

#[test]
fn u20_what_the_bootstrap_variable_allowed_fails_without_it() {
    let project = Project::lib("#![feature(never_type)]\npub fn value(x: !) -> u32 { x }\n");
    let allowed = project.unit("dep", "src/lib.rs").env("RUSTC_BOOTSTRAP", "1");
    allowed.warm();
    project.unit("dep", "src/lib.rs").run().must_fail();
    project.unit("dep", "src/lib.rs").env("RUSTC_BOOTSTRAP", "other_crate").run().must_fail();
    allowed.hits();
}

#[test]
fn u20_compiler_logs_bypass_the_cache() {
    let project = Project::lib("pub fn value() -> u32 { 1 }\n");
    project.unit("dep", "src/lib.rs").warm();
    let unit = project.unit("dep", "src/lib.rs").env("RUSTC_LOG", "rustc_metadata=info");
    unit.misses();
    unit.misses();
    assert_eq!(project.last_outcome("dep").0, "bypass.rustc-log");
    // `RUST_LOG` is for other programs: it does not make rustc print anything.
    project.unit("dep", "src/lib.rs").env("RUST_LOG", "trace").hits();
    project.unit("dep", "src/lib.rs").hits();
}
