//! The checkout of a workspace, as build records name it: which workspace it is for all machines, its branch, lock file
//! and commits.
//!
//! `push`, `pull` and the agent read it on demand. They run git as a program, which may be missing. All of it only
//! helps to find build records: every entry that a record names is checked like any other.

use std::path::Path;
use std::process::{Command, Stdio};

use super::workspace::Workspace;
use crate::config::{Env, Project, env};
use crate::fsx;
use crate::model::Digest;
use crate::remote::format::signature::SigningKey;

/// Most commits to read from the history of the branch.
const MAX_ANCESTORS: usize = 256;
/// Tables of a manifest that list dependencies.
const DEPENDENCIES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
/// Branches that count as the default one if nothing says which it is, the likeliest first.
const USUAL_DEFAULTS: [&str; 2] = ["main", "master"];

/// A checkout of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Checkout {
    /// The workspace, which all its checkouts name alike.
    pub workspace: String,
    /// The branch; empty if none is checked out.
    pub branch: String,
    /// The branches that others start from, the likeliest first.
    pub defaults: Vec<String>,
    /// Digest of `Cargo.lock`; `None` if it does not exist yet.
    pub lock: Option<Digest>,
    /// The checked-out commit and its ancestors, newest first, as hexadecimal digits. Empty: no repository, or no git.
    pub commits: Vec<String>,
}

impl Checkout {
    /// Reads the checkout of `workspace`. The variables of CI services win over git, because CI checks out commits
    /// without a branch.
    pub fn of(workspace: &Workspace, vars: &Env) -> Self {
        let git = |args: &[&str]| git(&workspace.root, vars, args);
        let first = |args: &[&str]| git(args).into_iter().next().unwrap_or_default();
        let named = || Project::find(&workspace.root).ok().flatten().and_then(|project| project.workspace);
        let by_remote = || {
            let repository = normalized(&first(&["config", "--get", "remote.origin.url"]))?;
            Some(spell(&repository, first(&["rev-parse", "--show-prefix"]).trim_end_matches('/')))
        };
        let variable = |names: &[&str]| names.iter().find_map(|name| vars.text(name).filter(|value| !value.is_empty()));
        let branch =
            variable(&env::CI_BRANCHES).unwrap_or_else(|| first(&["symbolic-ref", "--quiet", "--short", "HEAD"]));
        let remote_head = first(&["symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD"]);
        let remote_head = remote_head.strip_prefix("origin/").map(str::to_owned);
        let is_id = |line: &String| line.len() >= 40 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut commits = git(&["rev-list", "--max-count", &MAX_ANCESTORS.to_string(), "HEAD"]);
        commits.retain(is_id);
        Self {
            workspace: named().or_else(by_remote).unwrap_or_else(|| by_content(workspace)),
            branch,
            defaults: defaults(variable(&env::CI_DEFAULT_BRANCHES).or(remote_head)),
            lock: workspace.lock,
            commits,
        }
    }

    /// The checked-out commit.
    pub fn commit(&self) -> Option<&str> {
        self.commits.first().map(String::as_str)
    }

    /// Whether the checked-out branch is one that others start from.
    pub fn is_default(&self, branch: &str) -> bool {
        self.defaults.iter().any(|default| default == branch)
    }
}

fn defaults(known: Option<String>) -> Vec<String> {
    match known {
        Some(branch) => vec![branch],
        None => USUAL_DEFAULTS.map(str::to_owned).into(),
    }
}

/// Runs git and returns the lines of its output.
fn git(dir: &Path, vars: &Env, args: &[&str]) -> Vec<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(args).stdin(Stdio::null()).stderr(Stdio::null());
    for name in env::SECRET_VARIABLES.iter().chain(&env::GIT_DIRECTORY_VARIABLES) {
        command.env_remove(name);
    }
    // `push --sign-with env:NAME`. The settings of a repository may name programs that git runs.
    for (name, _) in vars.texts().iter().filter(|(_, value)| SigningKey::is_secret_key(value)) {
        command.env_remove(name);
    }
    command.env(env::GIT_NO_LAZY_FETCH, "1");
    match command.output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim().to_owned()).collect()
        }
        _ => Vec::new(),
    }
}

