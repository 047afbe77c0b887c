//! Finds the differences from the nearest call of the same unit, by comparing two lookup keys field by field.

use std::collections::BTreeMap;

use super::{Differences, between_values};
use crate::model::key_trace::{Field, FieldValue};
use crate::model::{Difference, DifferenceKind as Kind, KeyTrace, secret};

/// Fields that cargo computes from the others.
const DERIVED: [&str; 2] = ["-C metadata", "-C extra-filename"];

/// Returns the differences from the key trace with the fewest. If several of them are equally near, the first
/// counts, which is the newest.
pub fn nearest<'a>(traces: impl IntoIterator<Item = &'a KeyTrace>, now: &KeyTrace) -> Differences {
    let all = traces.into_iter().map(|trace| differences(trace, now));
    all.min_by_key(Vec::len).unwrap_or_default().into()
}

/// The tag and name of a field. A key may contain one or several fields with the same tag and name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot<'a> {
    tag: &'a str,
    name: &'a str,
}

fn differences(old: &KeyTrace, new: &KeyTrace) -> Vec<Difference> {
    let (old_left, new_left) = without_common(&old.fields, &new.fields);
    let (before, after) = (by_slot(&old_left), by_slot(&new_left));
    let mut slots: Vec<Slot<'_>> = Vec::new();
    for field in new_left.iter().chain(&old_left) {
        let slot = slot(field);
        if !slots.contains(&slot) {
            slots.push(slot);
        }
    }
    let mut found: Vec<Difference> = Vec::new();
    for slot in &slots {
        let of = |fields: Option<&Vec<_>>| fields.cloned().unwrap_or_default();
        let (gone, come) = unmatched(of(before.get(slot)), &of(after.get(slot)));
        found.extend(paired(&gone, &come).into_iter().map(|(old, new)| describe(*slot, old, new)));
    }
    if found.is_empty() && old != new {
        // The same fields in another order. The last flag wins, so order counts.
        found.push(Difference::new(Kind::Flag, "order of the flags", None, None));
    }
    found
}

/// Removes what is obviously equal: the common start and end of both, and equal fields in equal places between these.
fn without_common<'a>(mut old: &'a [Field], mut new: &'a [Field]) -> (Vec<&'a Field>, Vec<&'a Field>) {
    let is_same =
        |one: &Field, other: &Field| one.value == other.value && one.tag == other.tag && one.name == other.name;
    while let ([one, old_rest @ ..], [other, new_rest @ ..]) = (old, new)
        && is_same(one, other)
    {
        (old, new) = (old_rest, new_rest);
    }
    while let ([old_rest @ .., one], [new_rest @ .., other]) = (old, new)
        && is_same(one, other)
    {
        (old, new) = (old_rest, new_rest);
    }
    if old.len() != new.len() {
        return (old.iter().collect(), new.iter().collect());
    }
    old.iter().zip(new).filter(|(one, other)| !is_same(one, other)).unzip()
}

fn slot(field: &Field) -> Slot<'_> {
    match (field.tag.as_str(), &field.value) {
        ("clippy file is absent", FieldValue::Text(name)) => Slot { tag: "clippy file", name },
        ("declared file is absent", FieldValue::Text(name)) => Slot { tag: "declared file", name },
        (tag, _) => Slot { tag, name: &field.name },
    }
}

fn by_slot<'a>(fields: &[&'a Field]) -> BTreeMap<Slot<'a>, Vec<&'a Field>> {
    let mut slots: BTreeMap<Slot<'_>, Vec<&Field>> = BTreeMap::new();
    for field in fields {
        slots.entry(slot(field)).or_default().push(field);
    }
    slots
}

/// Returns the fields that only one side has.
fn unmatched<'a>(mut gone: Vec<&'a Field>, new: &[&'a Field]) -> (Vec<&'a Field>, Vec<&'a Field>) {
    let mut come = Vec::new();
    for field in new {
        match gone.iter().position(|other| other.value == field.value && other.tag == field.tag) {
            Some(at) => drop(gone.remove(at)),
            None => come.push(*field),
        }
    }
    (gone, come)
}

