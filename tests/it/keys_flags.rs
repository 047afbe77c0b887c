//! Arguments that change the outputs or the messages of rustc (hazards U12, U17, U26, U27).

use crate::support::{Project, contains, skip};

const VALUE: &str = "pub fn value() -> bool { cfg!(debug_assertions) }\n";

#[test]
fn u12_every_flag_that_shapes_the_output_has_its_own_entry() {
    let project = Project::lib(VALUE);
    project.unit("dep", "src/lib.rs").warm();
    let variants: &[&[&str]] = &[
        &["-C", "opt-level=1"],
        &["-O"],
        &["-C", "debuginfo=2"],
        &["-g"],
        &["-C", "panic=abort"],
        &["-Coverflow-checks=on"],
        &["-Ccodegen-units=1"],
        &["-Ctarget-feature=+avx2"],
        &["-Crelocation-model=static"],
        &["--cfg", "extra"],
        &["--cfg", "feature=\"extra\""],
        &["-Cdebug-assertions=off"],
        &["--remap-path-prefix=/nowhere=/elsewhere"],
        &["-Csymbol-mangling-version=legacy", "-Zunstable-options"],
    ];
    for flags in variants {
        let unit = project.unit("dep", "src/lib.rs").args(*flags).env("RUSTC_BOOTSTRAP", "1");
        unit.misses();
        unit.hits();
    }
    project.unit("dep", "src/lib.rs").hits();
}

#[test]
fn u12_the_last_of_two_contradicting_flags_wins() {
    let project =
        Project::lib("pub static VALUE: &str = if cfg!(debug_assertions) { \"checked\" } else { \"free\" };\n");
    let fast_last = project.unit("dep", "src/lib.rs").args(["-C", "opt-level=0", "-O"]);
    let slow_last = project.unit("dep", "src/lib.rs").args(["-O", "-C", "opt-level=0"]);
    fast_last.warm();
    assert!(contains(&fast_last.rlib(), "free"));
    slow_last.misses();
    assert!(contains(&slow_last.rlib(), "checked"));
    fast_last.hits();
    assert!(contains(&fast_last.rlib(), "free"));
}

#[test]
fn u12_metadata_does_not_answer_for_a_link() {
    let project = Project::lib(VALUE);
    project.unit("dep", "src/lib.rs").emit("dep-info,metadata").warm();
    let linked = project.unit("dep", "src/lib.rs");
    linked.misses();
    assert!(linked.rlib().exists());
}

#[test]
fn u12_another_crate_type_is_another_entry() {
    let project = Project::lib(VALUE);
    project.unit("dep", "src/lib.rs").warm();
    let both = project.unit("dep", "src/lib.rs").args(["--crate-type", "staticlib"]);
    both.run().must_succeed().misses(&["dep"]);
    assert!(both.rlib().with_extension("a").exists(), "the staticlib is missing");
}

#[test]
fn u12_a_target_specification_counts_by_content() {
    let project = Project::new();
    let lang = |item: &str, name: &str| format!("#[lang = \"{item}\"] pub trait {name} {{}}\n");
    let items = [("pointee_sized", "A"), ("meta_sized", "B: A"), ("sized", "Sized: B"), ("copy", "Copy")];
    let items = items.map(|(item, name)| lang(item, name)).concat();
    let own = "#[cfg(target_os = \"none\")] pub struct OnNone;\n";
    project.file("src/lib.rs", format!("#![no_core]\n#![feature(no_core, lang_items)]\n{items}{own}"));
    let spec = |os: &str| {
        format!(
            "{{\"llvm-target\":\"x86_64-unknown-none-elf\",\"arch\":\"x86_64\",\"os\":\"{os}\",\"target-pointer-width\":64,\
             \"data-layout\":\"e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64-S128\"}}"
        )
    };
    project.file("custom.json", spec("none"));
    let unit = project
        .unit("dep", "src/lib.rs")
        .args(["--target", "custom.json", "-Zunstable-options"])
        .env("RUSTC_BOOTSTRAP", "1");
    let first = unit.run();
    if first.code != 0 {
        skip(&format!("this rustc refuses the target specification:\n{}", first.stderr));
        return;
    }
    unit.run().must_succeed().hits(&["dep"]);
    project.file("custom.json", spec("linux"));
    unit.misses();
    project.file("custom.json", spec("none"));
    unit.hits();
}

#[test]
fn u12_a_crate_of_the_sysroot_that_is_asked_for_by_name_counts() {
    let project = Project::lib("pub fn value() -> alloc::string::String { alloc::string::String::new() }\n");
    project.unit("dep", "src/lib.rs").args(["--extern", "alloc"]).warm();
    project.unit("dep", "src/lib.rs").run().must_fail();
}

#[test]
fn u12_an_unknown_flag_reaches_rustc_unchanged() {
    let project = Project::lib(VALUE);
    let unit = project.unit("dep", "src/lib.rs").args(["--frobnicate"]);
    let run = unit.run().must_fail();
    assert!(run.stderr.contains("frobnicate"), "rustc's own words: {}", run.stderr);
    assert_eq!(project.entries().len(), 0);
}

