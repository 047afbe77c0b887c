//! Inputs that the user declares for a crate in `.kache.toml`, because kache cannot observe them.
//!
//! They count as if the crate read them: the contents of files, the set of files that match a glob, and the values of
//! variables are part of the lookup key. Cargo reads its inputs from the `.d` file alone, so kache adds the declared
//! ones there, on a miss and on a hit alike. It also adds the project file, and the directories in which more files
//! could appear, as far as cargo can watch them. The entry holds the `.d` file as rustc wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::globs::{self, GlobMatches};
use super::scan::Scan;
use super::start_snapshot::may_be_newer;
use super::{Context, KeyHasher, NotStored};
use crate::config::project::FILE_NAME;
use crate::config::{Project, env};
use crate::fsx::clock::Time;
use crate::fsx::{self, Stamp, stamp};
use crate::model::{BypassReason, DepInfo, Digest, Refusal, RootKind, Stored, TokenString};
use crate::rustc::dep_info;

/// The declared inputs of one unit, as they were when the key was made.
#[derive(Debug, PartialEq, Eq)]
pub struct Declared {
    crate_name: String,
    /// The files, by their spelling in the `.d` file. `None` means absent.
    files: BTreeMap<String, (PathBuf, Option<Digest>)>,
    /// The variables. `None` means unset.
    env: Vec<(String, Option<String>)>,
    /// The directories in which more declared files could appear.
    dirs: BTreeSet<PathBuf>,
    /// The additions to rustc's dep-info.
    dep_info_additions: DepInfo<String>,
}

impl Declared {
    /// Reads the declared inputs of the unit of this crate. `None` if there are none.
    pub fn read(crate_name: &str, context: Context<'_>) -> Result<Option<Self>, Refusal> {
        let (vars, cwd) = (context.env, context.cwd);
        let package = vars.path(env::CARGO_MANIFEST_DIR).map_or_else(|| cwd.to_owned(), |dir| cwd.join(dir));
        let refuse = |detail: String| Refusal::new(BypassReason::ProjectFile, detail);
        let project = Project::of_package(&package, vars).map_err(|error| refuse(error.to_string()))?;
        let Some(project) = project else { return Ok(None) };
        let inputs = project.inputs_of(crate_name, vars);
        if inputs.is_empty() {
            return Ok(None);
        }
        let target = Path::new(context.roots.place(RootKind::Target).unwrap_or("/"));
        let mut found = GlobMatches::default();
        for spec in &inputs.files {
            globs::find(spec, project.dir(), target, &mut found).map_err(refuse)?;
        }
        let speller = Speller::new(cwd, project.dir());
        let mut files = BTreeMap::new();
        for path in std::mem::take(&mut found.files) {
            let content = fsx::optional(context.stamps.content(&path)).map_err(|error| refuse(error.to_string()))?;
            files.insert(speller.spell(&path).map_err(refuse)?, (path, content.map(|content| content.digest)));
        }
        let mut values = Vec::with_capacity(inputs.env.len());
        for name in inputs.env {
            let value = vars.get(&name).map(std::ffi::OsString::into_string).transpose();
            values.push((name.clone(), value.map_err(|_| refuse(format!("{name} is not UTF-8")))?));
        }
        let others = [&[project.path.as_path()], found.watchable(&[cwd, target]).as_slice()].concat();
        let dep_info_additions = dep_info_additions(&files, &others, &values, &speller).map_err(refuse)?;
        Ok(Some(Self { crate_name: crate_name.to_owned(), files, env: values, dirs: found.dirs, dep_info_additions }))
    }

    /// Adds all declared inputs to a key.
    pub(super) fn add_to(&self, key: &mut KeyHasher, context: Context<'_>) {
        for (spelled, (_, digest)) in &self.files {
            let name = context.roots.tokenise(spelled);
            match digest {
                Some(digest) => key.digest("declared file", name.as_str(), *digest),
                None => key.field("declared file is absent", name.as_str()),
            }
        }
        for (name, value) in &self.env {
            let value = value.as_ref().map(|value| context.roots.tokenise(value));
            key.optional(&format!("env {name}"), value.as_ref().map(TokenString::as_str));
        }
    }

    /// Whether the variable is declared.
    pub fn names(&self, variable: &str) -> bool {
        self.env.iter().any(|(name, _)| name == variable)
    }

    /// Checks that the declared inputs are as they were when the key was made.
    pub fn still_holds(&self, context: Context<'_>) -> Result<(), NotStored> {
        let changed = |detail: String| NotStored(Stored::InputChanged, detail);
        let now = Self::read(&self.crate_name, context).map_err(|refusal| changed(refusal.detail))?;
        let now = now.ok_or_else(|| changed(FILE_NAME.into()))?;
        let differs = now.files.iter().find(|(spelled, file)| self.files.get(*spelled) != Some(*file));
        match differs {
            Some((_, (path, _))) => Err(NotStored::changed(path)),
            None if now != *self => Err(changed(FILE_NAME.into())),
            None => Ok(()),
        }
    }

    /// Like [`Self::still_holds`], but also checks that no declared file or directory was touched since `start`: a
    /// change that was undone counts, too.
    pub fn recheck(&self, context: Context<'_>, start: Time) -> Result<(), NotStored> {
        self.still_holds(context)?;
        let present = self.files.values().filter(|(_, digest)| digest.is_some()).map(|(path, _)| path);
        for path in present.chain(&self.dirs) {
            let ctime = Stamp::of(path).map_err(|_| NotStored::changed(path))?.ctime;
            if may_be_newer(ctime, start, || stamp::is_on_network(path)) {
                return Err(NotStored::changed(path));
            }
        }
        Ok(())
    }

