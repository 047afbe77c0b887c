//! `.kache.toml`: the inputs that a project declares for its crates, and its name in build records.
//!
//! ```toml
//! [inputs.my-crate]            # a crate or package; "*" is every one
//! files = ["schema.sql", "assets/**/*.json"]
//! env = ["BUILD_FLAVOUR"]
//!
//! [workspace]
//! name = "my-project"          # what build records call it, instead of its git remote
//! ```
//!
//! Only the nearest file at or above a package counts. Unlike the settings file, it is never ignored, in whole or in
//! part: a key that is unknown to this kache may name an input.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::ConfigError;
use super::{Env, env};
use crate::fsx;

/// The name of a project file.
pub const FILE_NAME: &str = ".kache.toml";

/// The section that applies to every crate.
const ALL_CRATES: &str = "*";

/// A project file, the nearest one at or above a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Path of the file.
    pub path: PathBuf,
    /// The sections, by crate, package or `*`.
    pub inputs: BTreeMap<String, Inputs>,
    /// What build records call the workspace, if the file says so.
    pub workspace: Option<String>,
}

/// The inputs that are declared for a crate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Inputs {
    /// Paths and globs, relative to the directory of the file.
    pub files: Vec<String>,
    /// Names of environment variables.
    pub env: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
struct ProjectFile {
    inputs: BTreeMap<String, Inputs>,
    workspace: WorkspaceSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
struct WorkspaceSection {
    name: Option<String>,
}

impl Project {
    /// The project file that applies to a package in `dir`. Packages below cargo's home do not have one.
    pub fn of_package(dir: &Path, vars: &Env) -> Result<Option<Self>, ConfigError> {
        let is_foreign = vars.cargo_home().is_some_and(|home| dir.starts_with(home));
        if is_foreign { Ok(None) } else { Self::find(dir) }
    }

    /// The nearest project file at or above `start`. A file that cannot be read is an error.
    pub fn find(start: &Path) -> Result<Option<Self>, ConfigError> {
        for dir in start.ancestors() {
            let path = dir.join(FILE_NAME);
            if let Some(bytes) = fsx::read_if_exists(&path)? {
                return Self::parse(path, bytes).map(Some);
            }
        }
        Ok(None)
    }

    fn parse(path: PathBuf, bytes: Vec<u8>) -> Result<Self, ConfigError> {
        let malformed = |reason: String| ConfigError::Malformed { path: path.clone(), reason };
        let text = String::from_utf8(bytes).map_err(|error| malformed(error.to_string()))?;
        let file: ProjectFile = toml::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        for (section, inputs) in &file.inputs {
            inputs.check().map_err(|reason| malformed(format!("inputs.{section}: {reason}")))?;
        }
        let workspace = file.workspace.name;
        let is_name = |name: &String| (1..=100).contains(&name.len()) && !name.chars().any(char::is_control);
        if !workspace.as_ref().is_none_or(is_name) {
            return Err(malformed("workspace.name: expected 1 to 100 bytes".to_owned()));
        }
        Ok(Self { path, inputs: file.inputs, workspace })
    }

    /// The directory that paths in the file are relative to.
    pub fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// The inputs declared for this crate, from all sections that match it or its package, sorted.
    pub fn inputs_of(&self, crate_name: &str, vars: &Env) -> Inputs {
        let package = vars.text(env::CARGO_PKG_NAME);
        let names_it = |section: &str| {
            section == ALL_CRATES || package.as_deref() == Some(section) || section.replace('-', "_") == crate_name
        };
        let mut all = Inputs::default();
        for (_, inputs) in self.inputs.iter().filter(|(section, _)| names_it(section)) {
            all.files.extend(inputs.files.iter().cloned());
            all.env.extend(inputs.env.iter().cloned());
        }
        for list in [&mut all.files, &mut all.env] {
            list.sort();
            list.dedup();
        }
        all
    }
}

impl Inputs {
    /// Whether the lists are empty.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.env.is_empty()
    }

