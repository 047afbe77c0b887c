//! The result of a restored run: the tree, the messages, times with which cargo considers everything fresh, and the
//! paths of this checkout.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::s3_server::{S3Server, WRITER};
use crate::support::{Scripted, contains, real_cargo};

/// A script that writes a tree with every kind of file.
const TREE: &str = r#"
    use std::os::unix::fs::{symlink, PermissionsExt};
    let dir = out();
    fs::create_dir_all(dir.join("lib/empty")).unwrap();
    fs::create_dir_all(dir.join("bin")).unwrap();
    fs::write(dir.join("lib/libx.so.1"), b"\0binary").unwrap();
    symlink("libx.so.1", dir.join("lib/libx.so")).unwrap();
    symlink("../lib", dir.join("bin/lib")).unwrap();
    fs::write(dir.join("bin/tool"), "tool").unwrap();
    fs::set_permissions(dir.join("bin/tool"), PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(dir.join("fixed"), "fixed").unwrap();
    fs::set_permissions(dir.join("fixed"), PermissionsExt::from_mode(0o444)).unwrap();
    fs::create_dir_all(dir.join("private/closed/empty")).unwrap();
    for (name, mode) in [("key", 0o600), ("odd", 0o654), ("private/closed/all", 0o666)] {
        fs::write(dir.join(name), "x").unwrap();
        fs::set_permissions(dir.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    for (name, mode) in [("private/closed/empty", 0o711), ("private/closed", 0o555), ("private", 0o700)] {
        fs::set_permissions(dir.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    fs::write(dir.join("nothing"), "").unwrap();
    fs::write(dir.join("with {braces} and {workspace}"), "{workspace} {{x}").unwrap();
    fs::write(dir.join("flags.make"), format!("FLAGS = -O2 -I{0}/include -L{0}/lib\n", dir.display())).unwrap();
    fs::write(dir.join("paths.txt"), format!("prefix={}\nsource={}\n{{target}}\n", dir.display(), env::current_dir().unwrap().display())).unwrap();
    println!("cargo:rustc-link-search=native={}", dir.join("lib").display());
    println!("cargo:rustc-env=FROM_SCRIPT={}", dir.join("lib").display());
    println!("cargo:warning=a warning");
    eprintln!("said to stderr in {}", dir.display());
    "x".into()"#;

/// Everything below a directory: kind, permissions, content.
fn tree(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at).expect("directory") {
            let path = entry.expect("entry").path();
            let metadata = fs::symlink_metadata(&path).expect("stat");
            let name = path.strip_prefix(dir).expect("below").to_owned();
            let what = if metadata.is_dir() {
                open.push(path);
                format!("directory {:o}", metadata.permissions().mode() & 0o777)
            } else if metadata.is_symlink() {
                format!("link to {}", fs::read_link(&path).expect("link").display())
            } else {
                let text = String::from_utf8_lossy(&fs::read(&path).expect("read")).into_owned();
                format!("{:o} {text}", metadata.permissions().mode() & 0o777)
            };
            found.insert(name, what);
        }
    }
    found
}

/// The directory of the only run.
fn run_dir(scene: &Scripted) -> PathBuf {
    let build = scene.project.target_dir().join("debug/build");
    let mut dirs = fs::read_dir(build).expect("build").map(|entry| entry.expect("entry").path());
    dirs.find(|dir| dir.join("out").exists()).expect("a run")
}

#[test]
fn the_whole_tree_and_the_messages_come_back() {
    let scene = Scripted::new(TREE);
    let first = scene.project.cargo(&["build", "-vv"]);
    let (before, output) =
        (tree(&run_dir(&scene).join("out")), fs::read(run_dir(&scene).join("output")).expect("output"));
    scene.project.wipe();
    let again = scene.project.cargo(&["build", "-vv"]);
    assert_eq!(scene.last_run()["outcome"], "hit.local", "{}", scene.project.history());
    assert_eq!(tree(&run_dir(&scene).join("out")), before);
    assert_eq!(fs::read(run_dir(&scene).join("output")).expect("output"), output);
    for run in [&first, &again] {
        for text in ["said to stderr in", "[app 0.1.0] cargo:rustc-link-search", "warning: app@0.1.0: a warning"] {
            assert!(run.stderr.contains(text) || run.stdout.contains(text), "{text}: {}{}", run.stdout, run.stderr);
        }
    }
}

#[test]
fn another_checkout_gets_its_own_paths() {
    let one = Scripted::new(TREE);
    one.runs();
    let two = one.clone_to("elsewhere/deeper/two");
    two.restored();
    let out = run_dir(&two).join("out");
    let text = fs::read_to_string(out.join("paths.txt")).expect("paths");
    assert_eq!(text, format!("prefix={}\nsource={}\n{{target}}\n", out.display(), two.project.dir().display()));
    assert_eq!(fs::read_to_string(out.join("with {braces} and {workspace}")).expect("braces"), "{workspace} {{x}");
    let output = fs::read_to_string(run_dir(&two).join("output")).expect("output");
    assert!(output.contains(&format!("native={}", out.join("lib").display())), "{output}");
    let stderr = fs::read_to_string(run_dir(&two).join("stderr")).expect("stderr");
    assert!(stderr.contains(out.to_str().expect("text")), "{stderr}");
    let flags = fs::read_to_string(out.join("flags.make")).expect("flags");
    assert_eq!(flags, format!("FLAGS = -O2 -I{0}/include -L{0}/lib\n", out.display()));
    assert!(!contains(&out.join("paths.txt"), one.project.dir().to_str().expect("text")));
}

#[test]
fn a_path_in_bytes_serves_only_there() {
    // Not a text: the path is between zero bytes.
    let body = "fs::write(out().join(\"data\"), format!(\"\\0{}\\0\", out().display())).unwrap(); \"x\".into()";
    let one = Scripted::new(body);
    one.runs().restored();
    let two = one.clone_to("elsewhere/two");
    two.runs().restored();
    one.project.wipe().build();
    assert_eq!(one.last_run()["outcome"], "hit.local");
    let data = fs::read(run_dir(&one).join("out/data")).expect("data");
    assert_eq!(String::from_utf8(data).expect("text"), format!("\0{}\0", run_dir(&one).join("out").display()));
}

#[test]
fn a_path_that_comes_from_a_file_serves_only_there() {
    // Both checkouts contain the same text, which names the first one.
    let one = Scripted::new("fs::read_to_string(\"config.txt\").unwrap()");
    one.file("config.txt", one.project.dir().to_str().expect("text"));
    one.runs().restored();
    one.clone_to("elsewhere/two").runs();
}

#[test]
fn the_length_of_a_path_serves_only_there() {
    let one = Scripted::new("env::var(\"CARGO_MANIFEST_DIR\").unwrap().len().to_string()");
    one.runs().restored();
    one.clone_to("elsewhere/two").runs().restored();
}

#[test]
#[ignore = "slow"]
fn objects_with_debug_info_are_shared() {
    let body = r#"
        let dir = out();
        fs::write(dir.join("made.h"), "static inline int made(void) { return 7; }\n").unwrap();
        said(Command::new("cc").args(["-g", "-c", "src/part.c", "-I"]).arg(&dir).arg("-o").arg(dir.join("part.o")));
        said(Command::new("cc").args(["-g", "-c", "src/more.S", "-o"]).arg(dir.join("more.o")));
        "x".into()"#;
    let one = Scripted::new(body);
    one.file("src/part.c", "#include <made.h>\nconst char *where = __FILE__;\nint part(void) { return made(); }\n");
    one.file("src/more.S", ".globl more\nmore: ret\n");
    one.runs().restored();
    assert!(!contains(&run_dir(&one).join("out/part.o"), one.project.dir().to_str().expect("text")));
    let mut two = one.clone_to("elsewhere/two");
    two.restored();
    two.set("KACHE_VERIFY", "hits");
    two.project.wipe().build();
    // The number of the run always differs; the objects are the same.
    let detail = two.last_run()["detail"].as_str().expect("detail").to_owned();
    assert!(detail.starts_with("gen.rs: ") && !detail.contains(';'), "{detail}");
    // Without remaps the objects contain the path.
    let mut exact = one.clone_to("elsewhere/three");
    exact.set("KACHE_PATHS", "exact").runs();
    assert!(contains(&run_dir(&exact).join("out/part.o"), exact.project.dir().to_str().expect("text")));
}

#[test]
fn a_flag_of_the_user_for_paths_is_left_alone() {
    let body = r#"
        said(Command::new("cc").args(["-g", "-ffile-prefix-map=/nowhere=/x", "-c", "src/part.c", "-o"]).arg(out().join("part.o")));
        "x".into()"#;
    let one = Scripted::new(body);
    one.file("src/part.c", "int part(void) { return 7; }\n").runs();
    assert!(contains(&run_dir(&one).join("out/part.o"), one.project.dir().to_str().expect("text")));
}

#[test]
fn cargo_finds_everything_fresh_afterwards() {
    let mut scene =
        Scripted::new("println!(\"cargo:rerun-if-changed=data.txt\"); fs::read_to_string(\"data.txt\").unwrap()");
    scene.file("data.txt", "one").runs().restored();
    let events = scene.project.events().len();
    scene.build().is_noop();
    let two = scene.clone_to("elsewhere/two");
    two.restored();
    two.build().is_noop();
    scene.build().is_noop();
    // Without kache, too.
    scene.project.unset("RUSTC_WRAPPER");
    scene.build().is_noop();
    assert_eq!(scene.project.events().len(), events + 3, "a restored build of three units, nothing else");
    // Cargo detects an edit of a watched file and simply runs the script.
    crate::support::settle();
    scene.file("data.txt", "two").build();
    assert_eq!(scene.printed().0, "two");
}

#[test]
fn a_repository_above_the_workspace_is_that_of_this_checkout() {
    let body = r#"
        let head = env::current_dir().unwrap().ancestors().find_map(|dir| fs::canonicalize(dir.join(".git/HEAD")).ok()).unwrap();
        println!("cargo:rerun-if-changed={}", head.display());
        fs::read_to_string(head).unwrap()"#;
    let one = Scripted::new(body);
    let head = |scene: &Scripted, text: &str| {
        let dir = scene.project.dir().parent().expect("parent").join(".git");
        fs::create_dir_all(&dir).expect("repository");
        fs::write(dir.join("HEAD"), text).expect("HEAD");
    };
    head(&one, "same");
    one.runs().restored();
    let two = one.clone_to("elsewhere/deeper/ws");
    head(&two, "same");
    two.restored();
    let output = fs::read_to_string(run_dir(&two).join("output")).expect("output");
    let own = two.project.dir().parent().expect("parent").join(".git/HEAD");
    assert!(output.contains(&format!("rerun-if-changed={}", own.display())), "{output}");
    crate::support::settle();
    head(&two, "other");
    two.build();
    assert_eq!(two.printed().0, "other", "it watches its own");
    one.build().is_noop();
    two.runs();
}

#[test]
fn a_thousand_files_come_back_at_once() {
    let body = r#"
        for number in 0..1000 {
            let dir = out().join(format!("d{}", number % 20));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(number.to_string()), format!("{number}\n").repeat(50)).unwrap();
        }
        "x".into()"#;
    let scene = Scripted::new(body);
    scene.runs().restored();
    assert_eq!(tree(&run_dir(&scene).join("out")).len(), 1000 + 20 + 1);
    assert!(scene.last_run()["ms"].as_f64().expect("ms") > 0.0);
}

#[test]
fn a_damaged_file_of_the_store_is_not_restored() {
    let scene = Scripted::new("fs::write(out().join(\"data\"), \"some data\").unwrap(); \"x\".into()");
    scene.runs().restored();
    for blob in scene.project.blobs() {
        if fs::read(&blob).expect("blob") == b"some data" {
            fs::write(&blob, "same size").expect("damage");
        }
    }
    scene.runs().restored();
    assert_eq!(fs::read(run_dir(&scene).join("out/data")).expect("data"), b"some data");
}

#[test]
#[ignore = "slow"]
fn a_run_comes_from_another_machine() {
    let body = r#"
        let deep = out().join("a-directory-with-a-rather-long-name/".repeat(4));
        fs::create_dir_all(&deep).unwrap();
        for name in ["one", "two", "three"] { fs::write(deep.join(name), "the same bytes").unwrap(); }
        fs::write(out().join("prefix"), out().display().to_string()).unwrap();
        std::os::unix::fs::symlink("prefix", out().join("link")).unwrap();
        for number in 0..1500 { fs::write(out().join(number.to_string()), number.to_string()).unwrap(); }
        println!("cargo:rustc-link-search={}", out().display());
        "x".into()"#;
    let server = S3Server::start();
    let mut one = Scripted::new(body);
    one.runs();
    let mut two = one.other_machine("two");
    let remote = S3Server::variables(&server.endpoint(), WRITER);
    one.project.use_remote(&remote).kache(&["push"]).must_succeed();
    two.project.use_remote(&remote).kache(&["pull"]).must_succeed();
    two.project.use_no_remote();
    two.restored();
    assert_eq!(two.last_run()["outcome"], "hit.remote", "{}", two.project.history());
    let (mut there, here) = (tree(&run_dir(&one).join("out")), tree(&run_dir(&two).join("out")));
    let (mode, _) = there[Path::new("prefix")].split_once(' ').expect("mode");
    let prefix = format!("{mode} {}", run_dir(&two).join("out").display());
    there.insert("prefix".into(), prefix);
    assert_eq!(there, here);
}

#[test]
fn what_is_installed_here_decides_what_a_run_of_elsewhere_is_worth() {
    let server = S3Server::start();
    let remote = S3Server::variables(&server.endpoint(), WRITER);
    let mut one = Scripted::new("said(&mut Command::new(\"answers\"))");
    one.project.script("one-bin/answers", "echo one");
    one.project.path_with(&["one-bin"]);
    one.runs();
    one.project.use_remote(&remote).kache(&["push"]).must_succeed();
    let mut two = one.other_machine("two");
    two.project.use_remote(&remote).kache(&["pull"]).must_succeed();
    two.project.use_no_remote();
    fs::write(two.project.sandbox_dir().join("one-bin/answers"), "#!/bin/sh\necho another\n").expect("replace");
    two.runs();
    assert_eq!(two.printed().0, "another");
}

#[test]
fn two_builds_at_once_run_the_script_once() {
    let one = Scripted::new("std::thread::sleep(std::time::Duration::from_secs(1)); \"x\".into()");
    let two = one.clone_to("elsewhere/two");
    std::thread::scope(|scope| {
        for scene in [&one.project, &two.project] {
            scope.spawn(move || scene.build());
        }
    });
    assert_eq!(one.printed(), two.printed(), "{}", one.project.history());
}

#[test]
#[ignore = "slow"]
fn a_killed_restore_leaves_nothing_that_is_taken_for_whole() {
    let body = "for number in 0..300 { fs::write(out().join(number.to_string()), \"x\").unwrap(); } \"x\".into()";
    let scene = Scripted::new(body);
    scene.runs().restored();
    for milliseconds in [1, 3, 6, 10, 20, 40] {
        scene.project.wipe();
        let mut child = scene.project.command(real_cargo()).arg("build").spawn().expect("cargo");
        std::thread::sleep(Duration::from_millis(60 + milliseconds));
        child.kill().expect("kill");
        child.wait().expect("end");
        // The children of a killed cargo keep running for a moment.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(300) {
            std::thread::sleep(Duration::from_millis(20));
        }
        scene.build();
        let names = fs::read_dir(run_dir(&scene).join("out")).expect("out").count();
        assert_eq!(names, 301, "after {milliseconds} ms");
    }
}

#[test]
#[ignore = "slow"]
fn hits_are_verified_on_demand() {
    let mut scene = Scripted::new(TREE);
    scene.runs().restored();
    scene.set("KACHE_VERIFY", "hits");
    scene.project.wipe().build();
    let run = scene.last_run();
    // The number of the run always differs.
    assert_eq!(run["outcome"], "hit.differs", "{run}");
    assert_eq!(run["detail"].as_str().expect("detail").split(": ").next(), Some("gen.rs"), "{run}");
    let constant = Scripted::new(
        "println!(\"cargo:rustc-cfg=x\"); std::process::exit({ fs::write(out().join(\"gen.rs\"), \"pub const VALUE: u8 = 1; pub const RUN: u8 = 1;\").unwrap(); 0 })",
    );
    let mut constant = constant;
    constant.project.build();
    constant.set("KACHE_VERIFY", "hits");
    constant.project.wipe().build();
    assert_eq!(constant.last_run()["outcome"], "hit.verified", "{}", constant.project.history());
}

/// The first miss of a build starts the agent. If that is the miss of a run, the agent is no process that the script
/// left behind.
#[test]
fn a_run_that_starts_the_agent_is_stored() {
    let server = S3Server::start();
    let mut scripted =
        Scripted::new("println!(\"cargo::rerun-if-env-changed=VALUE\"); env::var(\"VALUE\").unwrap_or_default()");
    scripted.build();
    for (name, value) in S3Server::variables(&server.endpoint(), WRITER) {
        scripted.set(name, &value);
    }
    // Only the run is a miss: the script itself is there.
    scripted.set("VALUE", "another");
    scripted.runs();
    let run = scripted.last_run();
    assert_eq!(run["stored"], "stored", "{run}");
    assert!(run["outcome"].as_str().is_some_and(|outcome| outcome.starts_with("miss.")), "{run}");
}
