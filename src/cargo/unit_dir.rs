//! The directories in which cargo keeps the fingerprint of each unit: `.fingerprint/<package>-<unit id>/`
//! (`core/compiler/build_runner/compilation_files.rs`).

use std::path::{Path, PathBuf};

/// The directory of all fingerprints, below the directory of a profile.
pub const FINGERPRINTS: &str = ".fingerprint";

/// The name of a fingerprint: which unit it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct UnitName {
    /// The directory of the profile, relative to the build directory: `debug`, or `<triple>/release`.
    pub profile: String,
    /// The directory of the unit: `<package>-<unit id>`.
    pub dir: String,
    /// The name of the file: mode, kind of target and its name, such as `test-lib-app`.
    pub kind: String,
}

impl UnitName {
    /// Returns the unit id: 16 hexadecimal digits, which cargo also puts into the names of the outputs. `None` if the
    /// directory has another name.
    pub fn unit_id(&self) -> Option<&str> {
        unit_id(&self.dir)
    }

    /// Whether the unit is a run of a build script.
    pub fn is_run(&self) -> bool {
        self.kind.starts_with("run-build-script-")
    }

    /// The file with the hash.
    pub fn hash_file(&self, build_dir: &Path) -> PathBuf {
        self.file(build_dir, &self.kind)
    }

    /// The file with the fields.
    pub fn json_file(&self, build_dir: &Path) -> PathBuf {
        self.file(build_dir, &format!("{}.json", self.kind))
    }

    /// The file with cargo's dep-info.
    pub fn dep_info_file(&self, build_dir: &Path) -> PathBuf {
        self.file(build_dir, &format!("dep-{}", self.kind))
    }

    /// The file with the messages that cargo prints for a fresh unit.
    pub fn messages_file(&self, build_dir: &Path) -> PathBuf {
        self.file(build_dir, &format!("output-{}", self.kind))
    }

    /// The directory of a run of a build script, or of the program itself: `build/<package>-<unit id>`.
    pub fn script_dir(&self, build_dir: &Path) -> PathBuf {
        build_dir.join(&self.profile).join("build").join(&self.dir)
    }

    /// Whether every part is a plain name, so that no path leads out of the build directory.
    pub fn is_plain(&self) -> bool {
        let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
        is_name(&self.dir) && is_name(&self.kind) && self.profile.split('/').all(is_name)
    }

    fn file(&self, build_dir: &Path, name: &str) -> PathBuf {
        build_dir.join(&self.profile).join(FINGERPRINTS).join(&self.dir).join(name)
    }
}

/// Returns the unit id at the end of a name: `<anything>-<16 hexadecimal digits>`.
pub fn unit_id(name: &str) -> Option<&str> {
    let id = name.rsplit_once('-')?.1;
    (id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_named_by_its_directory() {
        let name = |dir: &str, kind: &str| UnitName { profile: "debug".into(), dir: dir.into(), kind: kind.into() };
        let unit = name("my-crate-0123456789abcdef", "lib-my_crate");
        assert_eq!(unit.unit_id(), Some("0123456789abcdef"));
        assert_eq!(
            unit.dep_info_file(Path::new("/t")),
            Path::new("/t/debug/.fingerprint/my-crate-0123456789abcdef/dep-lib-my_crate")
        );
        assert!(unit.is_plain() && !unit.is_run());
        assert!(name("a-0123456789abcdef", "run-build-script-build-script-build").is_run());
        for (dir, kind) in [("..", "lib-a"), ("a/b", "lib-a"), ("a", ""), ("a", "../x")] {
            assert!(!name(dir, kind).is_plain(), "{dir} {kind}");
        }
        assert_eq!(name("serde", "lib-serde").unit_id(), None);
    }
}
