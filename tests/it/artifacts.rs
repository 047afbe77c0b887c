//! Which files of a restored unit are shared and which are private (hazards F03, F05, I03, X06).

use std::fs;

use crate::support::{CANONICAL_MTIME_NS, Project, find_one, manifest, stat};

const DEP: &str = "#[unsafe(no_mangle)] pub extern \"C\" fn value() -> u32 { 7 }\n";

#[test]
fn f05_a_library_cargo_also_links_elsewhere_is_fresh() {
    // For the root package, cargo hard-links the rlib from `deps/` into `debug/`.
    let one = Project::lib(DEP);
    one.build();
    let two = one.clone_to("elsewhere/deeper/two");
    two.build().hits(&["dep"]);
    for project in [&one, &two] {
        project.assert_noop();
        let uplifted = project.target_dir().join("debug/libdep.rlib");
        let inner = find_one(&project.target_dir().join("debug/deps"), "libdep-", ".rlib");
        assert_eq!(fs::read(&uplifted).expect("uplifted"), fs::read(inner).expect("inner"));
    }
    two.rebuild_hits(&["dep"]);
    two.assert_noop();
    one.assert_noop();
}

#[test]
fn f03_a_library_without_metadata_beside_it_is_private() {
    let project = Project::lib(DEP);
    let unit = project.unit("dep", "src/lib.rs").emit("dep-info,link");
    unit.misses();
    let other = project.clone_to("elsewhere/deeper/two");
    for project in [&project, &other] {
        let unit = project.unit("dep", "src/lib.rs").emit("dep-info,link");
        unit.hits();
        let rlib = stat(&unit.rlib());
        assert_eq!(rlib.nlink, 1, "cargo would judge the unit by a clock shared with others");
        assert_ne!(rlib.mtime_ns, CANONICAL_MTIME_NS);
    }
}

#[test]
fn x06_a_static_library_is_restored_as_a_private_file() {
    let one = Project::lib(DEP);
    one.file("Cargo.toml", manifest("dep", "[lib]\ncrate-type = [\"staticlib\", \"rlib\"]\n[workspace]\n"));
    one.build().misses(&["dep"]);
    let archive = |project: &Project| project.target_dir().join("debug/libdep.a");
    let bytes = fs::read(archive(&one)).expect("the static library");
    let mut two = one.clone_to("elsewhere/deeper/two");
    two.build().hits(&["dep"]);
    assert!(bytes == fs::read(archive(&two)).expect("restored"), "another static library came back");
    let inner = find_one(&two.target_dir().join("debug/deps"), "libdep-", ".a");
    assert_eq!(stat(&inner).id, stat(&archive(&two)).id, "cargo's own link");
    assert_eq!(stat(&inner).nlink, 2, "shared with the store");
    two.assert_noop();
    one.assert_noop();
    two.without_cache_compiles(&["dep"]);
}

#[test]
fn i03_restored_files_have_the_modes_rustc_gives() {
    let mut one = Project::app_over("pub fn value() -> u32 { 7 }\n");
    let modes = |project: &Project| {
        let deps = project.target_dir().join("debug/deps");
        [("libdep-", ".rlib"), ("libdep-", ".rmeta"), ("dep-", ".d")]
            .map(|(prefix, suffix)| stat(&find_one(&deps, prefix, suffix)).mode)
    };
    one.build();
    one.rebuild_hits(&["dep"]);
    let restored = modes(&one);
    one.set("KACHE_DISABLED", "1").wipe().build();
    assert_eq!(restored, modes(&one));
}
