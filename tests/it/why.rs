//! `kache why`: its report on the last build in JSON, with real builds, without switching anything on before them.

use std::fs;

use kache::model::Digest;
use serde_json::Value;

use crate::support::{Project, files_under, make_toolchain, manifest, settle, update_toolchain};

/// A library that returns the value that `MOOD` had at compile time.
const MOODY: &str = "pub fn value() -> String { format!(\"{:?}\", option_env!(\"MOOD\")) }\n";
/// The same for a variable whose name looks secret.
const SECRETIVE: &str = "pub fn value() -> String { format!(\"{:?}\", option_env!(\"MOOD_TOKEN\")) }\n";

/// The output of `kache why --json`.
#[track_caller]
fn why(project: &Project, krate: &[&str]) -> Value {
    project.kache_json(&[&["why", "--json"], krate].concat())
}

/// The only unit of `krate` in the output.
#[track_caller]
fn unit(project: &Project, krate: &str) -> Value {
    let why = why(project, &[]);
    let units: Vec<&Value> = why["units"].as_array().unwrap().iter().filter(|unit| unit["crate"] == krate).collect();
    assert_eq!(units.len(), 1, "`{krate}` in {why}");
    units[0].clone()
}

/// The crates in the output.
fn listed(project: &Project) -> Vec<String> {
    let why = why(project, &[]);
    why["units"].as_array().unwrap().iter().map(|unit| unit["crate"].as_str().unwrap().to_owned()).collect()
}

/// The differences of a unit that have one of these kinds: kind, name, old, new.
fn differs(unit: &Value, kinds: &[&str]) -> Vec<[String; 4]> {
    let text = |value: &Value| value.as_str().unwrap_or("null").to_owned();
    let differences = unit["differs"].as_array().unwrap();
    assert_eq!(unit["differing"], differences.len(), "none is left out: {unit}");
    let wanted = differences.iter().filter(|one| kinds.contains(&one["kind"].as_str().unwrap()));
    wanted.map(|one| [&one["kind"], &one["name"], &one["old"], &one["new"]].map(text)).collect()
}

/// All kinds of differences that name a cause.
const CAUSES: [&str; 9] =
    ["compiler", "setting", "directory", "flag", "file", "absent-file", "variable", "root", "dependency"];

fn row(kind: &str, name: &str, old: &str, new: &str) -> [String; 4] {
    [kind, name, old, new].map(str::to_owned)
}

fn short(text: &str) -> String {
    Digest::of(text.as_bytes()).short()
}

fn source_returning(text: &str) -> String {
    format!("pub fn value() -> &'static str {{ \"{text}\" }}\n")
}

#[test]
fn an_edited_source_is_named_with_both_digests() {
    let project = Project::app_over(&source_returning("one"));
    project.warm(&["dep"]);
    assert!(!listed(&project).contains(&"dep".to_owned()), "a hit needs no reason");
    project.file("dep/src/lib.rs", source_returning("two"));
    project.rebuild_misses(&["dep"]);
    let dep = unit(&project, "dep");
    assert_eq!((&dep["outcome"], &dep["compared"]), (&"miss.input-changed".into(), &"input-set".into()));
    assert_eq!((&dep["stored"], &dep["package"]), (&"stored".into(), &"dep 0.1.0".into()));
    let expected = row("file", "dep/src/lib.rs", &short(&source_returning("one")), &short(&source_returning("two")));
    assert_eq!(differs(&dep, &CAUSES), [expected]);
}

#[test]
fn the_nearest_recorded_set_is_compared_not_the_newest() {
    let mut project = Project::app_over(MOODY);
    project.warm(&["dep"]);
    project.set("MOOD", "sad").file("dep/src/lib.rs", format!("{MOODY}// more\n"));
    project.rebuild_misses(&["dep"]);
    assert_eq!(differs(&unit(&project, "dep"), &CAUSES).len(), 2);
    project.set("MOOD", "glad").file("dep/src/lib.rs", MOODY);
    project.rebuild_misses(&["dep"]);
    assert_eq!(differs(&unit(&project, "dep"), &CAUSES), [row("variable", "MOOD", "null", "glad")]);
}

