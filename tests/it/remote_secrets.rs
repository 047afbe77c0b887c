//! Secrets stay on the machine, with the entries that read one, that were made from such an entry, or that contain the
//! value.
//!
//! The control of each test: the same build with a value that is no secret is uploaded.

use std::fs;
use std::path::PathBuf;

use kache::model::EntryKey;
use kache::store::{Entry, Store, Withheld};

use crate::support::s3_server::{S3Server, WRITER};
use crate::support::{Project, manifest, name_of, settle};

/// No part of these values occurs elsewhere in the build.
const SECRET: &str = "q7w8-hunter2-e9r0";
const WORD: &str = "t1y2-other-word-u3i4";

/// `app` over `middle` over `dep`, and `apart`, which depends on nothing.
fn workspace(dep: &str) -> Project {
    let mut project = Project::new();
    // Snapshots and calls go to the remote, too.
    project.set("KACHE_BULK", "on");
    project.file("Cargo.toml", "[workspace]\nmembers = [\"app\", \"apart\", \"dep\", \"middle\"]\nresolver = \"3\"\n");
    let over = |name: &str| format!("[dependencies]\n{name} = {{ path = \"../{name}\" }}\n");
    project.file("app/Cargo.toml", manifest("app", &over("middle")));
    project.file("app/src/main.rs", "fn main() { println!(\"{}\", middle::value()); }");
    project.file("middle/Cargo.toml", manifest("middle", &over("dep")));
    project.file("middle/src/lib.rs", "pub fn value() -> usize { dep::value() }");
    project.file("dep/Cargo.toml", manifest("dep", ""));
    project.file("dep/src/lib.rs", dep);
    project.file("apart/Cargo.toml", manifest("apart", ""));
    project.file("apart/src/lib.rs", "pub fn apart() {}");
    project
}

/// Builds and pushes with this value of a variable. Returns the crates on the remote, and what push said.
fn pushed(project: &mut Project, variable: &str, value: &str) -> (Vec<&'static str>, String) {
    project.set(variable, value).use_no_remote().wipe().build();
    pushed_as_it_is(project, value)
}

/// Like [`pushed`], without a build.
fn pushed_as_it_is(project: &mut Project, value: &str) -> (Vec<&'static str>, String) {
    let server = S3Server::start();
    project.use_remote(&S3Server::variables(&server.endpoint(), WRITER));
    let run = project.kache(&["push"]);
    run.must_succeed_ref();
    for object in server.objects() {
        let bytes = zstd::decode_all(&*server.read(&object).expect("an object")).unwrap_or_default();
        let plain = server.read(&object).expect("an object");
        let reversed: String = SECRET.chars().rev().collect();
        for secret in [SECRET, &reversed] {
            let has = |bytes: &[u8]| memchr::memmem::find(bytes, secret.as_bytes()).is_some();
            assert!(value != SECRET || !(has(&bytes) || has(&plain)), "{object} contains the secret");
        }
    }
    let is_there = |name: &&str| !server.objects_with(&format!("/manifests/{name}/")).is_empty();
    let all = ["apart", "app", "build_script_build", "dep", "middle"];
    (all.into_iter().filter(is_there).collect(), format!("{}{}", run.stdout, run.stderr))
}

#[test]
fn r08_what_is_made_from_a_secret_stays_too() {
    // The value is too short to be searched for.
    let mut project = workspace("pub fn value() -> usize { env!(\"SOME_TOKEN\").len() }");
    let (there, said) = pushed(&mut project, "SOME_TOKEN", "hunter2");
    assert_eq!(there, ["apart"], "{said}");
    for line in ["it read SOME_TOKEN, which looks secret", "it was made from dep, which read SOME_TOKEN"] {
        assert!(said.contains(line), "{said}");
    }
    assert!(said.contains("3 not uploaded"), "{said}");
    project.file("dep/src/lib.rs", "pub fn value() -> usize { env!(\"SOME_WORD\").len() }");
    let (there, said) = pushed(&mut project, "SOME_WORD", WORD);
    assert_eq!(there, ["apart", "app", "dep", "middle"], "{said}");
}

