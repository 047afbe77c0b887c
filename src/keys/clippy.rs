//! The inputs of clippy-driver beyond those of rustc: its configuration, and the manifests that its cargo lints read.

use std::path::{Path, PathBuf};

use super::{Context, KeyHasher};
use crate::config::env;
use crate::fsx;

/// The names of the configuration file, in the order in which clippy looks for them
/// (`clippy_config::conf::lookup_conf_file`).
const CONFIG_NAMES: [&str; 2] = [".clippy.toml", "clippy.toml"];

/// Adds the inputs of clippy to a key. Returns the files among them that exist.
pub fn add(key: &mut KeyHasher, context: Context<'_>) -> fsx::Result<Vec<PathBuf>> {
    for name in env::CLIPPY_INPUTS {
        let value = context.env.get(name).map(|value| value.to_string_lossy().into_owned());
        let value = value.map(|value| context.roots.tokenise(&value).as_str().to_owned());
        key.optional(&format!("env {name}"), value.as_deref());
    }
    let mut files = config_files(context)?;
    let cwd = context.cwd;
    let package = context.env.path(env::CARGO_MANIFEST_DIR).unwrap_or_else(|| cwd.to_owned());
    files.extend([package.join("Cargo.toml"), cwd.join("Cargo.toml"), cwd.join("Cargo.lock")]);
    files.dedup();
    for file in &files {
        let name = context.roots.tokenise(&file.to_string_lossy());
        match fsx::optional(context.stamps.content(file))? {
            Some(content) => key.digest("clippy file", name.as_str(), content.digest),
            None => key.field("clippy file is absent", name.as_str()),
        }
    }
    files.retain(|file| fsx::exists(file));
    Ok(files)
}

/// Returns the configuration files in the nearest directory that has one, upward from where clippy starts to look.
fn config_files(context: Context<'_>) -> fsx::Result<Vec<PathBuf>> {
    let start = context.env.path("CLIPPY_CONF_DIR").or_else(|| context.env.path(env::CARGO_MANIFEST_DIR));
    let start = context.cwd.join(start.unwrap_or_default());
    let Some(start) = fsx::optional(fsx::canonicalize(&start))? else { return Ok(Vec::new()) };
    let present = |dir: &Path| -> Vec<PathBuf> {
        CONFIG_NAMES.iter().map(|name| dir.join(name)).filter(|path| fsx::exists(path)).collect()
    };
    Ok(start.ancestors().map(present).find(|found| !found.is_empty()).unwrap_or_default())
}
