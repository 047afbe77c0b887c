//! The harness itself: if these tests fail, the other tests prove nothing.

use crate::support::Project;

const DEP: &str = "pub fn value() -> u32 { 7 }\n";

#[test]
fn the_counting_rustc_sees_every_compile_of_a_plain_build() {
    let mut project = Project::app_over(DEP);
    project.unset("RUSTC_WRAPPER");
    let (run, said) = project.build_and_run();
    assert_eq!(run.compiles(), ["app", "dep"]);
    assert_eq!(said, "7");
    project.assert_noop();
}

#[test]
fn hooks_run_before_instead_and_after() {
    let mut project = Project::app_over(DEP);
    project.unset("RUSTC_WRAPPER");
    project.hook("before", "dep", "echo 'pub fn value() -> u32 { 8 }' > dep/src/lib.rs\n");
    let (run, said) = project.build_and_run();
    assert_eq!((run.compiles(), said.as_str()), (vec!["app", "dep"], "8"));
    project.unhook("before", "dep").hook("instead", "dep", "kill -9 $$\n").wipe();
    let failed = project.try_cargo(&["build"]).must_fail();
    assert!(failed.stderr.contains("SIGKILL"), "{}", failed.stderr);
    project.unhook("instead", "dep").hook("after", "dep", "touch ran-after\n").wipe();
    let run = project.build();
    assert!(project.path("ran-after").exists());
    assert!(run.calls.iter().any(|c| c.event == "end"));
}

#[test]
fn a_disabled_kache_compiles_everything_and_leaves_no_cache() {
    let mut project = Project::app_over(DEP);
    project.set("KACHE_DISABLED", "1");
    assert_eq!(project.build().compiles(), ["app", "dep"]);
    assert_eq!(project.wipe().build().compiles(), ["app", "dep"]);
    assert!(!project.cache_dir().exists());
}

#[test]
fn the_second_build_of_a_library_asks_rustc_for_nothing() {
    let mut project = Project::app_over(DEP);
    project.warm(&["dep"]);
    assert_eq!(project.app_output(), "7");
    let outcomes: Vec<String> = project.outcomes("dep").into_iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(outcomes, ["miss.no-manifest", "hit.local"]);
    assert!(!project.blobs().is_empty() && !project.entries().is_empty() && !project.manifests().is_empty());
    assert!(project.kache(&["stats"]).must_succeed().compiles().is_empty());
    project.assert_noop();
    project.without_cache_compiles(&["dep"]);
}