#[test]
fn r08_what_a_build_script_made_from_a_secret_stays_too() {
    let script = |variable: &str| {
        format!(
            "fn main() {{\n    println!(\"cargo::rerun-if-env-changed={variable}\");\n    \
             let value = std::env::var(\"{variable}\").unwrap();\n    \
             println!(\"cargo::rustc-env=WORD={{}}\", value.chars().rev().collect::<String>());\n}}"
        )
    };
    let mut project = workspace("pub fn value() -> usize { env!(\"WORD\").len() }");
    project.file("dep/build.rs", script("SOME_TOKEN"));
    let (there, said) = pushed(&mut project, "SOME_TOKEN", SECRET);
    assert!(!there.contains(&"dep") && !there.contains(&"app"), "{there:?} {said}");
    assert!(there.contains(&"apart") && said.contains("made from build_script_build, which read SOME_TOKEN"), "{said}");
    project.file("dep/build.rs", script("SOME_WORD"));
    let (there, said) = pushed(&mut project, "SOME_WORD", WORD);
    assert_eq!(there, ["apart", "app", "build_script_build", "dep", "middle"], "{said}");
}

#[test]
fn r08_a_value_that_looks_secret_is_found_in_outputs() {
    let dep = format!("pub fn value() -> usize {{ std::hint::black_box(\"{SECRET}\").len() }}");
    let mut project = workspace(&dep);
    let (there, said) = pushed(&mut project, "DEPLOY_TOKEN", SECRET);
    assert!(!there.contains(&"dep") && !there.contains(&"app"), "{there:?} {said}");
    assert!(there.contains(&"apart") && said.contains("it contains the value of DEPLOY_TOKEN"), "{said}");
    project.unset("DEPLOY_TOKEN");
    let (there, said) = pushed(&mut project, "SOME_WORD", "a word");
    assert_eq!(there, ["apart", "app", "dep", "middle"], "{said}");
}

#[test]
fn r08_a_token_without_digits_is_found_in_outputs() {
    // One that consists of letters, and one that begins like a path.
    for token in ["hQvKzXmNpRtLwBcJ", "/qwRTzuIOpaSDfghJKlyXCvb"] {
        let mut project = workspace(&format!("pub fn value() -> usize {{ std::hint::black_box({token:?}).len() }}"));
        let (there, said) = pushed(&mut project, "DEPLOY_TOKEN", token);
        assert!(!there.contains(&"dep") && !there.contains(&"app"), "{there:?} {said}");
        assert!(there.contains(&"apart") && said.contains("it contains the value of DEPLOY_TOKEN"), "{said}");
    }
    // A path is no secret, even if the variable looks like one.
    let path = "/usr/share/keys/v1";
    let mut project = workspace(&format!("pub fn value() -> usize {{ std::hint::black_box({path:?}).len() }}"));
    let (there, said) = pushed(&mut project, "DEPLOY_KEY", path);
    assert_eq!(there, ["apart", "app", "dep", "middle"], "{said}");
}

/// The build script of a package that links something, and of one that depends on it: `cargo::metadata=NAME=VALUE`.
fn with_metadata(project: &Project, name: &str) {
    project.file("dep/Cargo.toml", manifest("dep", "links = \"thing\"\n"));
    project.file("dep/build.rs", format!("fn main() {{ println!(\"cargo::metadata={name}=of-{name}\"); }}"));
    let over = "[dependencies]\ndep = { path = \"../dep\" }\n";
    project.file("middle/Cargo.toml", manifest("middle", over));
    let read = format!("std::env::var(\"DEP_THING_{}\").unwrap()", name.to_uppercase());
    project.file("middle/build.rs", format!("fn main() {{ println!(\"cargo::rustc-env=WORD={{}}\", {read}); }}"));
    project.file("middle/src/lib.rs", "pub fn value() -> usize { dep::value() + env!(\"WORD\").len() }");
}

#[test]
fn r08_what_was_told_a_secret_by_another_script_stays() {
    let mut project = workspace("pub fn value() -> usize { 1 }");
    with_metadata(&project, "token");
    let (there, said) = pushed(&mut project, "UNRELATED", WORD);
    assert!(there.contains(&"dep") && !there.contains(&"middle") && !there.contains(&"app"), "{there:?} {said}");
    assert!(said.contains("it read DEP_THING_TOKEN, which looks secret"), "{said}");
    with_metadata(&project, "word");
    let (there, said) = pushed(&mut project, "UNRELATED", WORD);
    assert_eq!(there, ["apart", "app", "build_script_build", "dep", "middle"], "{said}");
}

#[test]
fn r08_what_declares_a_secret_stays() {
    let mut project = workspace("pub fn value() -> usize { 1 }");
    project.file(".kache.toml", "[inputs.dep]\nenv = [\"SOME_TOKEN\", \"SOME_WORD\"]\n");
    let (there, said) = pushed(&mut project, "SOME_TOKEN", "hunter2");
    assert_eq!(there, ["apart"], "{said}");
    assert!(said.contains("it read SOME_TOKEN, which looks secret"), "{said}");
    // What has the same bytes as something that stays would stay, too.
    project.unset("SOME_TOKEN").file("dep/src/lib.rs", "pub fn value() -> usize { 2 }");
    let (there, said) = pushed(&mut project, "SOME_WORD", WORD);
    assert_eq!(there, ["apart", "app", "dep", "middle"], "{said}");
}