#[test]
fn a_file_that_has_come_and_one_that_is_gone_are_named() {
    let project = Project::app_over("mod m;\npub use m::value;\n");
    project.file("dep/src/m.rs", source_returning("m.rs"));
    project.warm(&["dep"]);
    project.remove("dep/src/m.rs").file("dep/src/m/mod.rs", source_returning("m/mod.rs"));
    project.rebuild_misses(&["dep"]);
    let gone = row("file", "dep/src/m.rs", &short(&source_returning("m.rs")), "null");
    let come = row("absent-file", "dep/src/m/mod.rs", "null", &short(&source_returning("m/mod.rs")));
    assert_eq!(differs(&unit(&project, "dep"), &CAUSES), [gone, come]);
}

#[test]
fn a_variable_is_shown_with_both_values() {
    let mut project = Project::app_over(MOODY);
    project.warm(&["dep"]);
    for (old, new) in [("null", "glad"), ("glad", "sad"), ("sad", "")] {
        project.set("MOOD", new).rebuild_misses(&["dep"]);
        // Every state so far differs only in MOOD; the newest is the nearest.
        assert_eq!(differs(&unit(&project, "dep"), &CAUSES), [row("variable", "MOOD", old, new)]);
    }
}

#[test]
fn a_secret_value_is_shown_as_a_digest_and_stands_in_no_event() {
    let mut project = Project::app_over(SECRETIVE);
    project.set("MOOD_TOKEN", "hush-hush").warm(&["dep"]);
    project.set("MOOD_TOKEN", "psst-psst").rebuild_misses(&["dep"]);
    let told = differs(&unit(&project, "dep"), &CAUSES);
    let [one] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(one[..2], ["variable", "MOOD_TOKEN"]);
    assert!(one[2].starts_with("secret ") && one[3].starts_with("secret ") && one[2] != one[3], "{told:?}");
    let all_said = |project: &Project| {
        let mut said = fs::read_to_string(project.cache_dir().join("events/events.jsonl")).unwrap();
        for args in [&["why"][..], &["why", "dep"], &["why", "--json"]] {
            said += &project.kache(args).must_succeed().stdout;
        }
        said
    };
    let said = all_said(&project);
    assert!(!said.contains("hush-hush") && !said.contains("psst-psst"), "{said}");
    // Control: the same value under a harmless name is visible.
    project.file("dep/src/lib.rs", MOODY);
    project.set("MOOD", "one").rebuild_misses(&["dep"]);
    project.set("MOOD", "psst-psst").rebuild_misses(&["dep"]);
    assert!(all_said(&project).contains("psst-psst"));
}

#[test]
fn a_changed_flag_is_shown_with_both_values() {
    let project = Project::app_over(&source_returning("one"));
    let manifest = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    let optimised = |level: u32| format!("{manifest}[profile.dev]\nopt-level = {level}\n");
    project.file("Cargo.toml", optimised(1)).warm(&["dep"]);
    project.file("Cargo.toml", optimised(2)).rebuild_misses(&["dep"]);
    let dep = unit(&project, "dep");
    assert_eq!((&dep["outcome"], &dep["compared"]), (&"miss.no-manifest".into(), &"call".into()));
    assert_eq!(differs(&dep, &CAUSES), [row("flag", "-C opt-level", "1", "2")]);
    assert_eq!(differs(&dep, &["derived"]).len(), 2, "cargo's hash follows: {dep}");
    // Back and forth: both are hits, and kache compares with the one that has the fewest differences.
    project.file("Cargo.toml", optimised(1)).rebuild_hits(&["dep"]);
    project.file("Cargo.toml", optimised(3)).rebuild_misses(&["dep"]);
    assert_eq!(differs(&unit(&project, "dep"), &["flag"]), [row("flag", "-C opt-level", "2", "3")]);
}

