//! The machine-local roots of one invocation, and the conversion between texts and texts with tokens.

use std::path::{Component, Path, PathBuf};

use crate::config::Env;
use crate::config::env;
use crate::fsx;
use crate::model::{RootKind, TokenString};
use crate::rustc::Invocation;

/// Roots and their places, longest place first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    places: Vec<(RootKind, String)>,
}

impl Roots {
    /// Returns the roots of an invocation, from its arguments and the environment.
    pub fn of(invocation: &Invocation, sysroot: &Path, vars: &Env) -> Self {
        let target = target_dir(&invocation.out_dir, invocation.last("--target"));
        let cargo_home = vars.cargo_home();
        let workspace = workspace_dir(invocation, cargo_home.as_deref());
        Self::new([
            (RootKind::Target, Some(target)),
            (RootKind::Workspace, workspace),
            (RootKind::CargoHome, cargo_home),
            (RootKind::Sysroot, Some(sysroot.to_owned())),
            (RootKind::Home, vars.home()),
            (RootKind::Tmp, Some(vars.path(env::TMPDIR).unwrap_or_else(|| "/tmp".into()))),
        ])
    }

    /// Creates roots at these places. Leaves out places that would match too much (`/`, relative ones). If two roots
    /// have the same place, the first one counts.
    pub fn new(places: impl IntoIterator<Item = (RootKind, Option<PathBuf>)>) -> Self {
        let mut roots = Self::default();
        for (kind, place) in places {
            let Some(place) = place.as_deref().and_then(usable) else { continue };
            if !roots.places.iter().any(|(_, known)| *known == place) {
                roots.places.push((kind, place));
            }
        }
        roots.places.sort_by_key(|(_, place)| std::cmp::Reverse(place.len()));
        roots
    }

    /// The place of `kind` on this machine. `None` if it has none.
    pub fn place(&self, kind: RootKind) -> Option<&str> {
        self.places.iter().find(|(known, _)| *known == kind).map(|(_, place)| place.as_str())
    }

    /// All roots, longest place first.
    pub fn iter(&self) -> impl Iterator<Item = (RootKind, &str)> {
        self.places.iter().map(|(kind, place)| (*kind, place.as_str()))
    }

    /// Replaces every root in the text with its token. A root counts only as whole path components.
    pub fn tokenise(&self, text: &str) -> TokenString {
        if !text.contains('/') {
            return TokenString::literal(text);
        }
        let mut out = TokenString::default();
        let mut done = 0;
        let mut at = 0;
        while let Some(slash) = text[at..].find('/') {
            at += slash;
            let hit = self.places.iter().find(|(_, place)| is_place_at(text, at, place));
            if let Some((kind, place)) = hit {
                out.push_literal(&text[done..at]);
                out.push_root(*kind);
                at += place.len();
                done = at;
            } else {
                at += 1;
            }
        }
        out.push_literal(&text[done..]);
        out
    }

    /// Replaces every token in a text with the place of its root. `None` if a root has no place here.
    pub fn expand(&self, text: &TokenString) -> Option<String> {
        text.expand(|kind| self.place(kind))
    }

    /// Like [`Self::expand`], for a part of a text in its spelling with tokens.
    pub fn expand_spelled(&self, spelled: &str) -> Option<String> {
        TokenString::expand_spelled(spelled, |kind| self.place(kind))
    }
}

fn usable(place: &Path) -> Option<String> {
    let text = place.to_str()?.trim_end_matches('/');
    let broad = !place.is_absolute() || !place.components().any(|part| matches!(part, Component::Normal(_)));
    (!broad).then(|| text.to_owned())
}

/// The flags of compilers, without the first `-`, that are longer than one letter and may come directly before a path.
const FLAGS_BEFORE_PATHS: [&str; 12] = [
    "cxx-isystem",
    "idirafter",
    "iframework",
    "imacros",
    "include",
    "iprefix",
    "iquote",
    "isysroot",
    "isystem",
    "iwithprefix",
    "iwithprefixbefore",
    "iwithsysroot",
];

