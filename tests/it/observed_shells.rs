//! Programs that read the whole environment and look variables up by name: shells, and cargo (hazards U01, U18).

use crate::support::{Project, settle, write_program};

/// The crates that cargo recompiles if an input of a macro changes: the consumer and everything above it.
const CHANGED: &[&str] = &["app", "dep"];

/// Variables that differ between terminals and between jobs.
const OF_A_JOB: [(&str, &str); 4] =
    [("GITHUB_RUN_ID", "1"), ("SSH_CONNECTION", "1 2 3 4"), ("WINDOWID", "7"), ("MACRO_OTHER", "beside")];

fn in_another_job(project: &mut Project) -> &Project {
    for (name, value) in OF_A_JOB {
        let value = format!("{value}{}", project.env_value(name).map_or(0, std::ffi::OsStr::len));
        project.set(name, value);
    }
    project
}

#[test]
fn u01_a_shell_counts_what_its_command_names() {
    let mut project = Project::with_program_macro("shell!(\"printf %s ${MACRO_DATA:-unset}\")");
    in_another_job(&mut project).settled("unset");
    in_another_job(&mut project).fresh_hits("unset");
    project.set("MACRO_DATA", "one").fresh_compiles(CHANGED, "one");
    in_another_job(&mut project).fresh_hits("one");
    project.set("MACRO_DATA", "two").fresh_compiles(CHANGED, "two");
    project.unset("MACRO_DATA").fresh_hits("unset");
}

#[test]
fn u01_a_script_counts_what_it_and_its_sources_name() {
    let mut project = Project::with_program_macro("tool!(\"kache-it-tool\")");
    project.path_with(&["bin"]).script("bin/names", "printf %s \"$MACRO_DATA\"");
    project.script("bin/kache-it-tool", &format!(". {}/bin/names", project.sandbox_dir().display()));
    project.set("MACRO_DATA", "one").settled("one");
    in_another_job(&mut project).fresh_hits("one");
    project.set("MACRO_DATA", "two").fresh_compiles(CHANGED, "two");
    project.script("bin/names", "printf %s \"$MACRO_MORE\"").fresh_compiles(CHANGED, "");
    project.set("MACRO_DATA", "three").fresh_hits("");
    project.set("MACRO_MORE", "more").fresh_compiles(CHANGED, "more");
}

/// However a script gets the variable, kache never restores the value of another build.
#[test]
#[ignore = "slow"]
fn u01_a_script_that_lists_variables_or_makes_their_names() {
    let mut project = Project::with_program_macro("tool!(\"kache-it-tool\")");
    let sandbox = project.sandbox_dir().display().to_string();
    project.path_with(&["bin"]).script("bin/piped", "printf %s \"$MACRO_DATA\"");
    for (shell, body) in [
        ("/bin/sh", "x=MACRO; eval \"printf %s \\\"\\$${x}_DATA\\\"\""),
        ("/bin/sh", "set | sed -n 's/^MACRO_DATA=//p' | tr -d \"'\""),
        ("/bin/sh", "export -p | sed -n 's/^export MACRO_DATA=//p' | tr -d \"'\""),
        ("/bin/sh", "env | sed -n 's/^MACRO_DATA=//p'"),
        ("/bin/sh", "printenv MACRO_DATA"),
        ("/bin/sh", "cat /proc/self/environ | tr '\\0' '\\n' | sed -n 's/^MACRO_DATA=//p'"),
        ("/bin/sh", &format!("cat {sandbox}/bin/piped | sh")),
        ("/bin/sh", &format!("sh -s < {sandbox}/bin/piped")),
        ("/bin/sh", "awk 'BEGIN { print ENVIRON[\"MACRO_DATA\"] }'"),
        ("/bin/bash", "x=MACRO_DATA; printf %s \"${!x}\""),
        ("/bin/bash", "declare -x | sed -n 's/^declare -x MACRO_DATA=//p' | tr -d '\"'"),
        ("/usr/bin/env bash", "printf %s \"$MACRO_DATA\""),
    ] {
        write_program(&project.sandbox_dir().join("bin/kache-it-tool"), &format!("#!{shell}\n{body}\n"));
        settle();
        for said in ["one", "two"] {
            project.set("MACRO_DATA", said);
            assert_eq!(project.wipe().build_and_run().1, said, "{body}: {}", project.history());
        }
    }
    // Control: the last one is stored.
    in_another_job(&mut project).fresh_hits("two");
}

