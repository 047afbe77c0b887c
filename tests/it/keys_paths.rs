//! Paths that end up in the bytes of outputs (hazards U09 to U11).

use std::path::Path;

use crate::support::{Project, contains, find_one, skip};

/// Asserts that `OUT_DIR`, as the app prints it, is in this checkout's target directory.
fn own(project: &Project, said: &str) {
    let target = project.target_dir();
    assert!(Path::new(said).starts_with(&target), "`{said}` is not in {}", target.display());
}

const GENERATE: &str = "fn main() {\n\
    println!(\"cargo:rerun-if-changed=build.rs\");\n\
    let out = std::env::var(\"OUT_DIR\").unwrap();\n\
    std::fs::write(format!(\"{out}/gen.rs\"), \"pub const NAME: &str = \\\"generated\\\";\").unwrap();\n}\n";

fn generated(source: &str) -> Project {
    let project = Project::app_over(source);
    project.file("dep/build.rs", GENERATE);
    project
}

#[test]
fn u09_a_manifest_dir_read_as_a_value_is_this_checkouts() {
    let one = Project::app_over("pub fn value() -> &'static str { env!(\"CARGO_MANIFEST_DIR\") }\n");
    one.warm(&["dep"]);
    let two = one.clone_to("elsewhere/deeper/two");
    let (_, said) = two.build_and_run();
    assert_eq!(said, two.path("dep").to_string_lossy());
    assert_eq!(one.rebuild_hits(&["dep"]).code, 0);
    assert_eq!(one.app_output(), one.path("dep").to_string_lossy());
    two.rebuild_hits(&["dep"]);
    assert_eq!(two.app_output(), two.path("dep").to_string_lossy());
}

#[test]
fn u09_a_value_computed_from_the_manifest_dir_is_this_checkouts() {
    let one = Project::app_over("pub fn value() -> usize { env!(\"CARGO_MANIFEST_DIR\").len() }\n");
    one.warm(&["dep"]);
    let two = one.clone_to("elsewhere/deeper/two");
    let (_, said) = two.build_and_run();
    assert_eq!(said, two.path("dep").as_os_str().len().to_string());
    let length = one.path("dep").as_os_str().len().to_string();
    assert_eq!((one.app_output(), length != said), (length, true), "the checkouts must differ in length");
}

#[test]
fn u09_an_optional_manifest_dir_is_this_checkouts() {
    let source = "pub fn value() -> usize { option_env!(\"CARGO_MANIFEST_DIR\").map_or(0, str::len) }\n";
    let one = Project::app_over(source);
    one.warm(&["dep"]);
    let two = one.clone_to("elsewhere/deeper/two");
    assert_eq!(two.build_and_run().1, two.path("dep").as_os_str().len().to_string());
}

#[test]
fn u09_a_manifest_dir_behind_a_macro_is_this_checkouts() {
    let source = "macro_rules! dir { ($($name:tt)*) => { env!($($name)*).len() } }\n\
                  pub fn value() -> usize { dir!(\"CARGO_MANIFEST_DIR\") }\n";
    let one = Project::app_over(source);
    one.warm(&["dep"]);
    let two = one.clone_to("elsewhere/deeper/two");
    assert_eq!(two.build_and_run().1, two.path("dep").as_os_str().len().to_string());
}

#[test]
fn u09_a_path_in_any_other_variable_is_this_builds() {
    let mut one = Project::app_over("pub fn value() -> usize { env!(\"WHERE\").len() }\n");
    let mut two = one.clone_to("elsewhere/deeper/two");
    let (here, there) = (one.path("data"), two.path("data"));
    one.set("WHERE", &here).warm(&["dep"]);
    assert_eq!(two.set("WHERE", &there).build_and_run().1, there.as_os_str().len().to_string());
}

#[test]
fn u10_an_out_dir_only_included_is_shared() {
    let one =
        generated("include!(concat!(env!(\"OUT_DIR\"), \"/gen.rs\"));\npub fn value() -> &'static str { NAME }\n");
    one.warm(&["dep"]);
    let mut two = one.clone_to("elsewhere/deeper/two");
    let (run, said) = two.build_and_run();
    run.hits(&["dep"]);
    assert_eq!(said, "generated");
    two.assert_noop();
    two.without_cache_compiles(&["dep"]);
}

/// Cargo writes programs next to the directory of build scripts whenever a unit ends.
#[test]
fn u10_a_generated_source_is_stored_while_other_units_end() {
    let one =
        generated("include!(concat!(env!(\"OUT_DIR\"), \"/gen.rs\"));\npub fn value() -> &'static str { NAME }\n");
    one.hook("after", "dep", "echo > target/debug/a-program; mkdir -p target/debug/build/of-another\n");
    one.build().misses(&["dep"]);
    assert_eq!(one.last_outcome("dep").1, "stored");
    // Control: kache detects a directory that is swapped for another.
    let swap = "d=$(dirname target/debug/build/dep-*/out/gen.rs); cp -r $d $d.new; mv $d $d.old; mv $d.new $d\n";
    one.hook("after", "dep", swap).kache(&["purge"]);
    one.wipe().build().misses(&["dep"]);
    assert_eq!(one.last_outcome("dep").1, "input-changed");
}

