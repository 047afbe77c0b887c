//! Compiles the observer (`src/observe/preload`) and the hook of build scripts (`src/script/hook.c`), which
//! `observe::library` and `script::hook` embed, with the C compiler that blake3 needs too. Also sets how the program is
//! linked.

#![expect(clippy::disallowed_methods, reason = "cargo talks to build scripts through the environment")]

use std::path::{Path, PathBuf};

const SOURCES: [&str; 12] = [
    "alias.c",
    "effects.c",
    "environment.c",
    "files.c",
    "libraries.c",
    "metadata.c",
    "paths.c",
    "programs.c",
    "remaps.c",
    "start.c",
    "trace.c",
    "walks.c",
];

const HOOK: &str = "hook.c";

/// No stack protector: the things that it needs may not be set up yet, or not exist.
const FLAGS: [&str; 5] = ["-std=gnu11", "-fPIC", "-fvisibility=hidden", "-fno-stack-protector", "-Wall"];
/// * `-nostdlib`: the library does not depend on others, so it can be loaded beside whatever C library a program has.
const OF_LIBRARY: [&str; 3] = ["-shared", "-nostdlib", "-Wno-nonnull-compare"];
/// * No unwind tables: not every link keeps everything that they need.
const OF_OBJECT: [&str; 2] = ["-c", "-fno-asynchronous-unwind-tables"];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(kache_observer)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/observe/preload");
    println!("cargo::rerun-if-changed=src/script/hook.c");
    let var = |name| std::env::var(name).unwrap_or_default();
    if var("CARGO_CFG_TARGET_OS") != "linux" || var("CARGO_CFG_TARGET_ENV") != "gnu" {
        return;
    }
    // A hit starts this program and ends it some two milliseconds later. The SDK adds twenty thousand relocations,
    // which a position-independent program processes at every start; at a fixed address there are none.
    if !var("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "crt-static") {
        println!("cargo::rustc-link-arg-bins=-no-pie");
        link_unwinder(&PathBuf::from(var("OUT_DIR")).join("link"));
    }
    let src = Path::new(&var("CARGO_MANIFEST_DIR")).join("src");
    let out = PathBuf::from(var("OUT_DIR"));
    let observer = src.join("observe/preload");
    compile(&OF_LIBRARY, &SOURCES.map(|name| observer.join(name)), &out.join("observer.so"));
    compile(&OF_OBJECT, &[src.join("script").join(HOOK)], &out.join("hook.o"));
    println!("cargo::rustc-cfg=kache_observer");
    println!("cargo::rustc-env=KACHE_HOST={}", var("TARGET"));
}

/// Links the C compiler's static unwinder in place of `libgcc_s.so`, which the standard library requests. Without that
/// library, a start of the program saves the search in `LD_LIBRARY_PATH`, the mappings, and the constructor, which
/// queries the features of the processor twelve times. In a virtual machine each query is an exit to the hypervisor.
fn link_unwinder(dir: &Path) {
    let compiler = cc::Build::new().cargo_metadata(false).get_compiler();
    let asked = compiler.to_command().arg("-print-file-name=libgcc_eh.a").output().expect("the C compiler starts");
    // A compiler that does not have the library prints the bare name.
    if !Path::new(String::from_utf8_lossy(&asked.stdout).trim()).is_absolute() {
        return;
    }
    std::fs::create_dir_all(dir).expect("OUT_DIR can be written");
    std::fs::write(dir.join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n").expect("OUT_DIR can be written");
    println!("cargo::rustc-link-arg-bins=-L{}", dir.display());
}

fn compile(flags: &[&str], sources: &[PathBuf], to: &Path) {
    // Not with the program's profile: debug info would name this directory, and the program would contain that path.
    let compiler = cc::Build::new().debug(false).opt_level(2).warnings(false).cargo_metadata(false).try_get_compiler();
    let mut command = compiler.expect("a C compiler: the observer is written in C").to_command();
    command.args(FLAGS).args(flags).arg("-o").arg(to).args(sources);
    let status = command.status().expect("the C compiler starts");
    assert!(status.success(), "{} does not compile: {command:?}", to.display());
}