#[test]
fn u17_native_is_not_generic() {
    let project = Project::lib(VALUE);
    project.unit("dep", "src/lib.rs").warm();
    let native = project.unit("dep", "src/lib.rs").args(["-C", "target-cpu=native"]);
    native.misses();
    native.hits();
    project.unit("dep", "src/lib.rs").hits();
}

#[test]
fn u26_unset_is_not_empty() {
    let project = Project::lib(
        "pub static VALUE: &str = match option_env!(\"MOOD\") { None => \"mood-unset\", Some(v) => v };\n",
    );
    let unset = project.unit("dep", "src/lib.rs");
    let empty = project.unit("dep", "src/lib.rs").env("MOOD", "");
    let glad = project.unit("dep", "src/lib.rs").env("MOOD", "mood-glad");
    unset.warm();
    assert!(contains(&unset.rlib(), "mood-unset"));
    empty.misses();
    assert!(!contains(&empty.rlib(), "mood-unset\0") && !contains(&empty.rlib(), "mood-glad"));
    glad.misses();
    assert!(contains(&glad.rlib(), "mood-glad"));
    unset.hits();
    empty.hits();
    glad.hits();
    assert!(contains(&glad.rlib(), "mood-glad"));
}

#[test]
fn u26_swapped_extern_names_are_another_unit() {
    let project = Project::lib("pub fn value() -> &'static str { a::NAME }\n");
    project.file("src/one.rs", "pub const NAME: &str = \"crate-one\";\n");
    project.file("src/two.rs", "pub const NAME: &str = \"crate-two\";\n");
    project.unit("one", "src/one.rs").misses();
    project.unit("two", "src/two.rs").misses();
    let straight = project.unit("dep", "src/lib.rs").uses("a", "one").uses("b", "two");
    let swapped = project.unit("dep", "src/lib.rs").uses("a", "two").uses("b", "one");
    straight.warm();
    assert!(contains(&straight.rlib(), "crate-one"));
    swapped.misses();
    assert!(contains(&swapped.rlib(), "crate-two"));
    straight.hits();
}

#[test]
fn u26_a_cfg_split_in_two_is_not_the_same_cfg() {
    let project =
        Project::lib("pub static VALUE: &str = if cfg!(a = \"b\") { \"value-b\" } else { \"value-none\" };\n");
    let one = project.unit("dep", "src/lib.rs").args(["--cfg", "a=\"b\""]);
    let two = project.unit("dep", "src/lib.rs").args(["--cfg", "a", "--cfg", "b"]);
    one.warm();
    two.misses();
    assert!(contains(&two.rlib(), "value-none"));
}

#[test]
fn u27_flags_inside_an_argument_file_count() {
    let project = Project::lib("pub static VALUE: &str = if cfg!(loud) { \"value-loud\" } else { \"value-quiet\" };\n");
    project.file("args", "--cfg\nloud\n");
    let unit = project.unit("dep", "src/lib.rs").args(["@args"]);
    unit.misses();
    assert!(contains(&unit.rlib(), "value-loud"));
    project.file("args", "--cfg\nsoft\n");
    unit.misses();
    assert!(contains(&unit.rlib(), "value-quiet"));
    project.file("args", "--cfg\nloud\n");
    unit.run().must_succeed();
    assert!(contains(&unit.rlib(), "value-loud"));
}

#[test]
fn u27_an_unreadable_argument_file_is_rustcs_problem() {
    let project = Project::lib(VALUE);
    let run = project.unit("dep", "src/lib.rs").args(["@no-such-file"]).run().must_fail();
    assert!(run.stderr.contains("no-such-file"), "{}", run.stderr);
    assert_eq!(project.entries().len(), 0);
}

#[test]
fn u30_a_profile_counts_by_content() {
    let mut project = Project::lib(VALUE);
    // The hook that replaces rustc is not a program that kache can observe.
    project.set("KACHE_OBSERVE", "off");
    let real = crate::support::real_sysroot().join("bin/rustc");
    // A real profile would need llvm-profdata; the key does not depend on whether the profile is real.
    let without_profile = format!(
        "n=$#; for a; do case $a in -Cprofile-use=*) ;; *) set -- \"$@\" \"$a\";; esac; done; shift $n; exec '{}' \"$@\"\n",
        real.display()
    );
    project.hook("instead", "dep", &without_profile);
    project.file("app.profdata", "profile one");
    let flag = format!("-Cprofile-use={}", project.path("app.profdata").display());
    let unit = project.unit("dep", "src/lib.rs").args([flag]);
    unit.misses();
    project.file("app.profdata", "profile two");
    unit.misses();
    // Control: the flag itself does not keep the unit out of the cache for good, unless kache reports a bypass.
    let again = unit.run().must_succeed();
    let (outcome, _) = project.last_outcome("dep");
    assert!(again.compiles().is_empty() || outcome.starts_with("bypass."), "{outcome}");
}
