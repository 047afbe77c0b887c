//! Finds, reads and edits `build.rustc-wrapper` in cargo's configuration.
//!
//! Edits are pure: they map text to text and keep comments and order. This module does not ask, print or exit.

use std::path::{Path, PathBuf};

use anyhow::Context;
use toml_edit::{DocumentMut, Item, RawString, Table, value};

use crate::config::{Env, env};
use crate::fsx;

const TABLE: &str = "build";
const KEY: &str = "rustc-wrapper";

/// A cargo configuration file.
#[derive(Debug)]
pub(super) struct CargoConfig {
    /// Path of the file; links are resolved if it exists.
    pub(super) path: PathBuf,
    text: Option<String>,
    document: DocumentMut,
}

impl CargoConfig {
    /// Reads the user's file, which need not exist: `$CARGO_HOME/config.toml`, or the old `config` beside it, which
    /// cargo prefers.
    pub(super) fn of_user(vars: &Env) -> anyhow::Result<Self> {
        let home = vars.cargo_home().context("no home directory: set CARGO_HOME or HOME")?;
        let path = existing(&home).unwrap_or_else(|| home.join("config.toml"));
        Self::load(&path)
    }

    /// Reads a file, which need not exist.
    pub(super) fn load(path: &Path) -> anyhow::Result<Self> {
        // Write to the target of a link, so that the link itself (into a dotfiles repository) stays.
        let path = if fsx::exists(path) { fsx::canonicalize(path)? } else { path.to_owned() };
        let text = fsx::optional(fsx::read_to_string(&path))?;
        let parsed = text.as_deref().unwrap_or_default().parse::<DocumentMut>();
        let document = parsed.with_context(|| format!("{} is not valid TOML", path.display()))?;
        Ok(Self { path, text, document })
    }

    /// The value of `build.rustc-wrapper`. `None`: it is not set, or not a string.
    pub(super) fn wrapper(&self) -> Option<&str> {
        self.document.get(TABLE)?.as_table_like()?.get(KEY)?.as_str()
    }

    /// Sets `build.rustc-wrapper`. Fails if `build` is not a table.
    pub(super) fn set_wrapper(&mut self, program: &str) -> anyhow::Result<()> {
        if self.document.get(TABLE).is_none() {
            let mut table = Table::new();
            // Comments at the end of the file stay above the new table.
            let mut before = self.document.trailing().as_str().unwrap_or_default().to_owned();
            if !self.document.is_empty() || !before.is_empty() {
                before.push('\n');
            }
            table.decor_mut().set_prefix(before);
            self.document.set_trailing("");
            self.document.insert(TABLE, Item::Table(table));
        }
        let table = self.document[TABLE].as_table_like_mut();
        let table = table.with_context(|| format!("`{TABLE}` in {} is not a table", self.path.display()))?;
        if let Some(old) = table.get_mut(KEY).and_then(Item::as_value_mut) {
            let decor = old.decor().clone();
            *old = program.into();
            *old.decor_mut() = decor;
        } else {
            table.insert(KEY, value(program));
        }
        Ok(())
    }

    /// Removes `build.rustc-wrapper`, and `[build]` too if nothing else is in it.
    pub(super) fn remove_wrapper(&mut self) {
        let Some(item) = self.document.get_mut(TABLE) else { return };
        let Some(table) = item.as_table_like_mut() else { return };
        table.remove(KEY);
        if !table.is_empty() {
            return;
        }
        let prefix = item.as_table().and_then(|table| table.decor().prefix()).and_then(RawString::as_str);
        let comments = prefix.unwrap_or_default().trim_end().to_owned();
        let is_last = self.document.iter().last().is_some_and(|(name, _)| name == TABLE);
        if !comments.is_empty() && !is_last {
            // The comments are above the header and would be removed with it.
            return;
        }
        self.document.remove(TABLE);
        if !comments.is_empty() {
            let after = self.document.trailing().as_str().unwrap_or_default().to_owned();
            self.document.set_trailing(format!("{comments}\n{after}"));
        }
    }

    /// Whether saving would change the file.
    pub(super) fn is_changed(&self) -> bool {
        self.text.as_deref().unwrap_or_default() != self.document.to_string()
    }

    /// Writes the file atomically and keeps its mode. Removes a file that would be empty.
    pub(super) fn save(&self) -> anyhow::Result<()> {
        let text = self.document.to_string();
        if text.trim().is_empty() {
            return Ok(fsx::remove_file(&self.path)?);
        }
        let mode = fsx::Stamp::of(&self.path).map(|stamp| stamp.mode & 0o7777).ok();
        fsx::Publish { mode, sync: true, ..fsx::Publish::default() }.bytes(&self.path, text.as_bytes())?;
        Ok(())
    }
}

