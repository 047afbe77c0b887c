//! Real proc macros from the registry that read files: askama, include_dir, rust-embed, pest_derive, sqlx (hazards U02,
//! U03).
//!
//! The programs are in `tests/registry`, with pinned versions. All of them share one sandbox, because the first build
//! of some two hundred units takes most of the time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

use crate::support::{Project, copy_tree, real_cargo, settle, skip};

/// The workspace in a sandbox, with its crates downloaded. Skips and returns `None` if the registry cannot be reached.
fn workspace() -> Option<Project> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/registry");
    let fetch = |more: &[&str]| -> bool {
        let mut command = Command::new(real_cargo());
        command.args(["fetch", "--quiet", "--locked", "--manifest-path"]).arg(source.join("Cargo.toml")).args(more);
        command.output().expect("cargo").status.success()
    };
    if !fetch(&["--offline"]) && !fetch(&[]) {
        skip("the crates of tests/registry cannot be downloaded");
        return None;
    }
    let mut project = Project::new();
    copy_tree(&source, project.dir(), &|path| !path.ends_with("target"));
    project.with_registry().set("SQLX_OFFLINE", "true");
    Some(project)
}

const HITS: bool = false;
const COMPILES: bool = true;
const PROGRAMS: [&str; 5] = ["embeds", "includes", "parses", "queries", "renders"];

/// Builds everything into a fresh target directory. Asserts that rustc is called for `program` only if `compiles`, and
/// for none of the libraries, and that `program` prints `said`.
#[track_caller]
fn fresh(project: &Project, compiles: bool, (program, said): (&str, &str)) {
    settle();
    let run = project.wipe().cargo(&["build", "--locked"]);
    let output = project.command(project.target_dir().join("debug").join(program)).output().expect("it was built");
    let says = String::from_utf8(output.stdout).expect("text");
    // Ignores the other programs: an earlier scene may have failed half-way and left them changed.
    let compiled: Vec<&str> =
        run.compiles().into_iter().filter(|name| *name == program || !PROGRAMS.contains(name)).collect();
    let expected: &[&str] = if compiles { &[program] } else { &[] };
    assert_eq!((compiled.as_slice(), says.trim_end()), (expected, said), "{program}: {}", project.history());
}

fn askama(project: &Project) {
    let program = "renders";
    fresh(project, HITS, (program, "hello you!"));
    project.file("renders/templates/other.txt", "beside").file("renders/beside/tail.txt", "?");
    fresh(project, HITS, (program, "hello you!"));
    project.file("renders/templates/tail.txt", "?");
    fresh(project, COMPILES, (program, "hello you?"));
    // A template that is found first, in a directory that did not exist before.
    project.file("renders/theme/hello.txt", "hi {{ name }}");
    fresh(project, COMPILES, (program, "hi you"));
    project.file("renders/askama.toml", "[general]\ndirs = [\"templates\", \"theme\"]\n");
    fresh(project, COMPILES, (program, "hello you?"));
    project.remove("renders/askama.toml");
    fresh(project, COMPILES, (program, "hello you?"));
}

fn include_dir(project: &Project) {
    let program = "includes";
    fresh(project, HITS, (program, "sub/b=two,a=one"));
    project.file("includes/beside/c", "three");
    fresh(project, HITS, (program, "sub/b=two,a=one"));
    project.file("includes/assets/sub/c", "three");
    fresh(project, COMPILES, (program, "sub/b=two,sub/c=three,a=one"));
    project.file("includes/assets/a", "1");
    fresh(project, COMPILES, (program, "sub/b=two,sub/c=three,a=1"));
    project.remove("includes/assets/sub/b");
    fresh(project, COMPILES, (program, "sub/c=three,a=1"));
}

fn rust_embed(project: &Project) {
    let program = "embeds";
    fresh(project, HITS, (program, "a=one,sub/b=two"));
    project.file("embeds/beside/c", "three");
    fresh(project, HITS, (program, "a=one,sub/b=two"));
    project.file("embeds/assets/c", "three");
    fresh(project, COMPILES, (program, "a=one,c=three,sub/b=two"));
    project.file("embeds/assets/sub/b", "2");
    fresh(project, COMPILES, (program, "a=one,c=three,sub/b=2"));
    project.remove("embeds/assets/c");
    fresh(project, COMPILES, (program, "a=one,sub/b=2"));
}

fn pest(project: &Project) {
    let program = "parses";
    fresh(project, HITS, (program, "a,b"));
    project.file("parses/src/other.pest", "beside");
    fresh(project, HITS, (program, "a,b"));
    project.file("parses/src/list.pest", "list = { ASCII_ALPHA ~ ((\",\" | \";\") ~ ASCII_ALPHA)* }\n");
    fresh(project, COMPILES, (program, "a,b;c"));
    project.file("parses/src/list.pest", "list = { ASCII_ALPHA ~ (\",\" ~ ASCII_ALPHA)* }\n");
    fresh(project, HITS, (program, "a,b"));
}

fn sqlx(project: &Project) {
    let program = "queries";
    fresh(project, HITS, (program, "core::option::Option<i32> after first"));
    project.file("queries/beside/0002_second.sql", "select 1;");
    fresh(project, HITS, (program, "core::option::Option<i32> after first"));
    project.file("queries/migrations/0002_second.sql", "alter table a add column m int;\n");
    fresh(project, COMPILES, (program, "core::option::Option<i32> after first,second"));
    let data = crate::support::find_one(&project.path("queries/.sqlx"), "query-", ".json");
    let text = std::fs::read_to_string(&data).expect("query data").replace("Int4", "Int8");
    std::fs::write(&data, text.clone()).expect("write");
    fresh(project, COMPILES, (program, "core::option::Option<i64> after first,second"));
    std::fs::write(data.with_file_name("query-beside.json"), text).expect("write");
    fresh(project, HITS, (program, "core::option::Option<i64> after first,second"));
    std::fs::write(&data, std::fs::read_to_string(&data).expect("query data").replace("null\n", "false\n"))
        .expect("write");
    fresh(project, COMPILES, (program, "i64 after first,second"));
}

/// The name of a crate, and the steps to try with it.
type Scene = (&'static str, fn(&Project));

#[test]
#[ignore = "slow"]
fn u02_real_macros_that_read_files() {
    let Some(project) = workspace() else { return };
    let first = project.cargo(&["build", "--locked"]);
    first.misses(&["renders", "includes", "embeds", "parses", "queries", "syn", "askama_derive"]);
    let scenes: [Scene; 5] = [
        ("askama", askama),
        ("include_dir", include_dir),
        ("rust-embed", rust_embed),
        ("pest_derive", pest),
        ("sqlx", sqlx),
    ];
    // A scene that fails does not stop the others.
    let fails = |(_, scene): &Scene| catch_unwind(AssertUnwindSafe(|| scene(&project))).is_err();
    let failed: Vec<&str> = scenes.iter().filter(|scene| fails(scene)).map(|(name, _)| *name).collect();
    assert_eq!(failed, Vec::<&str>::new(), "the output above has the reasons");
}
