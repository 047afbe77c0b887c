//! Circles between the modules of one folder: modules that use each other, directly or through others.
//!
//! A module is a file of the folder, or a subfolder with everything in it. The module around them (`mod.rs`) is one of
//! them; if it only re-exports a name, users of the name use the module that defines it.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::{Source, parse_path, paths, tokens};

/// Which module of a folder uses which other one.
type Uses = BTreeSet<(String, String)>;

/// The name of the module around the others of a folder.
const AROUND: &str = "mod";

/// Returns the circles of each folder, as `<folder>: <modules>`.
pub(super) fn circles(sources: &[Source]) -> Vec<String> {
    let modules: Vec<(Vec<String>, &Source)> = sources.iter().map(|source| (source.module(), source)).collect();
    let folders: BTreeSet<&[String]> =
        modules.iter().flat_map(|(path, _)| (1..path.len()).map(move |length| &path[..length])).collect();
    let in_folder = |folder: &[String]| {
        let circles = strongly_connected(&uses_in(folder, &modules));
        let line = |modules: BTreeSet<String>| {
            format!("{}: {}", folder.join("/"), modules.into_iter().collect::<Vec<_>>().join(" "))
        };
        circles.into_iter().map(line).collect::<Vec<_>>()
    };
    folders.into_iter().flat_map(in_folder).collect()
}

fn uses_in(folder: &[String], modules: &[(Vec<String>, &Source)]) -> Uses {
    let inside = || modules.iter().filter(move |(path, _)| path.starts_with(folder));
    let children: BTreeSet<&str> =
        inside().filter_map(|(path, _)| path.get(folder.len())).map(String::as_str).collect();
    let (mut uses, mut exports) = (Uses::new(), BTreeMap::new());
    for (_, around) in inside().filter(|(path, _)| path.len() == folder.len()) {
        let code = around.code();
        let of_around = uses_of_around(&tokens(&code), &children, &mut exports);
        uses.extend(of_around.into_iter().map(|child| (AROUND.to_owned(), child)));
    }
    for (path, source) in inside() {
        let user = path.get(folder.len()).map_or(AROUND, String::as_str);
        let code = source.code();
        for used in paths(&tokens(&code)) {
            let absolute = absolute(path, &used);
            if let Some(rest) = absolute.strip_prefix(folder)
                && let Some(name) = rest.first()
            {
                let is_child = children.contains(name.as_str());
                let module = if is_child { name.as_str() } else { exports.get(name).map_or(AROUND, String::as_str) };
                uses.insert((user.to_owned(), module.to_owned()));
            }
        }
    }
    uses
}

/// Returns the children that the module around them uses, and adds the names that it takes from them to `exports`.
fn uses_of_around(
    tokens: &[&str],
    children: &BTreeSet<&str>,
    exports: &mut BTreeMap<String, String>,
) -> BTreeSet<String> {
    let (mut used, mut words, mut at) = (BTreeSet::new(), Vec::new(), 0);
    while at < tokens.len() {
        let is_first = at == 0 || tokens[at - 1] != "::";
        if tokens[at] == "use" {
            let is_export = at > 0 && matches!(tokens[at - 1], "pub" | ")");
            let mut taken = Vec::new();
            at = parse_path(tokens, at + 1, &[], &mut taken);
            for path in taken.iter().filter(|path| path.len() > 1 && children.contains(path[0].as_str())) {
                exports.insert(path[path.len() - 1].clone(), path[0].clone());
                used.extend((!is_export).then(|| path[0].clone()));
            }
            continue;
        }
        if is_first && children.contains(tokens[at]) && tokens.get(at + 1) == Some(&"::") {
            used.insert(tokens[at].to_owned());
        } else if is_first {
            words.push(tokens[at]);
        }
        at += 1;
    }
    used.extend(words.into_iter().filter_map(|word| exports.get(word).cloned()));
    used
}

/// Returns the path from the root of the crate, for a path that occurs in `module`.
pub(super) fn absolute(module: &[String], path: &[String]) -> Vec<String> {
    let mut absolute = module.to_vec();
    for segment in path {
        match segment.as_str() {
            "crate" => absolute.clear(),
            "self" => {}
            "super" => drop(absolute.pop()),
            name => absolute.push(name.to_owned()),
        }
    }
    absolute
}

/// Returns the groups of at least two modules that all use each other, directly or through others.
fn strongly_connected(uses: &Uses) -> BTreeSet<BTreeSet<String>> {
    let reached_from = |start: &String| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(user) = open.pop() {
            let used = uses.iter().filter(|(from, _)| from == user).map(|(_, to)| to);
            open.extend(used.filter(|used| reached.insert((*used).clone())));
        }
        reached
    };
    let reached: BTreeMap<&String, BTreeSet<String>> =
        uses.iter().map(|(user, _)| (user, reached_from(user))).collect();
    let circle_of = |(user, all): (&&String, &BTreeSet<String>)| -> BTreeSet<String> {
        all.iter().filter(|other| reached.get(other).is_some_and(|back| back.contains(*user))).cloned().collect()
    };
    reached.iter().map(circle_of).filter(|circle| circle.len() > 1).collect()
}

#[test]
fn circles_are_found_between_siblings_and_with_the_module_around_them() {
    let found = |files: &[(&str, &str)]| {
        let sources: Vec<Source> = files.iter().map(|(name, text)| Source::of(name, text)).collect();
        circles(&sources)
    };
    let none = Vec::<String>::new();
    let (a, b) = (("x/a.rs", "use super::b::B;"), ("x/b.rs", "fn b() { crate::x::a::f() }"));
    assert_eq!(found(&[("x/mod.rs", "mod a; mod b;"), a, b]), ["x: a b"]);
    assert_eq!(
        found(&[("x/mod.rs", ""), a, ("x/b.rs", "// crate::x::a\n#[cfg(test)]\nmod tests { use super::a; }")]),
        none
    );
    // Through a third module, and in a subfolder.
    let deep =
        [("x/a/mod.rs", "use super::b;"), ("x/b.rs", "use super::c::{self};"), ("x/c/d.rs", "use super::super::a::A;")];
    assert_eq!(found(&deep), ["x: a b c"]);
    // A re-export is no use, but leads to the module that defines the name.
    let around = ("x/mod.rs", "pub use a::A;\npub struct Own;");
    assert_eq!(found(&[around, ("x/a.rs", "use super::Own;"), ("x/b.rs", "use super::A;")]), none);
    assert_eq!(found(&[around, ("x/a.rs", "use super::b::B;"), ("x/b.rs", "use super::A;")]), ["x: a b"]);
    let around = ("x/mod.rs", "pub use a::A;\npub struct Own(A);");
    assert_eq!(found(&[around, ("x/a.rs", "use super::Own;")]), ["x: a mod"]);
    assert_eq!(found(&[around, ("x/a.rs", "use super::*;")]), ["x: a mod"]);
}