/// The file that cargo reads in `dir`: `config` if it exists, else `config.toml`.
fn existing(dir: &Path) -> Option<PathBuf> {
    ["config", "config.toml"].into_iter().map(|name| dir.join(name)).find(|path| fsx::exists(path))
}

/// Whether a wrapper is a kache, judged by its file name.
pub(super) fn is_kache(wrapper: &str) -> bool {
    Path::new(wrapper).file_stem().is_some_and(|stem| stem == "kache")
}

/// A wrapper, and where it is set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrapper {
    /// The program. Empty: the wrapper is switched off.
    pub(super) program: String,
    /// The variable or the file that sets it.
    pub(super) place: String,
}

/// The wrapper that a variable sets, which overrides every file.
pub(super) fn from_variables(vars: &Env) -> Option<Wrapper> {
    let names = [env::RUSTC_WRAPPER, env::CARGO_BUILD_RUSTC_WRAPPER];
    names.into_iter().find_map(|name| {
        let value = vars.get(name)?.to_string_lossy().into_owned();
        Some(Wrapper { program: value, place: name.to_owned() })
    })
}

/// The wrapper that cargo uses for a build in `dir`: from a variable, else from the files in `dir` and above, else from
/// the user's file.
pub(super) fn in_force(vars: &Env, dir: &Path) -> anyhow::Result<Option<Wrapper>> {
    if let Some(wrapper) = from_variables(vars) {
        return Ok(Some(wrapper));
    }
    let project = dir.ancestors().filter_map(|dir| existing(&dir.join(".cargo")));
    let user = vars.cargo_home().and_then(|home| existing(&home));
    for path in project.chain(user) {
        let config = CargoConfig::load(&path)?;
        if let Some(program) = config.wrapper() {
            return Ok(Some(Wrapper { program: program.to_owned(), place: path.display().to_string() }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> CargoConfig {
        CargoConfig { path: "config.toml".into(), text: Some(text.into()), document: text.parse().unwrap() }
    }

    fn set(text: &str) -> String {
        let mut config = config(text);
        config.set_wrapper("/bin/kache").unwrap();
        config.document.to_string()
    }

    fn undone(text: &str) -> String {
        let mut config = config(text);
        config.remove_wrapper();
        config.document.to_string()
    }

    const LINE: &str = "rustc-wrapper = \"/bin/kache\"\n";

    #[test]
    fn what_was_set_is_undone_to_the_byte() {
        for text in [
            "",
            "# only a comment\n",
            "# top\n[net]\nretry = 3 # thrice\n\n# end\n",
            "[build]\njobs = 2\n\n[net]\nretry = 3\n",
            "build.jobs = 2\n",
            "build = { jobs = 2 }\n",
        ] {
            let changed = set(text);
            assert_eq!(config(&changed).wrapper(), Some("/bin/kache"), "{text}");
            assert_eq!(set(&changed), changed, "{text}");
            assert_eq!(undone(&changed), text);
        }
    }

    #[test]
    fn comments_and_order_stay() {
        assert_eq!(set("# mine\n"), format!("# mine\n\n[build]\n{LINE}"));
        assert_eq!(set("[net]\nretry = 3\n# end\n"), format!("[net]\nretry = 3\n# end\n\n[build]\n{LINE}"));
        assert_eq!(set("[build] # b\n# j\njobs = 2\n"), format!("[build] # b\n# j\njobs = 2\n{LINE}"));
        let other = "[build]\nrustc-wrapper = 'sccache' # fast\n";
        assert_eq!(set(other), "[build]\nrustc-wrapper = \"/bin/kache\" # fast\n");
    }

    #[test]
    fn a_header_with_comments_above_it_stays() {
        let text = format!("# why\n[build]\n{LINE}\n[net]\nretry = 3\n");
        assert_eq!(undone(&text), "# why\n[build]\n\n[net]\nretry = 3\n");
    }

    #[test]
    fn other_programs_are_not_kache() {
        assert!(is_kache("/home/x/.cargo/bin/kache") && is_kache("kache"));
        assert!(!is_kache("/usr/bin/sccache") && !is_kache(""));
    }

    #[test]
    fn variables_win_and_may_be_empty() {
        let vars = Env::of([(env::RUSTC_WRAPPER, ""), (env::CARGO_BUILD_RUSTC_WRAPPER, "x")]);
        assert_eq!(from_variables(&vars).unwrap().program, "");
        assert_eq!(from_variables(&Env::of([("A", "b")])), None);
    }
}