/// Whether an absolute path may start after `before`: after anything that cannot be in a name, or after a flag of a
/// compiler (`-I/usr/include`). A second slash belongs to a URL (`https://host/`), except in `file://`.
fn is_start(before: &str) -> bool {
    if before.ends_with('/') {
        return before.ends_with("file://");
    }
    let is_free = |text: &str| text.chars().next_back().is_none_or(|last| !is_name_char(last));
    let letter = |text: &str| text.chars().next_back().filter(char::is_ascii_alphabetic).map(char::len_utf8);
    let behind_flag = |length: usize| before[..before.len() - length].strip_suffix('-').is_some_and(is_free);
    let long = FLAGS_BEFORE_PATHS.iter().filter(|flag| before.ends_with(**flag)).map(|flag| flag.len());
    is_free(before) || letter(before).into_iter().chain(long).any(behind_flag)
}

fn is_place_at(text: &str, at: usize, place: &str) -> bool {
    let ends = || text[at + place.len()..].chars().next().is_none_or(|after| !is_name_char(after));
    text[at..].starts_with(place) && ends() && is_start(&text[..at])
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '@' | '~')
}

/// Returns the target directory above an output directory, by cargo's layouts
/// (`cargo/src/cargo/core/compiler/layout.rs`): `<target>[/<triple>]/<profile>/{deps,examples}`, `.../build/<package>`,
/// and the newer `.../build/<package>/<hash>/out`. An output directory of another shape is its own root.
pub fn target_dir(out_dir: &Path, triple: Option<&str>) -> PathBuf {
    let profile = match out_dir.file_name().and_then(|name| name.to_str()) {
        Some("deps" | "examples") => out_dir.parent(),
        _ => out_dir.ancestors().find(|dir| dir.file_name().is_some_and(|name| name == "build")).and_then(Path::parent),
    };
    let Some(above) = profile.and_then(Path::parent) else { return out_dir.to_owned() };
    let triple =
        triple.map(|triple| Path::new(triple).file_stem().filter(|_| has_json(triple)).unwrap_or(triple.as_ref()));
    match above.parent() {
        Some(target) if triple.is_some() && above.file_name() == triple => target.to_owned(),
        _ => above.to_owned(),
    }
}

/// Returns the shape of a build from an output directory below `target`: `<triple or host>/<profile's directory>`.
/// `None` for any other directory.
pub fn shape(out_dir: &Path, target: &Path) -> Option<String> {
    let names: Vec<&str> = out_dir.strip_prefix(target).ok()?.iter().map_while(|name| name.to_str()).collect();
    let inner = names.iter().position(|name| matches!(*name, "deps" | "examples" | "build"))?;
    match names[..inner] {
        [profile] => Some(format!("host/{profile}")),
        [triple, profile] => Some(format!("{triple}/{profile}")),
        _ => None,
    }
}

fn has_json(triple: &str) -> bool {
    Path::new(triple).extension().is_some_and(|extension| extension == "json")
}

