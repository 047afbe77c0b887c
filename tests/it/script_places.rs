//! Places of a checkout that a run names where a restore cannot rewrite them, or must not.

use crate::support::Scripted;

#[test]
fn a_path_in_the_program_is_not_that_of_the_checkout() {
    let one = Scripted::new("\"\".into()");
    // Both checkouts hold the same script, which names the first one.
    let here = one.project.dir().to_str().expect("text").to_owned();
    one.script(&format!("println!(\"cargo:warning=served at {here}/index.html\"); {here:?}.into()"));
    one.runs().restored();
    let two = one.clone_to("elsewhere/two");
    two.runs().restored();
    assert_eq!(two.printed().0, here);
}

#[test]
fn a_path_in_the_name_of_a_file_serves_only_there() {
    let here = "let here = env::current_dir().unwrap().display().to_string();";
    let beside = r#"fs::create_dir_all(dir.parent().unwrap()).unwrap(); fs::write(dir, "x").unwrap(); "x".into()"#;
    for body in [
        // A tree that mirrors the sources, as compilers make one.
        format!("{here} let dir = out().join(&here[1..]).join(\"gen.txt\"); {beside}"),
        format!("{here} let dir = out().join(here.replace('/', \"_\")); {beside}"),
        format!(
            "{here} let dir = out().join(&here[1..]).join(\"empty\"); fs::create_dir_all(dir).unwrap(); \"x\".into()"
        ),
        format!("{here} std::os::unix::fs::symlink(&here[1..], out().join(\"link\")).unwrap(); \"x\".into()"),
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