#[test]
fn another_compiler_is_named() {
    let mut project = Project::app_over(&source_returning("one"));
    let toolchain = project.sandbox_dir().join("toolchain");
    fs::create_dir(&toolchain).unwrap();
    make_toolchain(&toolchain);
    project.use_toolchain(&toolchain).warm(&["dep"]);
    update_toolchain(&toolchain, &"0123456789".repeat(4));
    project.rebuild_misses(&["dep"]);
    let told = differs(&unit(&project, "dep"), &CAUSES);
    let [kind, name, old, new] = &told[0];
    assert_eq!((kind.as_str(), name.as_str()), ("compiler", "rustc"));
    assert!(old.starts_with("rustc ") && new.starts_with("rustc ") && old != new, "{told:?}");
}

#[test]
fn a_rebuilt_dependency_comes_before_what_it_caused() {
    let project = Project::app_over("pub fn value() -> u32 { base::N }\n");
    project.file("dep/Cargo.toml", manifest("dep", "[dependencies]\nbase = { path = \"../base\" }\n"));
    project.file("base/Cargo.toml", manifest("base", "")).file("base/src/lib.rs", "pub const N: u32 = 1;\n");
    project.warm(&["base", "dep"]);
    project.file("base/src/lib.rs", "pub const N: u32 = 2;\n");
    project.rebuild_misses(&["base", "dep"]);
    let (base, dep) = (unit(&project, "base"), unit(&project, "dep"));
    let told = differs(&dep, &CAUSES);
    assert_eq!((told.len(), &told[0][..2]), (1, &["dependency".to_owned(), "base".into()][..]), "{told:?}");
    assert_ne!(told[0][2], told[0][3]);
    assert_eq!((&dep["because_of"], &base["because_of"]), (&serde_json::json!(["base"]), &serde_json::json!([])));
    assert_eq!(listed(&project)[..2], ["base", "dep"]);
}

#[test]
fn a_bypass_has_its_reason() {
    let mut project = Project::app_over(&source_returning("one"));
    project.build();
    assert_ne!(unit(&project, "dep")["outcome"], "bypass.side-outputs", "control");
    project.set("RUSTFLAGS", "-Csave-temps").wipe().build();
    let dep = unit(&project, "dep");
    assert_eq!((&dep["outcome"], &dep["detail"]), (&"bypass.side-outputs".into(), &"-C save-temps".into()));
    assert_eq!((&dep["stored"], &dep["kind"]), (&Value::Null, &"lib".into()));
}

#[test]
fn what_was_not_stored_says_why() {
    let project = Project::app_over(&source_returning("one"));
    project.hook("after", "dep", "sed -i s/one/two/ dep/src/lib.rs\n").build();
    let dep = unit(&project, "dep");
    assert_eq!((&dep["compared"], &dep["stored"]), (&"first-seen".into(), &"input-changed".into()));
    // kache does not compare with a result that it did not store.
    project.unhook("after", "dep");
    settle();
    project.rebuild_misses(&["dep"]);
    assert_eq!(unit(&project, "dep")["compared"], "first-seen");
}

#[test]
fn an_incremental_compile_and_what_is_built_on_it_are_explained() {
    let mut project = Project::app_over("pub fn value() -> u32 { base::N }\n");
    project.file("dep/Cargo.toml", manifest("dep", "[dependencies]\nbase = { path = \"../base\" }\n"));
    project.file("base/Cargo.toml", manifest("base", "")).file("base/src/lib.rs", "pub const N: u32 = 1;\n");
    project.unset("CARGO_INCREMENTAL").build();
    crate::support::touch_later(&project.file("base/src/lib.rs", "pub const N: u32 = 2;\n").path("base/src/lib.rs"));
    settle();
    project.build();
    let (base, dep) = (unit(&project, "base"), unit(&project, "dep"));
    assert_eq!((&base["stored"], differs(&base, &["file"]).len()), (&"private-incremental".into(), 1));
    assert_eq!((&dep["outcome"], &dep["because_of"]), (&"miss.private-input".into(), &serde_json::json!(["base"])));
}

