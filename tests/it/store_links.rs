//! Inodes shared between the store and target directories (hazards I01 to I04).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{
    CANONICAL_MTIME_NS, Project, Run, files_under, find, find_one, has_program, manifest, real_cargo, stat,
};

const DEP: &str = "pub fn value() -> u32 { 7 }\n";

fn deps(project: &Project) -> PathBuf {
    project.target_dir().join("debug/deps")
}

fn rlib(project: &Project) -> PathBuf {
    find_one(&deps(project), "libdep-", ".rlib")
}

fn quarantined(project: &Project) -> usize {
    files_under(&project.cache_dir().join("v1/quarantine")).len()
}

/// Writes through the name like a tool that ignores links: same inode, same size, other bytes.
fn write_in_place(path: &Path) {
    let mut bytes = fs::read(path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 16].fill(0xa5);
    fs::write(path, bytes).expect("write");
}

/// A checkout that stored `dep`, and another one that restored it.
fn restored() -> (Project, Project) {
    let one = Project::app_over(DEP);
    one.build().misses(&["dep"]);
    let two = one.clone_to("elsewhere/deeper/two");
    two.build().hits(&["dep"]);
    (one, two)
}

#[test]
fn i01_a_library_rewritten_in_place_after_a_restore_is_not_served() {
    let (one, two) = restored();
    let good = fs::read(rlib(&two)).expect("rlib");
    let shared = stat(&rlib(&two)).nlink > 1;
    // Control: unless somebody writes, another checkout hits.
    one.clone_to("control").build().hits(&["dep"]);
    write_in_place(&rlib(&two));
    let three = one.clone_to("three");
    let (run, said) = three.build_and_run();
    assert_eq!(run.compiles_of("dep").len(), usize::from(shared));
    assert_eq!((said.as_str(), quarantined(&one)), ("7", usize::from(shared)));
    assert!(fs::read(rlib(&three)).expect("rlib") == good, "a damaged library was served");
    one.assert_store_whole();
    // The store has healed, for the damaged checkout too.
    one.clone_to("four").build().hits(&["dep"]);
    two.rebuild_hits(&["dep"]);
    assert_eq!(two.app_output(), "7");
}

#[test]
fn i02_a_library_rewritten_in_place_where_it_was_compiled_is_not_served() {
    let one = Project::app_over(DEP);
    one.build().misses(&["dep"]);
    let good = fs::read(rlib(&one)).expect("rlib");
    let shared = stat(&rlib(&one)).nlink > 1;
    write_in_place(&rlib(&one));
    let two = one.clone_to("two");
    let (run, said) = two.build_and_run();
    assert_eq!((run.compiles_of("dep").len(), said.as_str()), (usize::from(shared), "7"));
    assert!(fs::read(rlib(&two)).expect("rlib") == good);
    one.assert_store_whole();
}

#[test]
fn i01_metadata_and_dep_info_are_nobody_elses() {
    let (one, two) = restored();
    for suffix in [".rmeta", ".d"] {
        for file in find(&deps(&two), "", suffix).into_iter().filter(|file| file.to_string_lossy().contains("dep-")) {
            assert_eq!(stat(&file).nlink, 1, "{}", file.display());
            write_in_place(&file);
        }
    }
    one.assert_store_whole();
    one.clone_to("three").build().hits(&["dep"]);
    assert_eq!(quarantined(&one), 0);
}

/// Users strip, sign and patch static libraries.
#[test]
fn i01_a_stripped_static_library_leaves_the_store_alone() {
    let one = Project::lib("#[unsafe(no_mangle)] pub extern \"C\" fn value() -> u32 { 7 }\n");
    one.file("Cargo.toml", manifest("dep", "[lib]\ncrate-type = [\"staticlib\"]\n[workspace]\n"));
    one.build().misses(&["dep"]);
    let archive = |project: &Project| project.target_dir().join("debug/libdep.a");
    let good = fs::read(archive(&one)).expect("archive");
    let two = one.clone_to("two");
    two.build().hits(&["dep"]);
    for (number, project) in [&one, &two].into_iter().enumerate() {
        if has_program("strip") {
            let strip = Command::new("strip").arg("-g").arg(archive(project)).status();
            assert!(strip.expect("strip").success());
            assert!(fs::read(archive(project)).expect("archive") != good, "strip did nothing");
        }
        write_in_place(&archive(project));
        one.assert_store_whole();
        let three = one.clone_to(&format!("three-{number}"));
        three.build().hits(&["dep"]);
        assert!(fs::read(archive(&three)).expect("archive") == good, "a stripped library was served");
    }
}

/// A rebuild without the cache writes to names that share an inode with the store.
#[test]
fn i01_rustc_itself_does_not_write_into_the_store() {
    let (mut one, mut two) = restored();
    for project in [&mut one, &mut two] {
        project.file("dep/src/lib.rs", "pub fn value() -> u32 { 8 }\n");
        project.set("KACHE_DISABLED", "1");
        let (run, said) = project.build_and_run();
        assert_eq!((run.compiles_of("dep").len(), said.as_str()), (1, "8"));
        project.assert_store_whole();
        project.unset("KACHE_DISABLED").file("dep/src/lib.rs", DEP);
        project.rebuild_hits(&["dep"]);
        assert_eq!(project.app_output(), "7");
    }
    assert_eq!(quarantined(&one), 0);
}

