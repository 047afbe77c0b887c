//! Cargo's configuration files, as far as kache compares them: settings such as linkers and `[env]` decide how cargo
//! calls programs, and are in no fingerprint.

use std::path::Path;

use crate::fsx;
use crate::model::Digest;

/// The configuration files that hold for a directory.
#[derive(Debug)]
pub struct Configuration {
    texts: Vec<String>,
}

impl Configuration {
    /// Reads the files in `dir` and the directories above it, then that of cargo's home.
    pub fn of(dir: &Path, cargo_home: Option<&Path>) -> Self {
        let above = dir.ancestors().map(|dir| dir.join(".cargo"));
        let dirs = above.chain(cargo_home.map(Path::to_owned));
        // Cargo prefers the older name if both exist.
        let read = |dir: std::path::PathBuf| {
            ["config", "config.toml"].iter().find_map(|name| fsx::read_to_string(&dir.join(name)).ok())
        };
        Self { texts: dirs.filter_map(read).collect() }
    }

    /// Returns a digest of all settings. `None` if a file includes others, which are not read here.
    pub fn digest(&self) -> Option<Digest> {
        let includes = self.tables().any(|table| table.is_none_or(|table| table.contains_key("include")));
        (!includes).then(|| Digest::of(self.texts.join("\0").as_bytes()))
    }

    /// Returns whether a file may set the target directory or the build directory.
    pub fn sets_directories(&self) -> bool {
        self.texts.iter().any(|text| ["target-dir", "build-dir", "include"].iter().any(|name| text.contains(name)))
    }

    /// Returns whether a file sets variables.
    pub fn sets_variables(&self) -> bool {
        self.tables().any(|table| table.is_none_or(|table| table.contains_key("env")))
    }

    /// Returns the words of an alias: those of the nearest file that has it.
    pub fn alias(&self, name: &str) -> Option<Vec<String>> {
        let text = |word: &toml::Value| word.as_str().map(str::to_owned);
        match self.tables().flatten().find_map(|table| table.get("alias")?.get(name).cloned())? {
            toml::Value::String(words) => Some(words.split_whitespace().map(str::to_owned).collect()),
            toml::Value::Array(words) => words.iter().map(text).collect(),
            _ => None,
        }
    }

    /// The files; `None` for one that cannot be parsed.
    fn tables(&self) -> impl Iterator<Item = Option<toml::Table>> {
        self.texts.iter().map(|text| text.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_above_a_directory_and_at_home_count() {
        let dir = tempfile::tempdir().unwrap();
        let (project, home) = (dir.path().join("a/project"), dir.path().join("home"));
        let write =
            |name: &str, text: &str| fsx::Publish::default().bytes(&dir.path().join(name), text.as_bytes()).unwrap();
        let read = || Configuration::of(&project, Some(&home));
        let none = read().digest();
        assert!(none.is_some() && !read().sets_variables() && !read().sets_directories());
        write("a/.cargo/config.toml", "[build]\njobs = 2\n");
        let one = read().digest();
        write("home/config.toml", "[env]\nA = \"1\"\n");
        let two = read().digest();
        assert!(one != none && two != one && read().sets_variables());
        write("a/project/.cargo/config", "[alias]\nx = \"run --bin x\"\ny = [\"b\", \"-p\"]\nz = 1\n");
        let alias = |name: &str| read().alias(name).map(|words| words.join(" "));
        assert_eq!((alias("x").as_deref(), alias("y").as_deref()), (Some("run --bin x"), Some("b -p")));
        assert_eq!((alias("z"), alias("w")), (None, None));
        write("a/project/.cargo/config", "include = \"x.toml\"\n");
        assert!(read().digest().is_none() && read().sets_directories());
    }
}