/// A function from the environment takes precedence over a program with the same name.
#[test]
fn u01_a_function_that_bash_was_given() {
    let mut project = Project::with_program_macro("tool!(\"kache-it-tool\")");
    project.path_with(&["bin"]).script("bin/say", "printf tool");
    write_program(&project.sandbox_dir().join("bin/kache-it-tool"), "#!/bin/bash\nsay\n");
    project.settled("tool");
    in_another_job(&mut project).fresh_hits("tool");
    project.set("BASH_FUNC_say%%", "() { printf function; }").fresh_compiles(CHANGED, "function");
    // The commands of a function name variables, too.
    project.set("BASH_FUNC_say%%", "() { printf %s \"$MACRO_DATA\"; }").set("MACRO_DATA", "one");
    project.fresh_compiles(CHANGED, "one");
    project.set("MACRO_DATA", "two").fresh_compiles(CHANGED, "two");
}

/// Shells search for programs themselves.
#[test]
#[ignore = "slow"]
fn u18_a_program_that_a_shell_finds() {
    let commands =
        ["kache-it-tool; true", "exec kache-it-tool", "cat $(command -v kache-it-tool) | tail -1 | cut -c8-"];
    for command in commands {
        let mut project = Project::with_program_macro(&format!("shell!(\"{command}\")"));
        project.script("bin/kache-it-tool", "printf one");
        project.path_with(&["bin"]).settled("one");
        project.script("bin/another", "true").fresh_hits("one");
        // One in front of it, in a directory that was not on `PATH`.
        project.script("first/kache-it-tool", "printf two");
        project.path_with(&["first", "bin"]).fresh_compiles(CHANGED, "two");
        project.path_with(&["bin"]).fresh_hits("one");
    }
}

#[test]
fn u01_a_value_that_is_no_text() {
    use std::os::unix::ffi::OsStrExt as _;
    let mut project = Project::with_program_macro("shell!(\"printf %s $MACRO_DATA | wc -c\")");
    project.set("MACRO_DATA", std::ffi::OsStr::from_bytes(b"\xfcab")).settled("3");
    project.set("MACRO_DATA", "abcdef").fresh_compiles(CHANGED, "6");
}

#[test]
#[ignore = "slow"]
fn u01_cargo_counts_its_own_variables() {
    let mut project = Project::with_program_macro("shell!(\"$CARGO say\")");
    let manifest = project.path("dep/Cargo.toml").display().to_string();
    let locate = |kind: &str| format!("locate-project --message-format {kind}");
    project.set("CARGO_ALIAS_SAY", locate("plain")).settled(&manifest);
    in_another_job(&mut project).fresh_hits(&manifest);
    project.set("CARGO_ALIAS_SAY", locate("json"));
    project.fresh_compiles(CHANGED, &format!("{{\"root\":\"{manifest}\"}}"));
}

/// The environment overrides `[env]` in a configuration file.
#[test]
fn u01_cargo_counts_what_its_configuration_names() {
    let mut project = Project::with_program_macro("shell!(\"$CARGO run -q --manifest-path ../inner/Cargo.toml\")");
    project.file(".cargo/config.toml", "[env]\nMACRO_DATA = \"configured\"\n");
    project.file("inner/Cargo.toml", crate::support::manifest("inner", "[workspace]\n"));
    project.file("inner/src/main.rs", "fn main() { print!(\"{}\", std::env::var(\"MACRO_DATA\").unwrap()); }\n");
    for said in ["configured", "one", "two"] {
        if said != "configured" {
            project.set("MACRO_DATA", said);
        }
        assert_eq!(project.wipe().build_and_run().1, said, "{}", project.history());
    }
}
