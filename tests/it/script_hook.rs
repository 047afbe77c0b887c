//! The hook in build scripts: a script sees the same as without kache, and every way to link includes the hook.

use std::fs;
use std::process::Command;

use crate::support::{KACHE, Scripted, has_program, manifest, real_cargo, skip};

/// Prints everything that a program can find out about how it was started.
const LOOKS: &str = r#"
    let mut seen: Vec<String> = env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    seen.sort();
    seen.push(format!("{:?}", env::args().collect::<Vec<_>>()));
    seen.push(env::current_exe().unwrap().display().to_string());
    seen.push(env::current_dir().unwrap().display().to_string());
    let mut fds: Vec<_> = fs::read_dir("/proc/self/fd").unwrap().map(|entry| fs::read_link(entry.unwrap().path()).map(|to| to.display().to_string()).unwrap_or_default()).collect();
    fds.retain(|to| to.starts_with("/") && !to.starts_with("/proc/") && to != "/dev/null");
    seen.extend(fds);
    let stat = fs::read_to_string("/proc/self/status").unwrap();
    seen.extend(stat.lines().filter(|line| line.starts_with("Sig")).map(str::to_owned));
    println!("{}", seen.join("\n"));
    "x".into()"#;

#[test]
fn a_script_sees_what_it_sees_without_kache() {
    let mut scene = Scripted::new(LOOKS);
    let seen = |scene: &Scripted| {
        scene.project.wipe();
        let run = scene.project.cargo(&["build", "-vv"]);
        let lines = run.stdout.lines().filter_map(|line| line.strip_prefix("[app 0.1.0] "));
        let of_build = |line: &&str| line.contains("jobserver") || line.starts_with("SigQ:");
        lines.filter(|line| !of_build(line)).map(str::to_owned).collect::<Vec<_>>()
    };
    let with = seen(&scene);
    assert!(with.len() > 40, "{with:?}");
    assert_eq!(scene.last_run()["stored"], "unobserved", "it looks at /proc");
    // Compiled without the hook, but still with the wrapper's name in the environment.
    scene.set("KACHE_DISABLED", "1");
    let mut without = seen(&scene);
    without.retain(|line| !line.starts_with("KACHE_DISABLED="));
    assert_eq!(with, without);
}

#[test]
fn a_script_runs_without_kache() {
    let mut scene = Scripted::new("\"x\".into()");
    scene.runs();
    let find =
        |dir: &str| crate::support::find(&scene.project.path(dir), "build-script-build", "").pop().expect("a script");
    let (program, out) = (find("target"), scene.project.sandbox_dir().join("by-hand"));
    fs::create_dir_all(&out).expect("directory");
    // Without a wrapper, with another one, with one that does not exist, and with a `kache` that is a different
    // program.
    let other = scene.project.sandbox_dir().join("other/kache");
    crate::support::write_program(&other, "#!/bin/sh\nexec \"$@\"\n");
    for wrapper in [None, Some("/usr/bin/sccache"), Some("/nowhere/kache"), Some("kache"), other.to_str()] {
        let mut command = Command::new(&program);
        command.env_clear().env("OUT_DIR", &out).env("CARGO_MANIFEST_DIR", scene.project.dir());
        wrapper.map(|wrapper| command.env("RUSTC_WRAPPER", wrapper).env("PATH", "/usr/bin:/bin"));
        assert!(command.status().expect("starts").success(), "{wrapper:?}");
        fs::remove_file(out.join("gen.rs")).expect("the script ran");
    }
    scene.project.unset("RUSTC_WRAPPER");
    scene
        .project
        .file("build.rs", fs::read_to_string(scene.project.path("build.rs")).expect("script") + "\n// edited\n");
    scene.project.build();
}

#[test]
fn a_wrapper_found_on_the_path_is_followed() {
    let mut scene = Scripted::new("\"x\".into()");
    let bin = scene.project.sandbox_dir().join("bin");
    fs::create_dir_all(&bin).expect("bin");
    std::os::unix::fs::symlink(KACHE, bin.join("kache")).expect("link");
    scene.project.path_with(&["bin"]);
    scene.set("RUSTC_WRAPPER", "kache").runs().restored();
}

#[test]
fn every_way_to_link_takes_the_hook() {
    let profile = |text: &str| format!("[workspace]\n[profile.dev.build-override]\n{text}\n");
    let ways: &[(&str, &str)] = &[
        ("opt-level = 3", ""),
        ("strip = true", ""),
        ("", "-C lto=fat -C embed-bitcode=yes -C opt-level=2"),
        ("debug = 2", ""),
        ("", "-C relocation-model=static"),
        ("", "-C link-arg=-fuse-ld=bfd"),
        ("", "-C link-arg=-fuse-ld=gold"),
        ("", "-C link-arg=-fuse-ld=lld"),
        ("", "-C link-arg=-Wl,--gc-sections -C link-arg=-Wl,--icf=all -C link-arg=-fuse-ld=gold"),
        ("", "-C prefer-dynamic"),
    ];
    for (settings, flags) in ways {
        let linker = ["ld.gold", "ld.lld"].into_iter().find(|linker| flags.contains(linker.trim_start_matches("ld.")));
        if linker.is_some_and(|linker| !has_program(linker)) {
            skip(&format!("no {}", linker.unwrap_or_default()));
            continue;
        }
        let mut scene = Scripted::new("\"x\".into()");
        scene.file("Cargo.toml", &manifest("app", &profile(settings)));
        if !flags.is_empty() {
            scene.set("RUSTFLAGS", flags);
        }
        scene.project.build();
        let first = scene.printed();
        scene.project.wipe().build();
        assert_eq!(first, scene.printed(), "{settings} {flags}\n{}", scene.project.history());
    }
}