#[test]
fn only_the_last_build_counts() {
    let project = Project::app_over(&source_returning("one"));
    project.file("other/Cargo.toml", manifest("other", "")).file("other/src/lib.rs", "");
    let manifest = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    project.file("Cargo.toml", manifest.replace("[workspace]", "other = { path = \"other\" }\n[workspace]"));
    project.build().misses(&["dep", "other"]);
    let both = listed(&project);
    assert!(both.contains(&"dep".to_owned()) && both.contains(&"other".to_owned()), "{both:?}");
    project.file("dep/src/lib.rs", source_returning("two")).rebuild_misses(&["dep"]);
    let left = listed(&project);
    assert!(left.contains(&"dep".to_owned()) && !left.contains(&"other".to_owned()), "{left:?}");
    assert_eq!(why(&project, &["other"])["units"][0]["outcome"], "hit.local");
}

#[test]
fn hits_are_no_news() {
    let project = Project::lib(&source_returning("one"));
    project.warm(&["dep"]);
    let why = why(&project, &[]);
    assert_eq!((&why["build"]["hits"], &why["build"]["misses"]), (&1.into(), &0.into()));
    assert_eq!(why["build"]["target"], project.target_dir().to_str().unwrap());
    assert_eq!(why["units"], serde_json::json!([]));
}

#[test]
fn without_a_build_there_is_nothing_to_say() {
    let mut project = Project::lib(&source_returning("one"));
    project.set("KACHE_DISABLED", "1").build();
    assert_eq!(why(&project, &[])["build"], Value::Null);
    project.unset("KACHE_DISABLED").wipe().build();
    assert_ne!(why(&project, &[])["build"], Value::Null, "control");
}

#[test]
fn every_checkout_sees_its_own_last_build() {
    let one = Project::lib(&source_returning("one"));
    one.build();
    let two = one.clone_to("work/two");
    two.file("src/lib.rs", source_returning("two")).build();
    let target = |project: &Project| why(project, &[])["build"]["target"].as_str().unwrap().to_owned();
    assert_eq!(target(&one), one.target_dir().to_str().unwrap());
    assert_eq!(target(&two), two.target_dir().to_str().unwrap());
    // The set of the other checkout is the nearest one.
    assert_eq!(differs(&unit(&two, "dep"), &CAUSES).len(), 1);
    // From elsewhere, kache explains the last build of all.
    let mut elsewhere = one.command(crate::support::KACHE);
    elsewhere.args(["why", "--json"]).current_dir(one.sandbox_dir());
    let said = one.finish(elsewhere).must_succeed().stdout;
    assert!(said.contains(two.target_dir().to_str().unwrap()), "{said}");
}

#[test]
fn a_result_that_was_removed_is_told_from_a_new_call() {
    let project = Project::app_over(&source_returning("one"));
    project.build();
    assert_eq!(unit(&project, "dep")["compared"], "first-seen");
    for manifest in project.manifests() {
        fs::remove_file(manifest).unwrap();
    }
    project.rebuild_misses(&["dep"]);
    assert_eq!(unit(&project, "dep")["compared"], "removed");
}