    /// Pins the roots in the values of declared variables, because any part of such a value may be in the outputs in
    /// any form.
    pub fn pin(&self, context: Context<'_>, scan: &mut Scan<'_>) {
        for value in self.env.iter().filter_map(|(_, value)| value.as_ref()) {
            context.roots.tokenise(value).roots().iter().for_each(|kind| scan.pin(*kind));
        }
    }

    /// Adds the declared inputs to the text of a `.d` file. `None` if the text is not in the form that rustc writes.
    pub fn extend(&self, text: &str) -> Option<String> {
        let mut info = dep_info::parse(text)?;
        let new_files: Vec<_> =
            self.dep_info_additions.files.iter().filter(|file| !info.files.contains(file)).cloned().collect();
        let is_known = |name: &str| info.env.iter().any(|(known, _)| known == name);
        let new_env: Vec<_> = self.dep_info_additions.env.iter().filter(|(name, _)| !is_known(name)).cloned().collect();
        info.files.extend(new_files);
        info.env.extend(new_env);
        Some(dep_info::render(&info))
    }
}

/// Collects the additions for cargo: the variables, the files that exist (with an absent one a unit would never be
/// fresh), and `others`. Fails if a `.d` file cannot hold one of them.
fn dep_info_additions(
    files: &BTreeMap<String, (PathBuf, Option<Digest>)>,
    others: &[&Path],
    values: &[(String, Option<String>)],
    speller: &Speller<'_>,
) -> Result<DepInfo<String>, String> {
    let present = files.iter().filter(|(_, (_, digest))| digest.is_some());
    let mut additions = DepInfo { targets: vec!["x".to_owned()], files: Vec::new(), env: values.to_vec() };
    additions.files.extend(present.map(|(spelled, _)| spelled.clone()));
    for path in others {
        additions.files.push(speller.spell(path)?);
    }
    let is_readable = dep_info::parse(&dep_info::render(&additions)).as_ref() == Some(&additions);
    if is_readable { Ok(additions) } else { Err("a name that a .d file cannot hold".into()) }
}

/// Spells paths as rustc would in this working directory: relative if they are below it, and with `..` if both are in
/// the project, so that every checkout spells them the same.
struct Speller<'a> {
    cwd: &'a Path,
    project: &'a Path,
    /// Whether `..` leads to the directory that the spelling shows: the working directory is not behind a link.
    is_real: bool,
}

impl<'a> Speller<'a> {
    fn new(cwd: &'a Path, project: &'a Path) -> Self {
        Self { cwd, project, is_real: fsx::canonicalize(cwd).is_ok_and(|real| real == cwd) }
    }

    fn spell(&self, path: &Path) -> Result<String, String> {
        let below = self.cwd.strip_prefix(self.project).ok().filter(|_| self.is_real);
        let spelled = match (path.strip_prefix(self.cwd), below, path.strip_prefix(self.project)) {
            (Ok(rest), ..) if rest == Path::new("") => PathBuf::from("."),
            (Ok(rest), ..) => rest.to_owned(),
            (_, Some(below), Ok(rest)) => below.components().map(|_| "..").collect::<PathBuf>().join(rest),
            _ => path.to_owned(),
        };
        // `x/..` joined with an empty path ends in a slash.
        let spelled: PathBuf = spelled.components().collect();
        spelled.into_os_string().into_string().map_err(|path| format!("{} is not UTF-8", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u04_paths_are_spelled_as_in_every_checkout() {
        let speller = |project: &'static str, is_real| Speller {
            cwd: Path::new("/home/me/repo/ws"),
            project: Path::new(project),
            is_real,
        };
        let above = speller("/home/me/repo", true);
        let spell = |speller: &Speller<'_>, path: &str| speller.spell(Path::new(path)).unwrap();
        assert_eq!(spell(&above, "/home/me/repo/ws/a/b"), "a/b");
        assert_eq!(spell(&above, "/home/me/repo/ws"), ".");
        assert_eq!(spell(&above, "/home/me/repo/x"), "../x");
        assert_eq!(spell(&above, "/home/me/repo"), "..");
        assert_eq!(spell(&above, "/home/me/x"), "/home/me/x", "not of the project");
        assert_eq!(spell(&speller("/home/me/repo", false), "/home/me/repo/x"), "/home/me/repo/x", "behind a link");
        assert_eq!(spell(&speller("/home/me/repo/ws/member", true), "/home/me/repo/ws/member/x"), "member/x");
        assert_eq!(spell(&speller("/elsewhere", true), "/elsewhere/x"), "/elsewhere/x");
    }

    #[test]
    fn u04_a_dep_info_file_is_extended_as_rustc_would_have_written_it() {
        let env = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        let dep_info_additions = DepInfo {
            targets: vec!["x".into()],
            files: vec!["src/lib.rs".into(), "a b.sql".into(), "assets".into()],
            env: vec![env("A", Some("1")), env("B", None)],
        };
        let crate_name = "a".to_owned();
        let declared =
            Declared { crate_name, files: BTreeMap::new(), env: Vec::new(), dirs: BTreeSet::new(), dep_info_additions };
        let plain = "/t/x.d: src/lib.rs\n\nsrc/lib.rs:\n\n# env-dep:A=1\n";
        let extended = declared.extend(plain).unwrap();
        assert_eq!(
            extended,
            "/t/x.d: src/lib.rs a\\ b.sql assets\n\nsrc/lib.rs:\na\\ b.sql:\nassets:\n\n# env-dep:A=1\n# env-dep:B\n"
        );
        assert_eq!(declared.extend(&extended).unwrap(), extended, "twice is once");
        assert_eq!(declared.extend("x: y\n"), None);
    }
}
