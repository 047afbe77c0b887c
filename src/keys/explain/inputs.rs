//! Finds the differences from the nearest recorded input set.
//!
//! [`validate`] decides whether an input differs; [`describe`] shows how.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::{Differences, between_values};
use crate::fsx;
use crate::keys::{Context, environment, git, inspect, known_variables, processor, validate};
use crate::model::{Difference, DifferenceKind as Kind, Digest, Input, PathKind, TokenString};
use crate::rustc::invocation::crate_of;

/// Returns the differences from the record with the fewest. If several records are equally near, the first counts,
/// which is the newest. The `.rlib` and `.rmeta` of one crate are one difference.
pub fn nearest<'a>(records: impl IntoIterator<Item = &'a [Input]>, context: Context<'_>) -> Differences {
    // The records of one manifest have most inputs in common, so check each input once.
    let mut known: HashMap<&Input, bool> = HashMap::new();
    let mut best: Option<Vec<&Input>> = None;
    for inputs in records {
        let limit = best.as_ref().map_or(usize::MAX, Vec::len);
        let mut differing = Vec::new();
        for input in inputs {
            if *known.entry(input).or_insert_with(|| validate::check(input, context).is_err()) {
                differing.push(input);
            }
            if differing.len() == limit {
                break;
            }
        }
        if differing.len() < limit {
            best = Some(differing);
        }
    }
    let mut crates = HashSet::new();
    let is_news = |input: &&Input| match input {
        Input::File(path, _) if dependency(path).is_some() => {
            crates.insert(Path::new(path.as_str()).with_extension(""))
        }
        _ => true,
    };
    let news = best.unwrap_or_default().into_iter().filter(is_news);
    news.map(|input| describe(input, context)).collect::<Vec<_>>().into()
}

/// Describes an input that differs: the recorded value and the current one.
fn describe(input: &Input, context: Context<'_>) -> Difference {
    let kind = input.kind().difference();
    let of_path = |path, old: String, new| Difference::new(kind, &name(path, context), Some(old), new);
    match input {
        Input::File(path, digest) => match dependency(path) {
            Some(name) => Difference::new(Kind::Dependency, name, Some(digest.short()), content(path, context)),
            None => of_path(path, digest.short(), content(path, context)),
        },
        Input::Absent(path) => Difference::new(kind, &name(path, context), None, content(path, context)),
        Input::Env(name, value) => {
            let old = value.as_ref().map(|value| here(value, context));
            let new = context.env.get(name).map(|value| value.to_string_lossy().into_owned());
            between_values(kind, name, old.as_deref(), new.as_deref())
        }
        Input::Pinned(root, place) => {
            let new = context.roots.place(*root).map(str::to_owned);
            Difference::new(kind, root.name(), Some(place.clone()), new)
        }
        Input::Present(path, found) => {
            let now = validate::at(path, context, inspect::kind);
            of_path(path, word(*found), now.map(word))
        }
        Input::PresentNoFollow(path, found) => {
            let now = validate::at(path, context, inspect::kind_no_follow);
            of_path(path, word(*found), now.map(word))
        }
        Input::Mode(path, bits) => {
            let now = validate::at(path, context, inspect::owner_mode);
            of_path(path, mode_bits(*bits), now.map(mode_bits))
        }
        Input::Modified(path, seconds) => {
            let now = validate::at(path, context, inspect::mtime);
            of_path(path, written_at(*seconds), now.map(written_at))
        }
        Input::Created(path, seconds) => {
            let now = validate::at(path, context, inspect::creation_time);
            of_path(path, created_at(*seconds), now.map(created_at))
        }
        Input::Listing(path, digest) => {
            let now = validate::at(path, context, |dir| context.stamps.listing(dir).ok());
            of_path(path, digest.short(), now.map(|now| now.short()))
        }
        Input::Link(path, target) => {
            let now = validate::at(path, context, fsx::read_link_text);
            of_path(path, here(target, context), now)
        }
        Input::Resolved(path, real) => {
            let now = validate::at(path, context, inspect::resolved);
            of_path(path, here(real, context), now)
        }
        Input::Program(program, path) => {
            let now = inspect::program(program, context).map(|path| here(&path, context));
            Difference::new(kind, program, path.as_ref().map(|path| here(path, context)), now)
        }
        Input::Environment(digest) => {
            let now = environment::digest(context).short();
            Difference::new(kind, "all of the environment", Some(digest.short()), Some(now))
        }
        Input::KnownVariables(known) => {
            let now = known_variables::digest(known, context).map(|now| now.short());
            Difference::new(kind, "those that cc knows", Some(known.digest.short()), now)
        }
        Input::Processor(digest) => {
            let now = processor::digest().map(|now| now.short());
            Difference::new(kind, "the processor", Some(digest.short()), now)
        }
        Input::GitIndex(path, digest) => {
            let now = validate::at(path, context, |index| git::state(index, context));
            of_path(path, digest.short(), now.map(|now| now.short()))
        }
        Input::DiagnosticWidth(width) => {
            between_values(kind, "--diagnostic-width", width.as_deref(), context.diagnostic_width)
        }
    }
}

fn mode_bits(bits: u32) -> String {
    format!("mode {bits:o}")
}

fn written_at(seconds: i64) -> String {
    format!("written at {seconds}")
}

fn created_at(seconds: i64) -> String {
    format!("created at {seconds}")
}

fn word(kind: PathKind) -> String {
    kind.name().to_owned()
}

/// Returns the text with the paths of this checkout, or with its tokens if a root has no place here.
fn here(text: &TokenString, context: Context<'_>) -> String {
    context.roots.expand(text).unwrap_or_else(|| text.as_str().to_owned())
}