/// Pairs the old value with the new one if each side has exactly one. Otherwise lists old and new values separately.
fn paired<'a>(gone: &[&'a Field], come: &[&'a Field]) -> Vec<(Option<&'a Field>, Option<&'a Field>)> {
    if let ([old], [new]) = (gone, come) {
        return vec![(Some(*old), Some(*new))];
    }
    let gone = gone.iter().map(|field| (Some(*field), None));
    gone.chain(come.iter().map(|field| (None, Some(*field)))).collect()
}

fn describe(slot: Slot<'_>, old: Option<&Field>, new: Option<&Field>) -> Difference {
    let Slot { tag, name } = slot;
    let note = new.or(old).map(|field| field.note.as_str()).filter(|note| !note.is_empty());
    let (old_text, new_text) = (old.and_then(text), new.and_then(text));
    let plain = |kind, name: &str| Difference::new(kind, name, old_text.clone(), new_text.clone());
    let set = |kind, name: &str| between_values(kind, name, old_text.as_deref(), new_text.as_deref());
    match tag {
        "compiler" => compiler(old, new),
        "paths" => plain(Kind::Setting, "KACHE_PATHS"),
        "observed" => plain(Kind::Setting, "KACHE_OBSERVE"),
        "cwd" => plain(Kind::Directory, "working directory"),
        "source" => plain(Kind::File, "crate root"),
        "injected" => plain(Kind::Flag, "added by kache"),
        "extern" => plain(Kind::Dependency, note.unwrap_or(name)),
        "static library" => plain(Kind::Library, note.unwrap_or("static library")),
        "target" => plain(Kind::File, "target specification"),
        "profile" => plain(Kind::File, "profile data"),
        "clippy file" | "declared file" => plain(Kind::File, name),
        _ if DERIVED.contains(&tag) => plain(Kind::Derived, tag),
        _ if tag.starts_with('-') => flag(tag, old_text.as_deref(), new_text.as_deref()),
        _ => match tag.strip_prefix("env ") {
            Some(name) => set(Kind::Variable, name),
            None => set(Kind::Other, format!("{tag} {name}").trim()),
        },
    }
}

/// Shows the versions if they differ, and otherwise the digests, which tell two builds of one version apart.
fn compiler(old: Option<&Field>, new: Option<&Field>) -> Difference {
    let note = |field: Option<&Field>| field.map(|field| field.note.clone()).filter(|note| !note.is_empty());
    let (old_note, new_note) = (note(old), note(new));
    let shown = |field: Option<&Field>, note: Option<String>| match note {
        Some(note) if old_note != new_note => Some(note),
        Some(note) => field.and_then(text).map(|digest| format!("{note} {digest}")),
        None => field.and_then(text),
    };
    Difference::new(Kind::Compiler, "rustc", shown(old, old_note.clone()), shown(new, new_note.clone()))
}

/// A value such as `key="x"` is also judged by the name in it.
fn flag(tag: &str, old: Option<&str>, new: Option<&str>) -> Difference {
    let own = old.or(new).and_then(|value| value.split_once('=')).map_or(tag, |(name, _)| name);
    let judged_by = if secret::is_secret(own, "") { own } else { tag };
    Difference { name: tag.to_owned(), ..between_values(Kind::Flag, judged_by, old, new) }
}

