//! A name for rustc's working directory that is the same in every checkout.
//!
//! An incremental session is of use to another checkout only if rustc's tracked options are the same there: its working
//! directory, `--remap-path-prefix` and, because every codegen unit depends on it, `--out-dir`
//! (`rustc_session::options`). The observer answers rustc's `getcwd` with [`ALIAS`]. kache spells `--out-dir` with it,
//! and writes the real directory into everything that rustc prints. Paths in outputs do not change, because the remap
//! turns both names into `.`.

use std::ffi::OsString;
use std::path::Path;

use super::notices::json_escaped;

/// The alias. It leads to the working directory of whichever process uses it. A source has no reason to contain it, so
/// it can be replaced wherever it occurs. `preload/observer.h` has the same text.
pub const ALIAS: &str = "/proc/self/task/../cwd";

/// Returns a path below `cwd`, spelled with the alias. `None` if it is not below `cwd`.
pub fn aliased_path(path: &Path, cwd: &Path) -> Option<String> {
    let below = path.strip_prefix(cwd).ok()?.to_str()?;
    Some(format!("{ALIAS}/{below}"))
}

/// Returns the arguments with `--out-dir`, and the directories of `-L` (on which linked outputs depend), spelled with
/// the alias instead of `cwd`. `None` if `--out-dir` is in an argument file, occurs twice, or names a directory
/// elsewhere.
pub fn aliased_args(argv: &[OsString], cwd: &Path) -> Option<Vec<OsString>> {
    let mut args = argv.to_vec();
    let at = args.iter().position(|arg| arg == "--out-dir")? + 1;
    let dir = args.get_mut(at)?;
    *dir = aliased_path(&cwd.join(&*dir), cwd)?.into();
    for at in 0..args.len() {
        let search = match args[at].to_str() {
            Some("-L") => args.get(at + 1).and_then(|value| Some((at + 1, aliased_search("", value.to_str()?, cwd)?))),
            Some(arg) => arg.strip_prefix("-L").and_then(|value| Some((at, aliased_search("-L", value, cwd)?))),
            None => None,
        };
        if let Some((at, aliased)) = search {
            args[at] = aliased.into();
        }
    }
    (!args[at..].iter().any(|arg| arg == "--out-dir")).then_some(args)
}

/// Returns the value of `-L` after `flag`, spelled with the alias. `None` if its directory is elsewhere.
fn aliased_search(flag: &str, value: &str, cwd: &Path) -> Option<String> {
    let (kind, dir) = value.split_once('=').map_or(("", value), |(kind, dir)| (kind, dir));
    let equals = if kind.is_empty() { "" } else { "=" };
    Some(format!("{flag}{kind}{equals}{}", aliased_path(Path::new(dir), cwd)?))
}

/// The replacement of the alias with the name of a working directory, in rustc's messages and dep-info.
#[derive(Clone, Debug)]
pub struct Unalias {
    plain: String,
    escaped: String,
}

impl Unalias {
    /// Creates the replacement with this working directory.
    pub fn to(cwd: &str) -> Self {
        Self { plain: cwd.to_owned(), escaped: json_escaped(cwd) }
    }

    /// Returns the text with the name of the directory, as rustc would have written it.
    pub fn text(&self, text: &str) -> String {
        text.replace(ALIAS, &self.plain)
    }

    /// Does the same for one line on rustc's stderr: JSON, or plain text about a crash.
    pub fn line(&self, line: &[u8]) -> Vec<u8> {
        let to = if line.starts_with(b"{") { &self.escaped } else { &self.plain };
        let mut out = Vec::with_capacity(line.len());
        let mut rest = line;
        while let Some(at) = memchr::memmem::find(rest, ALIAS.as_bytes()) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(to.as_bytes());
            rest = &rest[at + ALIAS.len()..];
        }
        out.extend_from_slice(rest);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_output_directory_gets_the_alias_where_it_is_below() {
        let cwd = Path::new("/home/me/ws");
        let all =
            "--out-dir /home/me/ws/target/debug -L /home/me/ws/x -L dependency=/home/me/ws/deps -Lnative=/usr/lib";
        let with = "--out-dir ALIAS/target/debug -L ALIAS/x -L dependency=ALIAS/deps -Lnative=/usr/lib";
        assert_eq!(aliased_args(&args(all), cwd).unwrap(), args(&with.replace("ALIAS", ALIAS)));
        for other in ["--out-dir /home/me/ws2/target", "--out-dir", "@args", "--out-dir target --out-dir target"] {
            assert_eq!(aliased_args(&args(other), cwd), None, "{other}");
        }
    }

    #[test]
    fn what_rustc_says_names_the_directory() {
        let to = Unalias::to("/a \"b\"");
        assert_eq!(to.line(b"{\"x\":\"/proc/self/task/../cwd/y\"}"), b"{\"x\":\"/a \\\"b\\\"/y\"}");
        assert_eq!(to.line(b"at /proc/self/task/../cwd."), b"at /a \"b\".");
        assert_eq!(to.line(b"/proc/self/cwd"), b"/proc/self/cwd");
        assert_eq!(to.text("/proc/self/task/../cwd/t: a b"), "/a \"b\"/t: a b");
    }
}