/// The repository and the directory in it, its last part first, so that people recognise the start of it.
fn spell(repository: &str, dir: &str) -> String {
    let full = if dir.is_empty() { repository.to_owned() } else { format!("{repository}/{dir}") };
    let last = full.rsplit('/').next().unwrap_or_default().to_owned();
    let mut spelled = format!("{last}@{full}");
    spelled.retain(|c| !c.is_control());
    spelled
}

/// The URL of a git remote without what differs between clones of it: scheme, credentials, port, `.git`. `None`: a path
/// on this machine, or no URL.
fn normalized(url: &str) -> Option<String> {
    let url = url.trim();
    let (authority, path) = match url.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => rest.split_once('/')?,
        // The short form of ssh: `user@host:path`. A path with a colon after a slash is none.
        None => url.split_once(':').filter(|(host, _)| !host.contains('/'))?,
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    (!host.is_empty() && !path.is_empty()).then(|| format!("{host}/{path}"))
}

/// A name made of what the manifest of the workspace says of it, for workspaces without a git remote. The lock file may
/// not exist yet, and versions change.
fn by_content(workspace: &Workspace) -> String {
    let manifest = fsx::read_to_string(&workspace.root.join("Cargo.toml")).unwrap_or_default();
    let manifest: toml::Table = manifest.parse().unwrap_or_default();
    let field = |table: &str, name: &str| Some(manifest.get(table)?.get(name)?.to_string());
    let package = ["name", "authors", "repository", "homepage", "description"].map(|name| field("package", name));
    let members = field("workspace", "members");
    let of_all = field("workspace", "package");
    let mut local: Vec<&String> = DEPENDENCIES
        .iter()
        .filter_map(|table| manifest.get(*table)?.as_table())
        .flatten()
        .filter(|(_, dependency)| dependency.get("path").is_some())
        .map(|(name, _)| name)
        .collect();
    local.sort_unstable();
    let digest = Digest::of(format!("{package:?} {members:?} {of_all:?} {local:?}").as_bytes());
    let name = field("package", "name").or(members).unwrap_or_default();
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(40).collect();
    format!("{name}@{}", digest.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_one_repository_have_one_name() {
        let expected = Some("github.com/org/app".to_owned());
        for url in [
            "https://github.com/org/app.git",
            "https://github.com/org/app/",
            "https://user:token@GitHub.com/org/app",
            "git@github.com:org/app.git",
            "ssh://git@github.com:22/org/app.git",
            "git://github.com/org/app",
        ] {
            assert_eq!(normalized(url), expected, "{url}");
        }
        for other in ["https://github.com/org/other", "https://gitlab.com/org/app", "git@github.com:fork/app"] {
            assert_ne!(normalized(other), expected, "{other}");
        }
        for none in ["", "/srv/git/app.git", "file:///srv/app", "../app", "./a:b", "https://host"] {
            assert_eq!(normalized(none), None, "{none}");
        }
        assert_eq!(spell("github.com/org/app", ""), "app@github.com/org/app");
        assert_eq!(spell("github.com/org/app", "tools/x"), "x@github.com/org/app/tools/x");
    }

    #[test]
    fn equal_names_with_other_content_are_told_apart() {
        let temp = tempfile::tempdir().unwrap();
        let of = |dir: &str, dependency: &str, description: &str| {
            let root = temp.path().join(dir);
            let manifest = format!(
                "[package]\nname = \"app\"\ndescription = \"{description}\"\n[dependencies]\n{dependency} = \
                 {{ path = \"x\" }}\nserde = \"{}\"\n",
                dir.len()
            );
            fsx::Publish::default().bytes(&root.join("Cargo.toml"), manifest.as_bytes()).unwrap();
            Checkout::of(&Workspace::around(&root).unwrap(), &Env::of([("", ""); 0]))
        };
        let one = of("one", "lib", "x");
        assert_eq!(one.workspace, of("again", "lib", "x").workspace);
        assert_ne!(one.workspace, of("two", "other", "x").workspace);
        assert_ne!(one.workspace, of("three", "lib", "y").workspace);
        assert_eq!((one.commit(), one.branch.as_str()), (None, ""));
        assert!(one.is_default("main") && !one.is_default("x"));
    }
}