#[test]
fn u10_an_out_dir_included_and_read_is_this_checkouts() {
    let source = "include!(concat!(env!(\"OUT_DIR\"), \"/gen.rs\"));\n\
                  pub fn value() -> &'static str { let _ = NAME; env!(\"OUT_DIR\") }\n";
    let one = generated(source);
    one.warm(&["dep"]);
    own(&one, &one.app_output());
    let two = one.clone_to("elsewhere/deeper/two");
    own(&two, &two.build_and_run().1);
    own(&one, &one.app_output());
}

#[test]
fn u10_a_value_computed_from_an_included_out_dir_is_this_checkouts() {
    let source = "include!(concat!(env!(\"OUT_DIR\"), \"/gen.rs\"));\n\
                  pub fn value() -> usize { let _ = NAME; env!(\"OUT_DIR\").len() }\n";
    let one = generated(source);
    one.warm(&["dep"]);
    let two = one.clone_to("elsewhere/deeper/two");
    let lengths = [one.app_output(), two.build_and_run().1].map(|said| said.parse::<usize>().expect("a length"));
    let depth = |p: &Project| p.dir().as_os_str().len();
    assert_eq!(lengths[0] - depth(&one), lengths[1] - depth(&two));
}

#[test]
fn u10_a_generated_file_that_names_itself_names_this_checkout() {
    let source =
        "include!(concat!(env!(\"OUT_DIR\"), \"/gen.rs\"));\npub fn value() -> &'static str { where_am_i() }\n";
    let one = Project::app_over(source);
    let script = GENERATE
        .replace("pub const NAME: &str = \\\"generated\\\";", "pub fn where_am_i() -> &'static str { file!() }");
    one.file("dep/build.rs", script);
    one.warm(&["dep"]);
    let two = one.clone_to("elsewhere/deeper/two");
    for project in [&one, &two] {
        project.build();
        let said = project.app_output();
        let found = project.path(&said);
        assert!(found.exists(), "`{said}` is not a file of {}", project.dir().display());
        assert!(found.starts_with(project.dir()), "`{said}` is not in {}", project.dir().display());
    }
}

#[test]
fn u11_turning_remapping_off_is_another_unit() {
    let mut project = Project::lib("#[inline(never)] pub fn value(x: Option<u32>) -> u32 { x.unwrap() }\n");
    project.warm(&["dep"]);
    let rlib = |p: &Project| find_one(&p.target_dir().join("debug/deps"), "libdep-", ".rlib");
    let here = project.dir().to_string_lossy().into_owned();
    assert!(!contains(&rlib(&project), &here), "the remapped rlib names the checkout");
    project.set("KACHE_PATHS", "exact");
    project.rebuild_misses(&["dep"]);
    assert!(contains(&rlib(&project), &here), "control: exact paths are in the debug info");
    project.rebuild_hits(&["dep"]);
    assert!(contains(&rlib(&project), &here));
    project.unset("KACHE_PATHS");
    project.rebuild_hits(&["dep"]);
    assert!(!contains(&rlib(&project), &here));
}

#[test]
fn u11_the_remap_reaches_rustc_only_when_on() {
    let mut project = Project::lib("pub fn value() -> u32 { 7 }\n");
    let flag = format!("--remap-path-prefix={}=.", project.dir().display());
    let run = project.build();
    assert!(run.compiles_of("dep")[0].has(&flag), "{:?}", run.compiles_of("dep"));
    project.set("KACHE_PATHS", "exact");
    let run = project.rebuild_misses(&["dep"]);
    assert!(!run.compiles_of("dep")[0].has("--remap-path-prefix"));
}

#[test]
fn u11_the_users_own_remap_counts() {
    let project = Project::lib("pub fn value() -> &'static str { file!() }\n");
    let remap = |to: &str| project.unit("dep", "src/lib.rs").args([format!("--remap-path-prefix=src={to}")]);
    remap("place-one").warm();
    assert!(contains(&remap("place-one").rlib(), "place-one/lib.rs"));
    remap("place-two").misses();
    assert!(contains(&remap("place-two").rlib(), "place-two/lib.rs"));
    remap("place-one").hits();
}

#[test]
fn u11_coverage_is_this_checkouts() {
    let mut one = Project::lib("pub fn value(x: u32) -> u32 { if x > 1 { 2 } else { 3 } }\n");
    one.build();
    one.clone_to("work/plain").build().hits(&["dep"]);
    one.set("RUSTFLAGS", "-Cinstrument-coverage");
    let probe = one.wipe().try_cargo(&["build"]);
    if probe.code != 0 {
        skip(&format!("no profiler runtime in this toolchain:\n{}", probe.stderr));
        return;
    }
    let two = one.clone_to("elsewhere/deeper/two");
    two.build().misses(&["dep"]);
    two.rebuild_hits(&["dep"]);
    one.rebuild_hits(&["dep"]);
}
