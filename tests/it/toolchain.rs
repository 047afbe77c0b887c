//! The identity of the compiler (hazards U15, U16).

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::support::{Project, make_toolchain, real_sysroot, skip, update_toolchain, write_driver};

/// A library with a separate toolchain, which the test may change.
fn own_toolchain() -> (Project, PathBuf) {
    let mut project = Project::lib("pub fn value() -> u32 { 7 }\n");
    let dir = project.sandbox_dir().join("toolchain");
    make_toolchain(&dir);
    project.use_toolchain(&dir);
    (project, dir)
}

#[test]
fn u15_an_update_in_place_is_another_compiler() {
    let (project, dir) = own_toolchain();
    project.warm(&["dep"]);
    update_toolchain(&dir, "1111111111111111111111111111111111111111");
    project.rebuild_misses(&["dep"]);
    project.rebuild_hits(&["dep"]);
    update_toolchain(&dir, "2222222222222222222222222222222222222222");
    project.rebuild_misses(&["dep"]);
}

#[test]
fn u15_a_name_that_points_to_another_toolchain_is_another_compiler() {
    let (mut project, first) = own_toolchain();
    let second = project.sandbox_dir().join("second");
    make_toolchain(&second);
    update_toolchain(&second, "1111111111111111111111111111111111111111");
    let current = project.sandbox_dir().join("current");
    symlink(&first, &current).expect("current");
    project.use_toolchain(&current).warm(&["dep"]);
    std::fs::remove_file(&current).expect("repoint");
    symlink(&second, &current).expect("current");
    project.rebuild_misses(&["dep"]);
    std::fs::remove_file(&current).expect("repoint");
    symlink(&first, &current).expect("current");
    project.rebuild_hits(&["dep"]);
}

#[test]
fn u15_the_same_toolchain_elsewhere_is_the_same_compiler() {
    let (mut project, _) = own_toolchain();
    project.warm(&["dep"]);
    let copy = project.sandbox_dir().join("some/where/else");
    make_toolchain(&copy);
    project.use_toolchain(&copy);
    project.rebuild_hits(&["dep"]);
}

/// If `rust-src` is installed, rustc writes other paths into debug info.
#[test]
fn u15_the_sources_of_the_library_are_part_of_the_compiler() {
    let (project, dir) = own_toolchain();
    // A real directory, in which the test can install something.
    let rustlib = dir.join("lib/rustlib");
    std::fs::remove_file(&rustlib).expect("the link");
    std::fs::create_dir(&rustlib).expect("rustlib");
    for entry in std::fs::read_dir(real_sysroot().join("lib/rustlib")).expect("list") {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("name").to_owned();
        if name != "src" {
            symlink(path, rustlib.join(name)).expect("link");
        }
    }
    crate::support::settle();
    project.warm(&["dep"]);
    let sources = rustlib.join("src/rust/library/std/src");
    std::fs::create_dir_all(&sources).expect("directories");
    std::fs::write(sources.join("lib.rs"), "").expect("a source");
    crate::support::settle();
    project.rebuild_misses(&["dep"]);
    project.rebuild_hits(&["dep"]);
    std::fs::remove_dir_all(rustlib.join("src")).expect("uninstall");
    crate::support::settle();
    project.rebuild_hits(&["dep"]);
}

#[test]
fn u15_rustups_proxy_follows_the_toolchain_of_the_directory() {
    let installed = |name: &str| {
        let rustup = real_sysroot().parent().map(PathBuf::from).unwrap_or_default();
        std::fs::read_dir(rustup).ok()?.find_map(|entry| {
            let entry = entry.ok()?.file_name().into_string().ok()?;
            entry.starts_with(name).then_some(entry)
        })
    };
    let proxy = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo/bin/rustc"));
    let (Some(stable), Some(nightly), Some(proxy)) = (installed("stable-"), installed("nightly-"), proxy) else {
        skip("needs rustup with a stable and a nightly toolchain");
        return;
    };
    if !proxy.exists() {
        skip(&format!("no rustup proxy at {}", proxy.display()));
        return;
    }
    let mut project = Project::lib("pub fn value() -> u32 { 7 }\n");
    project.set("RUSTC", proxy);
    let rmeta = |project: &Project, toolchain: &str| {
        project.file("rust-toolchain.toml", format!("[toolchain]\nchannel = \"{toolchain}\"\n"));
        let unit = project.unit("dep", "src/lib.rs");
        unit.run().must_succeed();
        std::fs::read(unit.rlib().with_extension("rmeta")).expect("metadata")
    };
    let by_stable = rmeta(&project, &stable);
    let by_nightly = rmeta(&project, &nightly);
    assert!(by_stable != by_nightly, "the proxy's other compiler was not used");
    assert!(by_stable == rmeta(&project, &stable), "the first compiler's output was not used again");
    assert!(by_nightly == rmeta(&project, &nightly));
}

#[test]
fn u16_the_same_banner_over_another_compiler_is_another_compiler() {
    let (project, dir) = own_toolchain();
    project.warm(&["dep"]);
    write_driver(&dir, "rebuilt");
    project.rebuild_misses(&["dep"]);
    project.rebuild_hits(&["dep"]);
    write_driver(&dir, "one");
    project.rebuild_hits(&["dep"]);
}

#[test]
fn u16_a_codegen_backend_is_part_of_the_compiler() {
    let (project, dir) = own_toolchain();
    let rustlib = dir.join("lib/rustlib");
    let real = std::fs::read_link(&rustlib).expect("a link");
    std::fs::remove_file(&rustlib).expect("unlink");
    std::fs::create_dir(&rustlib).expect("own rustlib");
    for entry in std::fs::read_dir(&real).expect("rustlib") {
        let entry = entry.expect("entry");
        let target = rustlib.join(entry.file_name());
        if entry.path().join("lib").is_dir() {
            std::fs::create_dir(&target).expect("target");
            symlink(entry.path().join("lib"), target.join("lib")).expect("libraries");
            symlink(entry.path().join("bin"), target.join("bin")).expect("programs");
        } else {
            symlink(entry.path(), target).expect("link");
        }
    }
    let host = std::fs::read_dir(&rustlib).expect("rustlib").filter_map(Result::ok);
    let host = host.map(|e| e.path()).find(|p| p.join("lib").is_dir()).expect("a target");
    let backends = host.join("codegen-backends");
    std::fs::create_dir(&backends).expect("backends");
    let backend = |text: &str| {
        std::fs::write(backends.join("staged"), text).expect("backend");
        let name = backends.join("librustc_codegen_other.so");
        std::fs::rename(backends.join("staged"), name).expect("backend in place");
    };
    backend("one");
    project.warm(&["dep"]);
    backend("two");
    project.rebuild_misses(&["dep"]);
    project.rebuild_hits(&["dep"]);
    backend("one");
    project.rebuild_hits(&["dep"]);
}

#[test]
fn a_hit_asks_the_compiler_nothing() {
    let (project, _) = own_toolchain();
    let unit = project.unit("dep", "src/lib.rs");
    unit.warm();
    // The tests' toolchains share one program. If another test links it at this moment, its ctime changes, and kache
    // asks it.
    let asks_nothing = (0..10).any(|_| unit.hits().calls.is_empty());
    assert!(asks_nothing, "every hit ran the compiler");
}