/// Returns the workspace. cargo starts rustc there for members and names their sources relative to it
/// (`cargo/src/cargo/core/compiler/mod.rs`, `path_args`). It starts other packages in their own directories. A vendored
/// package (its lints are capped, because it is not a path package) belongs to the outermost directory with a lock file
/// above it. A path package elsewhere does not have a workspace: cargo mixes its absolute path into its symbols, so no
/// other checkout can use it.
fn workspace_dir(invocation: &Invocation, cargo_home: Option<&Path>) -> Option<PathBuf> {
    let cwd = &invocation.cwd;
    if Path::new(&invocation.source).is_relative() {
        return Some(cwd.clone());
    }
    if invocation.last("--cap-lints").is_none() || cargo_home.is_some_and(|home| cwd.starts_with(home)) {
        return None;
    }
    let is_root = |dir: &&Path| fsx::exists(&dir.join("Cargo.lock")) && fsx::exists(&dir.join("Cargo.toml"));
    cwd.ancestors().skip(1).filter(is_root).last().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots() -> Roots {
        Roots::new([
            (RootKind::Target, Some("/home/me/ws/target".into())),
            (RootKind::Workspace, Some("/home/me/ws".into())),
            (RootKind::Home, Some("/home/me".into())),
            (RootKind::Tmp, Some("/".into())),
        ])
    }

    #[test]
    fn u31_roots_match_whole_components() {
        let token = |text: &str| roots().tokenise(text).as_str().to_owned();
        assert_eq!(token("/home/me/ws/target/debug"), "{target}/debug");
        assert_eq!(token("/home/me/ws2/x"), "{home}/ws2/x");
        assert_eq!(token("/mnt/home/me/ws"), "/mnt/home/me/ws");
        assert_eq!(token("a=/home/me/ws:/home/me"), "a={workspace}:{home}");
        assert_eq!(token("src/lib.rs"), "src/lib.rs");
        assert_eq!(token("cc -I/home/me/ws -isystem/home/me"), "cc -I{workspace} -isystem{home}");
        assert_eq!(token("a-b/home/me/ws"), "a-b/home/me/ws");
        assert_eq!(token("/usr/{x}"), "/usr/{{x}");
    }

    #[test]
    fn a_short_root_is_not_found_in_addresses_and_relative_paths() {
        let roots = Roots::new([(RootKind::Workspace, Some("/app".into()))]);
        let token = |text: &str| roots.tokenise(text).as_str().to_owned();
        for other in ["https://app/x", "//app", "-Iinclude/app", "-lstdc/app", "my-isystem/app", "--I/app", "a/app"] {
            assert_eq!(token(other), other);
        }
        for (text, expected) in [
            ("file:///app/x", "file://{workspace}/x"),
            ("-I/app -L/app", "-I{workspace} -L{workspace}"),
            ("-include/app/x.h -iquote/app", "-include{workspace}/x.h -iquote{workspace}"),
            ("-cxx-isystem/app", "-cxx-isystem{workspace}"),
            ("--sysroot=/app", "--sysroot={workspace}"),
            ("-Wl,-rpath,/app", "-Wl,-rpath,{workspace}"),
        ] {
            assert_eq!(token(text), expected);
        }
    }

    #[test]
    fn u31_broad_roots_are_refused() {
        assert_eq!(roots().place(RootKind::Tmp), None);
        assert_eq!(roots().tokenise("/usr/lib").as_str(), "/usr/lib");
    }

    #[test]
    fn o07_target_directories_of_every_layout() {
        let of = |dir: &str, triple| target_dir(Path::new(dir), triple);
        assert_eq!(of("/t/debug/deps", None), Path::new("/t"));
        assert_eq!(of("/t/x86_64-unknown-linux-gnu/debug/deps", Some("x86_64-unknown-linux-gnu")), Path::new("/t"));
        assert_eq!(of("/t/debug/deps", Some("x86_64-unknown-linux-gnu")), Path::new("/t"));
        assert_eq!(of("/t/my/release/deps", Some("/ws/my.json")), Path::new("/t"));
        assert_eq!(of("/t/debug/build/pkg-1", None), Path::new("/t"));
        assert_eq!(of("/t/debug/build/pkg/1/out", None), Path::new("/t"));
        assert_eq!(of("/somewhere/out", None), Path::new("/somewhere/out"));
    }

    #[test]
    fn a_shape_is_triple_and_profile() {
        let of = |dir: &str| shape(Path::new(dir), Path::new("/t"));
        assert_eq!(of("/t/debug/deps").unwrap(), "host/debug");
        assert_eq!(of("/t/release/build/pkg-1").unwrap(), "host/release");
        assert_eq!(of("/t/wasm32-unknown-unknown/release/examples").unwrap(), "wasm32-unknown-unknown/release");
        assert_eq!((of("/t"), of("/elsewhere/debug/deps")), (None, None));
    }

    #[test]
    fn expansion_is_the_inverse() {
        let text = "a=/home/me/ws:{/home/me}";
        assert_eq!(roots().expand(&roots().tokenise(text)).unwrap(), text);
    }
}
