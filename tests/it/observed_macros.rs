//! Proc macros that read variables, files, directories and absences (hazards U01 to U04).

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use crate::support::{Project, manifest, value_of};

/// The crates that cargo recompiles if an input of a macro changes: the consumer and everything above it.
const CHANGED: &[&str] = &["app", "dep"];

/// Creates or replaces a symbolic link in the checkout.
fn point(project: &Project, link: &str, target: impl AsRef<Path>) {
    let path = project.path(link);
    fs::create_dir_all(path.parent().expect("parent")).expect("parents");
    fs::remove_file(&path).ok();
    symlink(target, path).expect("symlink");
}

#[test]
fn u01_a_variable() {
    let mut project = Project::with_macro("variable!(\"MACRO_DATA\")");
    project.settled("unset");
    project.set("MACRO_OTHER", "beside").fresh_hits("unset");
    project.set("MACRO_DATA", "one").fresh_compiles(CHANGED, "one");
    project.set("MACRO_OTHER", "beside it").fresh_hits("one");
    project.set("MACRO_DATA", "").fresh_compiles(CHANGED, "");
    project.set("MACRO_DATA", "two").fresh_compiles(CHANGED, "two");
    project.set("MACRO_DATA", "one").fresh_hits("one");
    project.unset("MACRO_DATA").fresh_hits("unset");
    project.set("MACRO_DATA", "two").fresh_hits("two");
}

#[test]
fn u01_a_variable_through_a_library_that_passes_the_macro_on() {
    let mut project = Project::with_macro("");
    project.file("dep/Cargo.toml", manifest("dep", "[dependencies]\nface = { path = \"../face\" }\n"));
    project.file("dep/src/lib.rs", value_of("face", "variable!(\"MACRO_DATA\")"));
    project.file("face/Cargo.toml", manifest("face", "[dependencies]\nmac = { path = \"../mac\" }\n"));
    project.file("face/src/lib.rs", "pub use mac::*;\n");
    project.settled("unset");
    project.set("MACRO_DATA", "one").fresh_compiles(CHANGED, "one");
    project.set("MACRO_OTHER", "beside").fresh_hits("one");
    project.unset("MACRO_DATA").fresh_hits("unset");
}

/// A macro that lists all variables with a prefix, without looking up a name.
const ENVIRON: &str = r#"
#[proc_macro]
pub fn environ(prefix: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let prefix = prefix.to_string();
    let mut found: Vec<_> = std::env::vars().filter(|(name, _)| name.starts_with(&prefix)).collect();
    found.sort();
    let list: Vec<_> = found.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{:?}", list.join(",")).parse().unwrap()
}
"#;

#[test]
fn u01_all_variables_of_a_prefix() {
    let mut project = Project::with_macro("environ!(MACRO_DATA)");
    project.file("mac/src/lib.rs", ENVIRON);
    project.set("MACRO_DATA_A", "1").settled("MACRO_DATA_A=1");
    project.set("MACRO_DATA_B", "2").fresh_compiles(CHANGED, "MACRO_DATA_A=1,MACRO_DATA_B=2");
    project.set("MACRO_DATA_A", "3").fresh_compiles(CHANGED, "MACRO_DATA_A=3,MACRO_DATA_B=2");
    project.file("dep/beside", "").fresh_hits("MACRO_DATA_A=3,MACRO_DATA_B=2");
    project.unset("MACRO_DATA_A").fresh_compiles(CHANGED, "MACRO_DATA_B=2");
}

#[test]
fn u01_the_value_of_a_path_variable_stays_local() {
    let one = Project::with_macro("manifest_dir!()");
    let two = one.clone_to("elsewhere/deeper/two");
    one.settled(one.path("dep").to_str().expect("text"));
    // The libraries could be shared; this value cannot.
    let (run, said) = two.build_and_run();
    assert_eq!((run.compiles(), said.as_str()), (CHANGED.to_vec(), two.path("dep").to_str().expect("text")));
    two.fresh_hits(two.path("dep").to_str().expect("text"));
    one.fresh_hits(one.path("dep").to_str().expect("text"));
}