#[test]
fn purge_removes_the_traces_and_damage_costs_an_explanation_only() {
    let project = Project::app_over(&source_returning("one"));
    project.build();
    let units = || files_under(&project.cache_dir().join("v1/units"));
    assert!(!units().is_empty());
    project.kache(&["purge"]).must_succeed();
    assert_eq!(units(), Vec::<std::path::PathBuf>::new());
    project.rebuild_misses(&["dep"]);
    for unit in units() {
        fs::write(unit, "{torn").unwrap();
    }
    let forget = || project.manifests().iter().for_each(|manifest| fs::remove_file(manifest).unwrap());
    forget();
    project.rebuild_misses(&["dep"]);
    assert_eq!(unit(&project, "dep")["compared"], "first-seen");
    project.rebuild_hits(&["dep"]);
    // kache cannot write to the directory of the traces.
    fs::remove_dir_all(project.cache_dir().join("v1/units")).unwrap();
    fs::write(project.cache_dir().join("v1/units"), "in the way").unwrap();
    forget();
    project.rebuild_misses(&["dep"]);
    assert_eq!((unit(&project, "dep")["stored"].as_str(), units().len()), (Some("stored"), 0));
    project.rebuild_hits(&["dep"]);
}

#[test]
fn a_program_is_explained_by_the_library_that_changed() {
    let project = Project::app_over("pub fn value() -> u32 { base::n() }\n");
    project.file("dep/Cargo.toml", manifest("dep", "[dependencies]\nbase = { path = \"../base\" }\n"));
    // Only the body changes: the output of `dep` stays the same, and the program is linked again all the same.
    let body = |n: u32| format!("#[inline(never)]\npub fn n() -> u32 {{ {n} }}\n");
    project.file("base/Cargo.toml", manifest("base", "")).file("base/src/lib.rs", body(1));
    project.warm(&["base", "dep", "app"]);
    project.file("base/src/lib.rs", body(2)).rebuild_misses(&["base", "app"]);
    assert_eq!(project.app_output(), "2");
    let app = unit(&project, "app");
    let causes = app["because_of"].as_array().unwrap();
    assert!(causes.contains(&"base".into()) || causes.contains(&"dep".into()), "{app}");
    let listed = listed(&project);
    assert_eq!((listed.first().unwrap().as_str(), listed.last().unwrap().as_str()), ("base", "app"));
}

#[test]
fn what_only_a_macro_reads_is_named() {
    let mut project = Project::app_over("pub fn value() -> String { mac::look!().to_owned() }\n");
    project.file("dep/Cargo.toml", manifest("dep", "[dependencies]\nmac = { path = \"../mac\" }\n"));
    project.file("mac/Cargo.toml", manifest("mac", "[lib]\nproc-macro = true\n")).file(
        "mac/src/lib.rs",
        "#[proc_macro]\npub fn look(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n\
         let seen = std::fs::read_dir(\"dep/data\").unwrap().count();\n\
         format!(\"\\\"{:?} {seen}\\\"\", std::env::var_os(\"MOOD\").map(|mood| mood.len())).parse().unwrap()\n}\n",
    );
    project.file("dep/data/one", "");
    project.warm(&["dep", "mac"]);
    project.set("MOOD", "glad").rebuild_misses(&["dep"]);
    assert_eq!(differs(&unit(&project, "dep"), &CAUSES), [row("variable", "MOOD", "null", "glad")]);
    project.file("dep/data/two", "").rebuild_misses(&["dep"]);
    let told = differs(&unit(&project, "dep"), &["listing"]);
    assert_eq!((told.len(), told[0][1].as_str()), (1, "dep/data"), "{told:?}");
}

#[test]
fn a_verified_hit_that_differs_is_listed() {
    let mut project = Project::app_over(&source_returning("one"));
    project.build();
    project.set("KACHE_VERIFY", "hits").wipe().build();
    assert!(!listed(&project).contains(&"dep".to_owned()), "control");
    project.hook("after", "dep", "for file in target/debug/deps/libdep-*.rmeta; do printf x >> $file; done\n");
    project.wipe().build();
    let dep = unit(&project, "dep");
    assert_eq!(dep["outcome"], "hit.differs");
    assert!(dep["detail"].as_str().unwrap().starts_with("libdep-"), "{dep}");
}