#[test]
fn a_static_script_just_runs() {
    let mut scene = Scripted::new("\"x\".into()");
    scene.set("RUSTFLAGS", "-C target-feature=+crt-static").runs().runs();
}

#[test]
fn a_program_that_is_only_called_like_a_script_has_no_hook() {
    let scene = Scripted::new("\"x\".into()");
    scene.file("src/bin/build_script_build.rs", "fn main() {}").project.build();
    let holds = |name: &str| crate::support::contains(&scene.project.path(name), "--kache-build-script");
    assert!(!holds("target/debug/build_script_build"));
    let script = crate::support::find(&scene.project.path("target"), "build-script-build", "").pop().expect("a script");
    assert!(crate::support::contains(&script, "--kache-build-script"), "control");
}

#[test]
fn make_shares_cargos_jobs() {
    if !has_program("make") {
        skip("no make");
        return;
    }
    let body = r#"
        fs::write(out().join("Makefile"), "all: a b c\na b c:\n\t@sleep 0.1; echo $@ > $@\n").unwrap();
        let mut make = Command::new("make");
        make.current_dir(out()).env("MAKEFLAGS", env::var_os("CARGO_MAKEFLAGS").unwrap());
        let output = make.output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()"#;
    let scene = Scripted::new(body);
    scene.runs();
    assert!(!scene.printed().0.contains("jobserver"), "{}", scene.printed().0);
    scene.restored();
}

#[test]
#[ignore = "slow"]
fn a_nested_cargo_builds_and_its_units_are_cached() {
    let body = r#"
        let cargo = env::var_os("CARGO").unwrap();
        let target = out().join("inner-target");
        let mut command = Command::new(cargo);
        command.args(["build", "--offline", "--manifest-path", "inner/Cargo.toml", "--target-dir"]).arg(&target);
        said(command.env_remove("CARGO_ENCODED_RUSTFLAGS"));
        said(&mut Command::new(target.join("debug/inner")))"#;
    let scene = Scripted::new(body);
    scene.file("inner/Cargo.toml", &manifest("inner", "[workspace]\n"));
    scene.file("inner/src/main.rs", "fn main() { println!(\"{}\", env!(\"INNER\")); }");
    scene.file("inner/build.rs", "fn main() { println!(\"cargo:rustc-env=INNER=inside\"); }");
    scene.runs();
    assert_ne!(scene.last_run()["stored"], "stored", "a build inside is no run that can be restored");
    let before = scene.project.events().len();
    scene.runs();
    let events = scene.project.events();
    let hits =
        events[before..].iter().filter(|event| event["outcome"] == "hit.local" && event["package"] == "inner 0.1.0");
    assert!(hits.count() >= 2, "{}", scene.project.history());
}

#[test]
fn an_interrupted_script_is_interrupted() {
    let scene = Scripted::new("fs::write(out().join(\"began\"), \"\").unwrap(); sh(\"sleep 30\"); \"x\".into()");
    let mut command = scene.project.command(real_cargo());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.arg("build").spawn().expect("cargo");
    crate::support::wait_until("the script to begin", || {
        !crate::support::find(&scene.project.path("target"), "began", "").is_empty()
    });
    let began = std::time::Instant::now();
    crate::support::signal("INT", &format!("-{}", child.id()));
    assert!(!child.wait().expect("end").success());
    assert!(began.elapsed().as_secs() < 10);
    scene.script("\"x\".into()").runs().restored();
}

/// The second process works in the directory of the first, which waits for it.
#[test]
fn a_script_that_starts_itself_again() {
    let body = r#"
        if env::var_os("STAGE").is_some() {
            std::process::exit(0);
        }
        let again = || Command::new(env::current_exe().unwrap()).env("STAGE", "2").status().unwrap().success();
        assert!(again());
        fs::write(out().join("kept.txt"), "").unwrap();
        assert!(again());
        out().join("kept.txt").exists().to_string()"#;
    let mut scene = Scripted::new(body);
    let began = std::time::Instant::now();
    scene.set("KACHE_CLAIM_WAIT", "60s").runs();
    assert!(began.elapsed().as_secs() < 60, "it waited for itself");
    assert_eq!(scene.printed().0, "true");
}