/// Returns the path as people know it: relative to the directory where rustc runs, which is the workspace for its
/// members.
fn name(path: &TokenString, context: Context<'_>) -> String {
    let path = here(path, context);
    let below = path.strip_prefix(&*context.cwd.to_string_lossy());
    below.and_then(|rest| rest.strip_prefix('/')).map_or_else(|| path.clone(), str::to_owned)
}

/// Describes the current state of `path`: the digest of a file, or else the kind of what is there.
fn content(path: &TokenString, context: Context<'_>) -> Option<String> {
    let path: PathBuf = context.cwd.join(context.roots.expand(path)?);
    match context.stamps.content(&path) {
        Ok(content) => Some(Digest::short(&content.digest)),
        Err(_) => inspect::kind_no_follow(&path).map(word),
    }
}

/// Returns the crate whose library is at `path`. A link step reads the libraries of all crates below it, not only those
/// that `--extern` names.
fn dependency(path: &TokenString) -> Option<&str> {
    let path = Path::new(path.as_str());
    let is_library = matches!(path.extension()?.to_str()?, "rlib" | "rmeta" | "so" | "dylib");
    let is_built = path.starts_with("{target}") && path.parent()?.ends_with("deps");
    (is_library && is_built).then(|| crate_of(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;
    use crate::fsx::Publish;
    use crate::keys::Roots;
    use crate::model::RootKind;
    use crate::store::Stamps;

    /// Runs `nearest` in a directory where `a` contains "a", with `MOOD=glad` and `TOKEN=hush`.
    fn explained(records: &[&[Input]]) -> Vec<(String, String, Option<String>, Option<String>)> {
        let dir = tempfile::tempdir().unwrap();
        Publish::default().bytes(&dir.path().join("a"), b"a").unwrap();
        let roots = Roots::new([(RootKind::Workspace, Some(dir.path().to_owned()))]);
        let env = Env::of([("MOOD", "glad"), ("TOKEN", "hush")]);
        let stamps = Stamps::open(&dir.path().join("stamps"));
        let context = Context { cwd: dir.path(), diagnostic_width: None, roots: &roots, env: &env, stamps: &stamps };
        let found = nearest(records.iter().copied(), context);
        found.listed.into_iter().map(|one| (one.kind, one.name, one.old, one.new)).collect()
    }

    fn token(text: &str) -> TokenString {
        TokenString::literal(text)
    }

    fn env(name: &str, value: Option<&str>) -> Input {
        Input::Env(name.into(), value.map(token))
    }

    #[test]
    fn the_record_with_the_fewest_differences_is_the_nearest_and_newest_first() {
        let same = Input::File(token("a"), Digest::of(b"a"));
        let far = [same.clone(), env("MOOD", Some("sad")), env("X", Some("1"))];
        let newer = [same.clone(), env("MOOD", Some("newer"))];
        let older = [same.clone(), env("MOOD", Some("older"))];
        let expected = |old: &str| [("variable".into(), "MOOD".into(), Some(old.into()), Some("glad".into()))];
        assert_eq!(explained(&[&far, &newer, &older]), expected("newer"));
        assert_eq!(explained(&[&far[..2], &far]), expected("sad"));
        assert_eq!(explained(&[&[same]]), []);
        assert_eq!(explained(&[]), []);
    }

    #[test]
    fn every_kind_shows_the_recorded_and_the_current_value() {
        let (a, b) = (Digest::of(b"a").short(), Digest::of(b"b"));
        let mut inside = TokenString::default();
        inside.push_root(RootKind::Workspace);
        inside.push_literal("/a");
        let record = [
            Input::File(inside, b),
            Input::File(token("gone"), b),
            Input::Absent(token("a")),
            env("X", Some("")),
            env("MOOD", None),
            Input::Pinned(RootKind::Home, "/home/x".into()),
            Input::DiagnosticWidth(Some("80".into())),
        ];
        let own = |text: &str| Some(text.to_owned());
        let row = |kind: &str, name: &str, old, new| (kind.to_owned(), name.to_owned(), old, new);
        assert_eq!(
            explained(&[&record]),
            [
                row("file", "a", own(&b.short()), own(&a)),
                row("file", "gone", own(&b.short()), None),
                row("absent-file", "a", None, own(&a)),
                row("variable", "X", own(""), None),
                row("variable", "MOOD", None, own("glad")),
                row("root", "home", own("/home/x"), None),
                row("flag", "--diagnostic-width", own("80"), None),
            ]
        );
    }

    #[test]
    fn a_library_below_the_target_directory_is_a_crate() {
        let mut path = TokenString::default();
        path.push_root(RootKind::Target);
        path.push_literal("/debug/deps/libmy_dep-0123456789abcdef.rlib");
        assert_eq!(dependency(&path), Some("my_dep"));
        assert_eq!(dependency(&token("vendor/deps/libz-1.so")), None);
        let mut rmeta = TokenString::default();
        rmeta.push_root(RootKind::Target);
        rmeta.push_literal("/debug/deps/libmy_dep-0123456789abcdef.rmeta");
        let [one, other] = [path, rmeta].map(|path| Input::File(path, Digest::of(b"x")));
        let found = explained(&[&[one, other]]);
        assert_eq!((found.len(), found[0].0.as_str(), found[0].1.as_str()), (1, "dependency", "my_dep"));
    }

    #[test]
    fn a_secret_is_not_shown() {
        let found = explained(&[&[env("TOKEN", Some("psst"))]]);
        let (_, name, old, new) = &found[0];
        assert_eq!(name, "TOKEN");
        assert!(old.as_ref().unwrap().starts_with("secret ") && old != new, "{found:?}");
        assert!(!format!("{found:?}").contains("psst") && !format!("{found:?}").contains("hush"), "{found:?}");
    }
}