#[test]
fn u02_a_file() {
    let project = Project::with_macro("file!(\"data/text\")");
    project.file("dep/data/text", "one").settled("one");
    project.file("dep/data/other", "beside").fresh_hits("one");
    project.file("dep/data/text", "two").fresh_compiles(CHANGED, "two");
    project.file("dep/data/other", "beside it").remove("dep/data/other").fresh_hits("two");
    project.file("dep/data/text", "one").fresh_hits("one");
    project.remove("dep/data/text").fresh_compiles(CHANGED, "absent");
    project.file("dep/data/text", "two").fresh_hits("two");
}

#[test]
fn u02_a_file_in_a_second_checkout() {
    let one = Project::with_macro("file!(\"data/text\")");
    one.file("dep/data/text", "one").settled("one");
    let two = one.clone_to("elsewhere/deeper/two");
    two.fresh_hits("one");
    two.file("dep/data/text", "two").fresh_compiles(CHANGED, "two");
    one.fresh_hits("one");
    one.file("dep/data/text", "two").fresh_hits("two");
}

#[test]
fn u02_a_file_named_from_where_rustc_runs() {
    let project = Project::with_macro("file_from_cwd!(\"text\")");
    project.file("text", "one").settled("one");
    project.file("text", "two").fresh_compiles(CHANGED, "two");
    project.file("dep/text", "beside").fresh_hits("two");
}

#[test]
fn u02_a_file_that_a_build_script_made() {
    let project = Project::with_macro("file_in_out_dir!(\"made\")");
    project.file(
        "dep/build.rs",
        "fn main() { std::fs::copy(\"made-from\", std::env::var(\"OUT_DIR\").unwrap() + \"/made\").unwrap(); }\n",
    );
    project.file("dep/made-from", "one").settled("one");
    project.file("dep/made-from", "two").fresh_compiles(CHANGED, "two");
    project.file("dep/beside", "").fresh_hits("two");
    project.clone_to("elsewhere/deeper/two").fresh_hits("two");
}

#[test]
fn u02_a_file_that_is_only_measured() {
    let project = Project::with_macro("size!(\"text\")");
    project.file("dep/text", "1").settled("1");
    project.file("dep/text", "22").fresh_compiles(CHANGED, "2");
    project.file("dep/beside", "1").fresh_hits("2");
}

#[test]
fn u02_a_file_whose_mode_is_looked_at() {
    let project = Project::with_macro("is_executable!(\"text\")");
    project.file("dep/text", "one").file("dep/beside", "one").settled("false");
    let mode = |name: &str, mode| fs::set_permissions(project.path(name), fs::Permissions::from_mode(mode)).unwrap();
    mode("dep/beside", 0o755);
    project.fresh_hits("false");
    mode("dep/text", 0o755);
    project.fresh_compiles(CHANGED, "true");
}

#[test]
fn u02_a_file_under_cargo_check() {
    let project = Project::with_macro("file!(\"text\")");
    project.file("dep/text", "one").check().misses(CHANGED);
    assert_eq!(project.wipe().check().compiles(), Vec::<&str>::new(), "{}", project.history());
    project.file("dep/text", "two");
    assert_eq!(project.wipe().check().compiles(), CHANGED);
    project.file("dep/beside", "two");
    assert_eq!(project.wipe().check().compiles(), Vec::<&str>::new(), "{}", project.history());
}

#[test]
fn u02_a_file_that_changes_while_rustc_runs() {
    let project = Project::with_macro("file!(\"text\")");
    project.file("dep/text", "one").wipe().build();
    // Control: a hook alone does not prevent storing.
    project.file("dep/text", "two").hook("after", "dep", "true\n").fresh_compiles(CHANGED, "two");
    project.fresh_hits("two");
    project.file("dep/text", "three").hook("after", "dep", "echo four > dep/text\n").fresh_compiles(CHANGED, "three");
    assert_eq!(project.last_outcome("dep").1, "input-changed", "{}", project.history());
    // By now the program above it has an entry; the library does not.
    project.unhook("after", "dep").file("dep/text", "three").fresh_compiles(&["dep"], "three");
}