/// Returns the value as text for people.
fn text(field: &Field) -> Option<String> {
    match &field.value {
        // The text is the name of an absent file.
        FieldValue::Text(_) if field.tag.ends_with("file is absent") => None,
        FieldValue::Absent if field.tag.starts_with('-') => Some("given".to_owned()),
        FieldValue::Absent => None,
        FieldValue::Text(text) => Some(text.clone()),
        FieldValue::Digest(digest) => Some(digest.short()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyHasher;
    use crate::model::Digest;

    fn trace(fill: impl FnOnce(&mut KeyHasher)) -> KeyTrace {
        let mut key = KeyHasher::new(true);
        fill(&mut key);
        key.finish().1.unwrap()
    }

    /// Returns `kind name: old > new` for every difference.
    fn lines(old: impl FnOnce(&mut KeyHasher), new: impl FnOnce(&mut KeyHasher)) -> Vec<String> {
        let found = nearest([&trace(old)], &trace(new));
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        let line = |one: Difference| format!("{} {}: {} > {}", one.kind, one.name, text(one.old), text(one.new));
        found.listed.into_iter().map(line).collect()
    }

    #[test]
    fn every_tag_has_its_kind() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let (one, other) = (a.short(), b.short());
        let fill = |digest: Digest, text: &'static str| {
            move |key: &mut KeyHasher| {
                key.field("-C metadata", text);
                key.digest("extern", "renamed", digest);
                key.note(|| "dep".into());
                key.digest("compiler", "", digest);
                key.note(|| format!("rustc {text}"));
                key.field("paths", text);
                key.field("-C opt-level", text);
                key.optional("env SDKROOT", Some(text));
                key.digest("clippy file", "clippy.toml", digest);
                key.digest("a new kind", "of field", digest);
            }
        };
        assert_eq!(
            lines(fill(a, "1"), fill(b, "2")),
            [
                "compiler rustc: rustc 1 > rustc 2".to_owned(),
                "setting KACHE_PATHS: 1 > 2".into(),
                "flag -C opt-level: 1 > 2".into(),
                "variable SDKROOT: 1 > 2".into(),
                format!("file clippy.toml: {one} > {other}"),
                format!("other a new kind of field: {one} > {other}"),
                format!("dependency dep: {one} > {other}"),
                "derived -C metadata: 1 > 2".into(),
            ]
        );
    }

    #[test]
    fn two_builds_of_one_compiler_are_told_apart() {
        let compiler = |digest: &'static [u8]| {
            move |key: &mut KeyHasher| {
                key.digest("compiler", "", Digest::of(digest));
                key.note(|| "rustc 1".into());
            }
        };
        let (a, b) = (Digest::of(b"a").short(), Digest::of(b"b").short());
        assert_eq!(lines(compiler(b"a"), compiler(b"b")), [format!("compiler rustc: rustc 1 {a} > rustc 1 {b}")]);
    }

    #[test]
    fn flags_that_come_and_go() {
        let flags = |list: &'static [(&'static str, Option<&'static str>)]| {
            move |key: &mut KeyHasher| list.iter().for_each(|(name, value)| key.optional(name, *value))
        };
        let cfgs: &[_] = &[("--cfg", Some("a")), ("--cfg", Some("b"))];
        let more: &[_] = &[("--cfg", Some("b")), ("--cfg", Some("c")), ("--cfg", Some("d")), ("-g", None)];
        assert_eq!(
            lines(flags(cfgs), flags(more)),
            ["flag --cfg: a > -", "flag --cfg: - > c", "flag --cfg: - > d", "flag -g: - > given"]
        );
        assert_eq!(lines(flags(&cfgs[..1]), flags(&cfgs[1..])), ["flag --cfg: a > b"]);
        let swapped: &[_] = &[("--cfg", Some("b")), ("--cfg", Some("a"))];
        assert_eq!(lines(flags(cfgs), flags(swapped)), ["flag order of the flags: - > -"]);
        assert_eq!(lines(flags(cfgs), flags(cfgs)), Vec::<String>::new());
    }

    #[test]
    fn a_clippy_file_that_comes_is_one_difference() {
        let digest = Digest::of(b"a");
        let absent = |key: &mut KeyHasher| key.field("clippy file is absent", "{workspace}/Cargo.lock");
        let there = |key: &mut KeyHasher| key.digest("clippy file", "{workspace}/Cargo.lock", digest);
        assert_eq!(lines(absent, there), [format!("file {{workspace}}/Cargo.lock: - > {}", digest.short())]);
    }

    #[test]
    fn secrets_in_flags_are_redacted() {
        let cfg = |value: &'static str| move |key: &mut KeyHasher| key.field("--cfg", value);
        let found = lines(cfg("api_key=\"psst\""), cfg("api_key=\"hush\""));
        assert!(found[0].starts_with("flag --cfg: secret ") && !found[0].contains("psst"), "{found:?}");
    }

    #[test]
    fn the_nearest_call_is_compared() {
        let flags = |list: &'static [&'static str]| trace(|key| list.iter().for_each(|flag| key.field(flag, "")));
        let (near, far) = (flags(&["-a", "-b"]), flags(&["-x", "-y", "-z"]));
        let found = nearest([&far, &near], &flags(&["-a", "-b", "-c"]));
        assert_eq!((found.number, found.listed[0].name.as_str()), (1, "-c"));
    }
}
