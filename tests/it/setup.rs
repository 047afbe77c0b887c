//! kache set up wrongly or not at all (hazard T01): it does the same as rustc.

use std::fs;

use crate::store_places::as_rustc;
use crate::support::Project;

const DEP: &str = "fn never_called() {}\npub fn value() -> u32 { 7 }\n";

#[test]
fn t01_without_a_home_kache_is_rustc() {
    let mut project = Project::lib(DEP);
    for name in ["HOME", "KACHE_CACHE_DIR", "KACHE_CONFIG", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"] {
        project.unset(name);
    }
    as_rustc(&project, "no home");
    project.set("HOME", "");
    as_rustc(&project, "an empty home");
    project.set("HOME", "/nowhere/at/all");
    as_rustc(&project, "a home that does not exist");
    let _ = fs::remove_dir_all("/nowhere");
    for name in ["HOME", "XDG_CACHE_HOME", "KACHE_CACHE_DIR", "KACHE_CONFIG"] {
        project.set(name, "relative");
        as_rustc(&project, &format!("a relative {name}"));
        assert!(!project.path("relative").exists(), "{name}: a cache wherever rustc is started");
        project.unset(name);
    }
}

#[test]
fn t01_a_cache_that_is_no_directory_is_no_cache() {
    let mut project = Project::lib(DEP);
    let file = project.path("file");
    fs::write(&file, "precious").expect("write");
    for place in
        [file.clone(), file.join("below"), file.join(".."), "/dev/null".into(), "/proc/no-cache-here".into(), "".into()]
    {
        project.set("KACHE_CACHE_DIR", &place);
        as_rustc(&project, &format!("cache at {}", place.display()));
    }
    assert_eq!(fs::read_to_string(file).expect("read"), "precious");
}

#[test]
fn t01_a_bad_configuration_is_no_build_error() {
    let mut project = Project::lib(DEP);
    let file = project.path("config.toml");
    project.set("KACHE_CONFIG", &file);
    for text in
        ["[cache\n", "[cache]\ndir = 3\n", "[cache]\nmax_size = \"lots\"\n", "\u{0}", "[build]\npaths = \"maybe\"\n"]
    {
        fs::write(&file, text).expect("write");
        as_rustc(&project, text);
    }
    fs::write(&file, b"\xff\xfe").expect("write");
    as_rustc(&project, "no text");
    let dir = project.dir().to_owned();
    project.set("KACHE_CONFIG", &dir);
    as_rustc(&project, "a directory");
    project.set("KACHE_CONFIG", "");
    for (name, value) in
        [("MAX_SIZE", "lots"), ("CLAIM_WAIT", "soon"), ("LOG", "loud"), ("PATHS", "some"), ("DISABLED", "maybe")]
    {
        project.set(&format!("KACHE_{name}"), value);
        as_rustc(&project, &format!("KACHE_{name}={value}"));
        project.unset(&format!("KACHE_{name}"));
    }
}

#[test]
fn t01_keys_of_a_newer_kache_are_ignored() {
    let mut project = Project::lib(DEP);
    let file = project.path("config.toml");
    fs::write(&file, "[cache]\nfuture = true\n[remote]\nbucket = \"b\"\n").expect("write");
    project.set("KACHE_CONFIG", &file);
    as_rustc(&project, "unknown keys");
    project.unit("dep", "src/lib.rs").warm();
}