#[test]
fn r08_a_script_that_reads_all_variables_has_read_the_secret_ones() {
    let mut project = workspace("pub fn value() -> usize { env!(\"WORD\").len() }");
    let script = "fn main() {\n    let all: String = std::env::vars().filter(|(name, _)| name.starts_with(\"SOME\"))\
                  .map(|(_, value)| value).collect();\n    \
                  println!(\"cargo::rustc-env=WORD={}\", all.chars().rev().collect::<String>());\n}";
    project.file("dep/build.rs", script);
    let (there, said) = pushed(&mut project, "SOME_TOKEN", SECRET);
    assert!(there.contains(&"apart") && !there.contains(&"dep") && !there.contains(&"app"), "{there:?} {said}");
    assert!(said.contains("it read SOME_TOKEN, which looks secret"), "{said}");
    project.unset("SOME_TOKEN");
    let (there, said) = pushed(&mut project, "SOME_WORD", WORD);
    assert_eq!(there, ["apart", "app", "build_script_build", "dep", "middle"], "{said}");
}

/// Removes the entries of a crate, as a garbage collection does.
fn evict(project: &Project, crate_name: &str) {
    let store = Store::open(&project.cache_dir());
    let is_it = |path: &PathBuf| store.entry(EntryKey(name_of(path))).is_some_and(|it| it.crate_name == crate_name);
    let evicted: Vec<PathBuf> = project.entries().into_iter().filter(is_it).collect();
    assert!(!evicted.is_empty(), "{crate_name}");
    for path in evicted {
        let digest = name_of(&path).hex();
        let manifests = project.manifests().into_iter();
        let of_it = manifests.filter(|path| fs::read_to_string(path).expect("a manifest").contains(&digest));
        of_it.for_each(|path| fs::remove_file(path).expect("removed"));
        fs::remove_file(path).expect("removed");
    }
}

#[test]
fn r08_what_was_made_from_a_secret_stays_after_its_origin_was_evicted() {
    for variable in ["SOME_TOKEN", "SOME_WORD"] {
        let mut project = workspace(&format!("pub fn value() -> usize {{ env!(\"{variable}\").len() }}"));
        let server = S3Server::start();
        // In a build, `app` may be stored before `middle`. Here, `middle` comes first, and before it `dep`.
        project.set(variable, "hunter2").cargo(&["build", "-p", "dep"]);
        project.cargo(&["build", "-p", "middle"]);
        evict(&project, "dep");
        evict(&project, "middle");
        project.build();
        project.unset(variable).use_remote(&S3Server::variables(&server.endpoint(), WRITER));
        let said = project.kache(&["push"]).must_succeed();
        let said = format!("{}{}", said.stdout, said.stderr);
        let is_there = !server.objects_with("/packs/app/").is_empty();
        assert_eq!(is_there, variable == "SOME_WORD", "{said}");
        assert_eq!(said.contains("it was made from dep, which read SOME_TOKEN"), !is_there, "{said}");
        // Even without the ledger, the entry itself knows.
        for name in ["secrets.jsonl", "secrets.old.jsonl"] {
            let _ = fs::remove_file(project.cache_dir().join("v1").join(name));
        }
        let said = project.kache(&["push"]).must_succeed();
        assert_eq!(said.stdout.contains("1 not uploaded") || said.stderr.contains("1 not uploaded"), !is_there);
    }
}

#[test]
fn r08_entries_of_an_earlier_kache_stay_where_secrets_are_known() {
    for (variable, stays) in [("SOME_TOKEN", true), ("SOME_WORD", false)] {
        let mut project = workspace(&format!("pub fn value() -> usize {{ env!(\"{variable}\").len() }}"));
        project.set(variable, "hunter2").build();
        let store = Store::open(&project.cache_dir());
        for path in project.entries() {
            let key = EntryKey(name_of(&path));
            let entry = store.entry(key).expect("an entry");
            if entry.crate_name == "apart" {
                store.put_entry(key, &Entry { origin: None, ..entry }).expect("written");
            }
        }
        let (there, said) = pushed_as_it_is(&mut project, "hunter2");
        assert_eq!(there.contains(&"apart"), !stays, "{said}");
        assert_eq!(said.contains("by a kache that did not record what it was made from"), stays, "{said}");
    }
}