#[test]
fn i02_storing_leaves_the_output_as_rustc_made_it() {
    let mut project = Project::app_over(DEP);
    let modes = |project: &Project| {
        let files = files_under(&deps(project)).into_iter();
        let of_dep = files.filter(|file| file.to_string_lossy().contains("dep-"));
        of_dep.map(|file| (stat(&file).mode, file)).collect::<Vec<_>>()
    };
    project.build();
    let stored = modes(&project);
    project.set("KACHE_DISABLED", "1").wipe().build();
    assert_eq!(stored, modes(&project));
}

#[test]
fn i03_a_mode_changed_in_one_checkout_is_not_handed_on() {
    let (one, two) = restored();
    let wanted = stat(&rlib(&two)).mode;
    let mut command = Command::new("chmod");
    assert!(command.args(["-R", "a-w"]).arg(deps(&two)).status().expect("chmod").success());
    let three = one.clone_to("three");
    let (_, said) = three.build_and_run();
    assert_eq!(said, "7");
    assert_eq!(stat(&rlib(&three)).mode, wanted, "a read-only library: rustc will refuse to replace it");
    three.assert_noop();
}

#[test]
fn i03_every_checkout_gets_the_modes_of_its_own_umask() {
    let private = Project::app_over(DEP);
    let public = private.clone_to("public");
    let build = |project: &Project, mask: &str| {
        let mut command = project.command("sh");
        command.args(["-c", &format!("umask {mask}; exec cargo build --offline")]);
        project.finish(command).must_succeed();
        let outputs = files_under(&deps(project)).into_iter();
        let of_dep = outputs.filter(|file| file.to_string_lossy().contains("libdep-"));
        of_dep.map(|file| stat(&file).mode & 0o777).collect::<Vec<_>>()
    };
    assert_eq!(build(&private, "077"), [0o600, 0o600]);
    assert_eq!(build(&public, "022"), [0o644, 0o644], "restored from what the other umask made");
    assert_eq!(build(private.wipe(), "077"), [0o600, 0o600]);
}

#[test]
fn i03_a_time_changed_in_one_checkout_is_not_handed_on() {
    let (one, two) = restored();
    filetime::set_file_mtime(rlib(&two), filetime::FileTime::now()).expect("touch");
    let three = one.clone_to("three");
    three.build().hits(&["dep"]);
    if stat(&rlib(&three)).nlink > 1 {
        assert_eq!(stat(&rlib(&three)).mtime_ns, CANONICAL_MTIME_NS);
    }
    for project in [&one, &three] {
        project.assert_noop();
    }
}

/// Runs cargo without the capabilities by which root ignores permissions. Returns `None` if `setpriv` is not installed.
fn bound(project: &Project, args: &[&str]) -> Option<Run> {
    if !has_program("setpriv") {
        return None;
    }
    let mut command = project.command("setpriv");
    command.args(["--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-dac_override,-fowner"]);
    command.arg(real_cargo()).args(args);
    Some(project.finish(command))
}

#[test]
fn i04_nothing_read_only_stands_in_the_way_once_kache_is_gone() {
    let (mut one, mut two) = restored();
    let read_only = |project: &Project| {
        let files = files_under(&project.target_dir());
        files.into_iter().filter(|file| stat(file).mode & 0o200 == 0).collect::<Vec<_>>()
    };
    for project in [&mut one, &mut two] {
        assert_eq!(read_only(project), Vec::<PathBuf>::new());
        project.file("dep/src/lib.rs", "pub fn value() -> u32 { let mut x = 8; x }\n");
        project.unset("RUSTC_WRAPPER");
        let run = bound(project, &["build"]).unwrap_or_else(|| project.build());
        run.must_succeed_ref().misses(&["dep", "app"]);
        assert_eq!(project.app_output(), "8");
        let fix = ["fix", "--allow-no-vcs", "--workspace"];
        let run = bound(project, &fix).unwrap_or_else(|| project.cargo(&fix));
        run.must_succeed_ref().misses(&["dep"]);
        project.assert_store_whole();
        project.set("RUSTC_WRAPPER", crate::support::KACHE);
        assert_eq!(project.build_and_run().1, "8");
    }
}

#[test]
fn i04_fix_after_a_check_from_the_cache() {
    let one = Project::app_over("pub fn value() -> u32 { let mut x = 7; x }\n");
    one.check().misses(&["dep"]);
    let mut two = one.clone_to("two");
    two.check().hits(&["dep"]);
    two.unset("RUSTC_WRAPPER");
    let fix = ["fix", "--allow-no-vcs", "-p", "dep", "--lib"];
    bound(&two, &fix).unwrap_or_else(|| two.cargo(&fix)).must_succeed_ref().misses(&["dep"]);
    let fixed = fs::read_to_string(two.path("dep/src/lib.rs")).expect("source");
    assert!(!fixed.contains("mut"), "{fixed}");
    assert_eq!(two.build_and_run().1, "7");
    one.assert_store_whole();
}

#[test]
fn i04_with_kache_disabled_nothing_read_only_stands_in_the_way() {
    let (_, mut two) = restored();
    two.file("dep/src/lib.rs", "pub fn value() -> u32 { 8 }\n");
    two.set("KACHE_DISABLED", "1");
    let run = bound(&two, &["build"]).unwrap_or_else(|| two.build());
    run.must_succeed_ref().misses(&["dep"]);
    assert_eq!(two.app_output(), "8");
}
