//! Builds the observer (`src/observe/preload`) with the C compiler that blake3 needs too, for `observe::library` to embed, and
//! says how the program is linked.

#![expect(clippy::disallowed_methods, reason = "cargo talks to build scripts through the environment")]

use std::path::{Path, PathBuf};

const SOURCES: [&str; 8] =
    ["environment.c", "files.c", "metadata.c", "paths.c", "programs.c", "start.c", "trace.c", "walks.c"];

/// * `-nostdlib`: the library names no other, so that it can be loaded beside whatever C library a program has.
/// * No stack protector, for the same reason.
const FLAGS: [&str; 8] = [
    "-std=gnu11",
    "-fPIC",
    "-shared",
    "-nostdlib",
    "-fvisibility=hidden",
    "-fno-stack-protector",
    "-Wall",
    "-Wno-nonnull-compare",
];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(kache_observer)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/observe/preload");
    let var = |name| std::env::var(name).unwrap_or_default();
    if var("CARGO_CFG_TARGET_OS") != "linux" || var("CARGO_CFG_TARGET_ENV") != "gnu" {
        return;
    }
    // A hit starts this program and ends it some two milliseconds later. The SDK brings twenty thousand relocations, which a
    // position-independent program works off at every start; at a fixed address there are none.
    if !var("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "crt-static") {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
    let dir = Path::new(&var("CARGO_MANIFEST_DIR")).join("src/observe/preload");
    let out = PathBuf::from(var("OUT_DIR")).join("observer.so");
    // Not with the program's profile: debug info would name this directory, and the program hold it.
    let compiler = cc::Build::new().debug(false).opt_level(2).warnings(false).cargo_metadata(false).try_get_compiler();
    let mut command = compiler.expect("a C compiler: the observer is written in C").to_command();
    command.args(FLAGS).arg("-o").arg(&out).args(SOURCES.map(|name| dir.join(name)));
    let status = command.status().expect("the C compiler starts");
    assert!(status.success(), "the observer does not compile: {command:?}");
    println!("cargo::rustc-cfg=kache_observer");
}