#[test]
fn r08_what_was_made_from_a_run_that_is_not_stored_stays() {
    // A script that runs in every build, and one that writes a file beside its package.
    let reasons = [
        ("always-runs", "println!(\"cargo::rerun-if-changed=missing\");"),
        ("side-effects", "std::fs::write(\"../beside.txt\", \"x\").unwrap();"),
    ];
    for (stored, statement) in reasons {
        let script = |variable: &str| {
            format!(
                "fn main() {{\n    {statement}\n    let value = std::env::var(\"{variable}\").unwrap();\n    \
                 println!(\"cargo::rustc-env=WORD={{}}\", value.chars().rev().collect::<String>());\n}}"
            )
        };
        let mut project = workspace("pub fn value() -> usize { env!(\"WORD\").len() }");
        project.file("dep/build.rs", script("SOME_TOKEN"));
        let (there, said) = pushed(&mut project, "SOME_TOKEN", SECRET);
        assert_eq!(there, ["apart", "build_script_build"], "only the program of the script: {said}");
        assert_eq!(project.outcomes("build_script_build").pop().expect("a run").1, stored);
        assert!(said.contains("it was made from build_script_build, which read SOME_TOKEN"), "{said}");
        project.unset("SOME_TOKEN").file("dep/build.rs", script("SOME_WORD"));
        let (there, said) = pushed(&mut project, "SOME_WORD", WORD);
        assert_eq!(there, ["apart", "app", "build_script_build", "dep", "middle"], "{said}");
    }
}

#[test]
fn r08_what_was_made_from_a_run_in_a_used_out_dir_stays() {
    for (variable, stays) in [("SOME_TOKEN", true), ("SOME_WORD", false)] {
        let mut project = workspace("pub fn value() -> usize { env!(\"WORD\").len() }");
        let script = format!(
            "fn main() {{\n    println!(\"cargo::rerun-if-changed=again.txt\");\n    \
             std::fs::write(std::env::var(\"OUT_DIR\").unwrap() + \"/used\", \"\").unwrap();\n    \
             let value = std::env::var(\"{variable}\").unwrap_or_default();\n    \
             println!(\"cargo::rustc-env=WORD={{}}\", value.chars().rev().collect::<String>());\n}}"
        );
        project.file("dep/build.rs", script).file("dep/again.txt", "1");
        project.build();
        settle();
        project.set(variable, SECRET).file("dep/again.txt", "2").build();
        assert_eq!(project.outcomes("build_script_build").pop().expect("a run").1, "out-dir-used");
        let store = Store::open(&project.cache_dir());
        let newest = |name: &str| {
            let entries = project.entries().into_iter().map(|path| EntryKey(name_of(&path)));
            let of_crate =
                entries.filter_map(|key| Some((key, store.entry(key)?))).filter(|it| it.1.crate_name == name);
            of_crate.max_by_key(|(_, entry)| entry.created).expect("an entry").0
        };
        let withheld = Withheld::of(&store, Vec::new()).expect("the store");
        for name in ["dep", "middle", "app"] {
            let reason = withheld.reason(newest(name)).map(ToString::to_string).unwrap_or_default();
            assert_eq!(reason.contains("which read SOME_TOKEN"), stays, "{name}: {reason}");
        }
    }
}

#[test]
fn r08_what_another_script_made_of_a_secret_and_told_stays() {
    let mut project = workspace("pub fn value() -> usize { 1 }");
    // Neither the name nor the value that is passed on looks secret.
    let made_from = |project: &Project, variable: &str| {
        with_metadata(project, "word");
        let value = format!("std::env::var(\"{variable}\").unwrap().chars().rev().collect::<String>()");
        project.file("dep/build.rs", format!("fn main() {{ println!(\"cargo::metadata=word={{}}\", {value}); }}"));
    };
    made_from(&project, "SOME_TOKEN");
    let (there, said) = pushed(&mut project, "SOME_TOKEN", SECRET);
    assert!(there.contains(&"apart") && !there.contains(&"middle") && !there.contains(&"app"), "{there:?} {said}");
    assert!(said.contains("it was made from build_script_build, which read SOME_TOKEN"), "{said}");
    project.unset("SOME_TOKEN").file("dep/src/lib.rs", "pub fn value() -> usize { 2 }");
    made_from(&project, "SOME_WORD");
    let (there, said) = pushed(&mut project, "SOME_WORD", WORD);
    assert_eq!(there, ["apart", "app", "build_script_build", "dep", "middle"], "{said}");
}
