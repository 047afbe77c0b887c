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
