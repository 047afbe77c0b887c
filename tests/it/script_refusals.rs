//! Runs of build scripts that kache never stores, each with the reason.

use std::fs;
use std::net::TcpListener;

use crate::support::Scripted;

#[test]
fn a_script_that_fails() {
    let scene = Scripted::new("if Path::new(\"fail\").exists() { panic!(\"no\") } \"fine\".into()");
    scene.file("fail", "");
    for _ in 0..2 {
        let run = scene.project.try_cargo(&["build"]).must_fail();
        assert!(run.stderr.contains("panicked"), "{}", run.stderr);
        assert_eq!(scene.last_run()["stored"], "script-failed");
        scene.project.wipe();
    }
    scene.project.remove("fail");
    scene.runs().restored();
}

#[test]
fn a_script_that_ends_with_another_code_or_by_a_signal() {
    let scene = Scripted::new("std::process::exit(3)");
    assert!(scene.project.try_cargo(&["build"]).must_fail().stderr.contains("exit status: 3"));
    scene.script("std::process::abort()");
    assert!(scene.project.try_cargo(&["build"]).must_fail().stderr.contains("signal: 6"));
    assert_eq!(scene.last_run()["stored"], "script-failed");
}

#[test]
fn a_file_that_is_written_elsewhere() {
    Scripted::new("fs::write(\"made.txt\", \"x\").unwrap(); \"x\".into()").never_stored("side-effects");
}

#[test]
fn a_directory_that_is_made_elsewhere() {
    let scene = Scripted::new("fs::create_dir_all(\"made\").unwrap(); \"x\".into()");
    scene.runs();
    assert_eq!(scene.last_run()["stored"], "side-effects");
}

#[test]
fn a_file_that_is_removed_elsewhere() {
    let scene = Scripted::new("fs::remove_file(\"there\").is_ok().to_string()");
    scene.file("there", "").project.build();
    assert_eq!(scene.printed().0, "true");
    assert_ne!(scene.last_run()["stored"], "stored");
    scene.runs().restored();
}

#[test]
fn a_temporary_file_elsewhere_does_no_harm() {
    let body = r#"
        let file = env::temp_dir().join(format!("scratch-{}", std::process::id()));
        fs::write(&file, "x").unwrap();
        let text = fs::read_to_string(&file).unwrap();
        fs::remove_file(&file).unwrap();
        text"#;
    Scripted::new(body).runs().restored();
}

#[test]
fn a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("address").port();
    let scene = Scripted::new(&format!("std::net::TcpStream::connect((\"127.0.0.1\", {port})).is_ok().to_string()"));
    scene.never_stored("unobserved");
}

#[test]
fn a_program_that_cannot_be_observed() {
    let scene = Scripted::new("said(&mut Command::new(\"./static\"))");
    let made = scene.project.compile_c(
        "static",
        "#include <stdio.h>\nint main(void) { puts(\"x\"); return 0; }\n",
        &["-static"],
    );
    fs::rename(made, scene.project.path("static")).expect("move");
    scene.never_stored("unobserved");
}

#[test]
fn a_child_that_is_left_behind() {
    let scene = Scripted::new(
        "Command::new(\"sh\").args([\"-c\", \"sleep 1 & echo started\"]).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status().unwrap(); \"x\".into()",
    );
    scene.runs();
    assert_eq!(scene.last_run()["stored"], "children-left", "{}", scene.project.history());
}

#[test]
fn an_output_directory_that_was_used_before() {
    let scene = Scripted::new("fs::read_dir(out()).unwrap().count().to_string()");
    scene.file("data", "1").runs().restored();
    // Cargo runs the script again, with the old directory: as without kache, the script sees its earlier files.
    scene.script("fs::read_dir(out()).unwrap().count().to_string() + \"!\"").build();
    assert_eq!(scene.printed().0, "1!");
    assert_eq!(scene.last_run()["stored"], "out-dir-used");
    // A known result replaces everything in the directory.
    scene.project.wipe().build();
    assert_eq!(scene.printed().0, "0!");
    scene.script("fs::read_dir(out()).unwrap().count().to_string()").build();
    assert_eq!((scene.printed().0.as_str(), scene.last_run()["outcome"].as_str()), ("0", Some("hit.local")));
}

#[test]
#[ignore = "slow"]
fn what_cargo_runs_in_every_build() {
    for line in ["cargo:rerun-if-changed=no-such-file", "cargo::rerun-if-changed=no-such-file"] {
        Scripted::new(&format!("println!(\"{line}\"); \"x\".into()")).never_stored("always-runs");
    }
    let body = "println!(\"cargo:rerun-if-changed={}\", out().join(\"gen.rs\").display()); \"x\".into()";
    Scripted::new(body).never_stored("always-runs");
    Scripted::new("println!(\"cargo:rerun-if-changed=build.rs\"); \"x\".into()").runs().restored();
}

#[test]
fn output_that_is_no_text() {
    Scripted::new("std::io::stdout().write_all(b\"\\xff\\n\").unwrap(); \"x\".into()").never_stored("not-text");
}

#[test]
#[ignore = "slow"]
fn links_that_lead_out_of_the_directory() {
    for target in ["/etc/hostname", "../../escape", "../../../build.rs"] {
        let scene = Scripted::new(&format!(
            "std::os::unix::fs::symlink(\"{target}\", out().join(\"link\")).unwrap(); \"x\".into()"
        ));
        scene.runs();
        assert_ne!(scene.last_run()["stored"], "stored", "{target}");
    }
}

#[test]
fn what_is_read_through_a_link_that_leads_out() {
    let body = r#"
        let link = out().join("link");
        std::os::unix::fs::symlink(env::current_dir().unwrap(), &link).unwrap();
        let text = fs::read_to_string(link.join("data.txt")).unwrap();
        fs::remove_file(link).unwrap();
        text"#;
    let scene = Scripted::new(body);
    scene.file("data.txt", "one").never_stored("unobserved");
}

#[test]
fn a_pipe_in_the_directory() {
    Scripted::new("sh(&format!(\"mkfifo {}/pipe\", out().display()))").never_stored("out-dir-unsupported");
}

#[test]
fn the_jobserver_in_an_output() {
    let scene = Scripted::new("env::var(\"CARGO_MAKEFLAGS\").unwrap()");
    scene.runs();
    assert_eq!(scene.last_run()["stored"], "out-dir-unsupported");
}

#[test]
#[ignore = "slow"]
fn scripts_are_left_alone_on_demand() {
    let mut scene = Scripted::new("\"x\".into()");
    scene.runs().restored();
    scene.set("KACHE_SCRIPTS", "off").runs().runs();
    scene.project.unset("KACHE_SCRIPTS");
    scene.set("KACHE_OBSERVE", "off").runs().runs();
    scene.project.unset("KACHE_OBSERVE");
    // The entry of the first run still exists.
    scene.project.wipe().build();
    assert_eq!(scene.last_run()["outcome"], "hit.local");
}

#[test]
fn a_file_that_is_left_above_the_directory_of_outputs() {
    let scene = Scripted::new("fs::write(out().join(\"../../../copied.txt\"), \"\").unwrap(); String::new()");
    scene.never_stored("side-effects");
}
