//! Paths of a checkout in the results of a run, in places where a restore cannot rewrite them, or must not.

use crate::support::Scripted;

/// Prints the working directory of the script. A directory that does not appear in any text would be an input like any
/// other.
const HERE: &str = "let here = env::current_dir().unwrap().display().to_string(); println!(\"cargo:warning={here}\");";

#[test]
fn a_path_in_the_program_is_not_that_of_the_checkout() {
    let one = Scripted::new("\"\".into()");
    // Both checkouts contain the same script, which names the first one.
    let here = one.project.dir().to_str().expect("text").to_owned();
    one.script(&format!("println!(\"cargo:warning=served at {here}/index.html\"); {here:?}.into()"));
    one.runs().restored();
    let two = one.clone_to("elsewhere/two");
    two.runs().restored();
    assert_eq!(two.printed().0, here);
}

#[test]
#[ignore = "slow"]
fn a_path_in_the_name_of_a_file_serves_only_there() {
    let beside = r#"fs::create_dir_all(dir.parent().unwrap()).unwrap(); fs::write(dir, "x").unwrap(); "x".into()"#;
    for body in [
        // A tree that mirrors the sources, as compilers create it.
        format!("{HERE} let dir = out().join(&here[1..]).join(\"gen.txt\"); {beside}"),
        format!("{HERE} let dir = out().join(here.replace('/', \"_\")); {beside}"),
        format!(
            "{HERE} let dir = out().join(&here[1..]).join(\"empty\"); fs::create_dir_all(dir).unwrap(); \"x\".into()"
        ),
        format!("{HERE} std::os::unix::fs::symlink(&here[1..], out().join(\"link\")).unwrap(); \"x\".into()"),
    ] {
        let one = Scripted::new(&body);
        one.runs().restored();
        one.clone_to("elsewhere/two").runs().restored();
    }
}

#[test]
fn a_text_that_includes_a_file_by_the_path_of_the_checkout_finds_it() {
    let body = r#"
        let here = env::current_dir().unwrap().display().to_string();
        let dir = out().join(&here[1..]);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("gen.txt"), "made").unwrap();
        fs::write(out().join("inner.rs"), format!("include_str!(concat!(env!(\"OUT_DIR\"), \"{here}/gen.txt\"))")).unwrap();
        "x".into()"#;
    let one = Scripted::new(body);
    let main = "include!(concat!(env!(\"OUT_DIR\"), \"/gen.rs\"));\nconst MADE: &str = include!(concat!(env!(\"OUT_DIR\"), \"/inner.rs\"));\nfn main() { assert_eq!(MADE, \"made\"); println!(\"{VALUE} run {RUN}\"); }\n";
    one.file("src/main.rs", main);
    one.runs().restored();
    one.clone_to("elsewhere/two").runs().restored();
}

#[test]
#[ignore = "slow"]
fn an_escaped_path_serves_only_there() {
    for body in [
        format!("{HERE} println!(\"cargo:warning=file://{{}}\", here.replace(' ', \"%20\")); \"x\".into()"),
        format!("{HERE} eprintln!(\"{{}}\", here.replace(' ', \"\\\\ \")); \"x\".into()"),
        format!("{HERE} fs::write(out().join(\"a.d\"), here.replace(' ', \"\\\\ \")).unwrap(); \"x\".into()"),
    ] {
        let one = Scripted::new(&body).clone_to("elsewhere/with space");
        one.runs().restored();
        one.clone_to("elsewhere/with another space").runs().restored();
    }
}

#[test]
fn an_unescaped_path_with_a_space_is_rewritten() {
    let body = r#"println!("cargo:warning={}", out().display()); env::current_dir().unwrap().display().to_string()"#;
    let one = Scripted::new(body).clone_to("elsewhere/with space");
    one.runs().restored();
    one.clone_to("elsewhere/with another space").restored();
}