#[test]
fn u02_the_packages_own_manifest() {
    let project = Project::with_macro("manifest_line!(\"note = \")");
    let with =
        |name: &str, rest: &str| manifest(name, &format!("[dependencies]\nmac = {{ path = \"../mac\" }}\n{rest}"));
    project.file("dep/Cargo.toml", with("dep", "")).settled("none");
    project.file("dep/Cargo.toml", with("dep", "[package.metadata.x]\nnote = 1\n")).fresh_compiles(CHANGED, "1");
    project.file("mac/Cargo.toml", manifest("mac", "[lib]\nproc-macro = true\n[package.metadata.x]\nnote = 2\n"));
    project.fresh_hits("1");
    project.file("dep/Cargo.toml", with("dep", "")).fresh_hits("none");
}

#[test]
fn u03_a_listing() {
    let project = Project::with_macro("listing!(\"data\")");
    project.file("dep/data/a", "").settled("a");
    project.file("dep/data/b", "").fresh_compiles(CHANGED, "a,b");
    project.file("dep/beside/c", "").fresh_hits("a,b");
    project.file("dep/data/b", "only its name is read").fresh_hits("a,b");
    fs::rename(project.path("dep/data/a"), project.path("dep/data/z")).expect("rename");
    project.fresh_compiles(CHANGED, "b,z");
    project.remove("dep/data/z").fresh_compiles(CHANGED, "b");
    project.remove("dep/data/b").file("dep/data/a", "").fresh_hits("a");
    project.file("dep/beside/d", "").fresh_hits("a");
    project.clone_to("elsewhere/deeper/two").fresh_hits("a");
    fs::remove_dir_all(project.path("dep/data")).expect("remove");
    project.fresh_compiles(CHANGED, "no directory");
}

#[test]
fn u02_an_absent_file_that_appears() {
    let project = Project::with_macro("file!(\"data/text\")");
    project.file("dep/data/first", "").settled("absent");
    project.file("dep/data/other", "beside").fresh_hits("absent");
    project.file("dep/data/text", "one").fresh_compiles(CHANGED, "one");
    project.remove("dep/data/text").fresh_hits("absent");
    project.remove("dep/data/other").fresh_hits("absent");
}

#[test]
fn u02_a_check_for_existence() {
    let project = Project::with_macro("exists!(\"data/flag\")");
    project.file("dep/data/first", "").settled("false");
    project.file("dep/data/other", "").fresh_hits("false");
    project.file("dep/data/flag", "").fresh_compiles(CHANGED, "true");
    project.remove("dep/data/other").fresh_hits("true");
    project.remove("dep/data/flag").fresh_hits("false");
}

#[test]
fn u02_a_file_through_a_link() {
    let project = Project::with_macro("file!(\"link\")");
    project.file("far/one", "one").file("far/two", "two");
    point(&project, "dep/link", "../far/one");
    project.settled("one");
    point(&project, "dep/beside", "../far/two");
    project.file("far/two", "2").fresh_hits("one");
    project.file("far/one", "1").fresh_compiles(CHANGED, "1");
    point(&project, "dep/link", "../far/two");
    project.fresh_compiles(CHANGED, "2");
    point(&project, "dep/link", "../far/gone");
    project.fresh_compiles(CHANGED, "absent");
    point(&project, "dep/link", "../far/one");
    project.fresh_hits("1");
}

#[test]
fn u02_a_file_below_a_linked_directory() {
    let project = Project::with_macro("file!(\"data/sub/text\")");
    project.file("far/one/sub/text", "one").file("far/two/sub/text", "two");
    point(&project, "dep/data", "../far/one");
    project.settled("one");
    project.file("far/two/sub/other", "beside").fresh_hits("one");
    point(&project, "dep/data", "../far/two");
    project.fresh_compiles(CHANGED, "two");
    project.file("far/one/sub/text", "beside").fresh_hits("two");
    project.file("far/two/sub/text", "2").fresh_compiles(CHANGED, "2");
}

#[test]
fn u02_a_link_that_is_read_or_resolved() {
    for call in ["link!(\"link\")", "real_name!(\"link\")"] {
        let project = Project::with_macro(call);
        project.file("dep/one", "same").file("dep/two", "same");
        point(&project, "dep/link", "one");
        project.settled("one");
        point(&project, "dep/beside", "two");
        project.fresh_hits("one");
        point(&project, "dep/link", "two");
        project.fresh_compiles(CHANGED, "two");
        point(&project, "dep/link", "one");
        project.fresh_hits("one");
    }
}