    fn check(&self) -> Result<(), String> {
        self.files.iter().try_for_each(|file| check_file(file))?;
        let is_bad = |name: &&String| name.is_empty() || name.contains(['=', '\0']);
        match self.env.iter().find(is_bad) {
            Some(name) => Err(format!("`{name}` is not the name of a variable")),
            None => Ok(()),
        }
    }
}

/// Whether a part of a path is a glob pattern.
pub fn is_pattern(part: &str) -> bool {
    part.contains(['*', '?', '['])
}

fn check_file(file: &str) -> Result<(), String> {
    if file.is_empty() || file.ends_with('/') || file.contains('\0') {
        return Err(format!("`{file}` is not the path of a file"));
    }
    for part in file.split('/').filter(|part| is_pattern(part)) {
        glob::Pattern::new(part).map_err(|error| format!("`{file}`: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Project, String> {
        Project::parse("/w/.kache.toml".into(), text.into()).map_err(|error| error.to_string())
    }

    fn package(name: &str) -> Env {
        Env::of([(env::CARGO_PKG_NAME, name), (env::CARGO_HOME, "/home/x/.cargo")])
    }

    #[test]
    fn u04_sections_name_crates_packages_or_all() {
        let file = "[inputs.my-lib]\nfiles = [\"b\", \"a\"]\n[inputs.\"*\"]\nenv = [\"E\"]\nfiles = [\"a\"]\n";
        let project = parse(file).unwrap();
        let of = |krate: &str, name: &str| project.inputs_of(krate, &package(name));
        let (files, env) = (vec!["a".to_owned(), "b".to_owned()], vec!["E".to_owned()]);
        assert_eq!(of("my_lib", "other"), Inputs { files: files.clone(), env: env.clone() });
        assert_eq!(of("build_script_build", "my-lib"), Inputs { files, env: env.clone() });
        assert_eq!(of("my", "lib"), Inputs { files: vec!["a".into()], env });
        assert!(parse("[inputs.a]\nfiles = [\"x\"]").unwrap().inputs_of("b", &package("b")).is_empty());
        assert!(parse("").unwrap().inputs_of("b", &package("b")).is_empty());
    }

    #[test]
    fn u04_what_is_not_understood_is_refused() {
        for text in [
            "[inputs",
            "[input.a]",
            "[inputs]\nfiles = [\"x\"]",
            "[inputs.a]\nfile = [\"x\"]",
            "[inputs.a]\nfiles = \"x\"",
            "[inputs.a]\nfiles = [\"\"]",
            "[inputs.a]\nfiles = [\"dir/\"]",
            "[inputs.a]\nfiles = [\"a[\"]",
            "[inputs.a]\nfiles = [\"a**/b\"]",
            "[inputs.a]\nenv = [\"A=b\"]",
            "[inputs.a]\nenv = [\"\"]",
        ] {
            assert!(parse(text).unwrap_err().contains("/w/.kache.toml"), "{text}");
        }
    }

    #[test]
    fn u04_the_nearest_file_upward_counts() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        fsx::create_dir_all(&deep).unwrap();
        let write = |at: &Path| fsx::Publish::default().bytes(&at.join(FILE_NAME), b"").unwrap();
        write(dir.path());
        let found = |start: &Path| Project::find(start).unwrap().unwrap().dir().to_owned();
        assert_eq!(found(&deep), dir.path());
        write(&dir.path().join("a"));
        assert_eq!(found(&deep), dir.path().join("a"));
        let home = Env::of([(env::CARGO_HOME, dir.path().join("a").to_str().unwrap())]);
        assert_eq!(Project::of_package(&deep, &home).unwrap(), None);
        fsx::create_dir_all(&deep.join(FILE_NAME)).unwrap();
        assert!(Project::find(&deep).is_err(), "what cannot be read is not passed over");
    }
}
