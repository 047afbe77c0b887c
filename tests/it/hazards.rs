//! Checks `docs/hazards.md`: each id in the name of a test has a row, and a test or a comment cites each row.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::files_under;

/// Whether a word is an id of a hazard in lower case.
fn is_id(word: &str) -> bool {
    matches!(word.as_bytes(), [b'a'..=b'z', b'0'..=b'9', b'0'..=b'9'])
}

/// Returns the ids with which the names of test functions begin. A name may begin with several.
fn tested(source: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim_start) {
        if is_test && let Some(name) = line.strip_prefix("fn ") {
            ids.extend(name.split('_').take_while(|word| is_id(word)).map(str::to_owned));
        }
        is_test = line == "#[test]" || is_test && line.starts_with("#[");
    }
    ids
}

/// Returns the ids that comments contain, in upper case there.
fn commented(source: &str) -> BTreeSet<String> {
    let comments = source.lines().map(str::trim_start).filter(|line| line.starts_with("//"));
    let words = comments.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric()));
    let is_upper = |word: &&str| !word.contains(|c: char| c.is_ascii_lowercase());
    words.filter(is_upper).map(str::to_ascii_lowercase).filter(|word| is_id(word)).collect()
}

/// Returns the ids in the first column of the tables.
fn rows(page: &str) -> BTreeSet<String> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    cells.filter(|cell| is_id(cell)).map(str::to_owned).collect()
}

/// Returns the ids of tests without a row, and the rows that neither a test nor a comment cites.
fn mismatches<S: AsRef<str>>(sources: &[S], page: &str) -> Vec<String> {
    let all = |ids: fn(&str) -> BTreeSet<String>| -> BTreeSet<String> {
        sources.iter().flat_map(|source| ids(source.as_ref())).collect()
    };
    let (rows, tested) = (rows(page), all(tested));
    let cited = &tested | &all(commented);
    let unknown = tested.difference(&rows).map(|id| format!("{id}: no row"));
    unknown.chain(rows.difference(&cited).map(|id| format!("{id}: a row that nothing cites"))).collect()
}

#[test]
fn every_id_has_a_row_and_every_row_is_cited() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["src", "tests"].into_iter().flat_map(|dir| files_under(&root.join(dir)));
    let is_source = |path: &Path| path.extension().is_some_and(|extension| extension == "rs");
    let sources: Vec<String> =
        files.filter(|path| is_source(path)).map(|path| fs::read_to_string(path).expect("a source")).collect();
    let page = fs::read_to_string(root.join("docs/hazards.md")).expect("the page");
    assert_eq!(mismatches(&sources, &page), Vec::<String>::new(), "docs/hazards.md");
}

#[test]
fn the_check_sees_an_unknown_id_and_an_unused_row() {
    let page = "| id | what goes wrong |\n|---|---|\n| a01 | x |\n| a02 | x |\n| a03 | x |\n";
    let by_name = "    #[test]\n    fn a01_a02_two_at_once() {}\n";
    let by_comment = "/// Something else (A03).\nfn b04_is_no_test() {}\n";
    assert_eq!(mismatches(&[by_name, by_comment], page), Vec::<String>::new());
    let unknown = "#[test]\n#[ignore = \"slow\"]\nfn b04_is_a_test() {}\n";
    assert_eq!(mismatches(&[by_name, by_comment, unknown], page), ["b04: no row"]);
    assert_eq!(mismatches(&[by_name], page), ["a03: a row that nothing cites"]);
    assert_eq!(mismatches(&[by_comment], page), ["a01: a row that nothing cites", "a02: a row that nothing cites"]);
}
