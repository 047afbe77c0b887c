//! Asks cargo where a workspace and its build directory are (`cargo metadata`). Cargo does not call the compiler and
//! takes no lock for the answer (`ops/cargo_output_metadata.rs`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::command;

/// The arguments of a command that decide about the answer.
const DECISIVE: [&str; 2] = ["--manifest-path", "--config"];

/// What cargo says about a workspace.
#[derive(Debug, serde::Deserialize)]
pub struct Metadata {
    /// The directory of the workspace.
    pub workspace_root: PathBuf,
    target_directory: PathBuf,
    build_directory: Option<PathBuf>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoMetadata {
    /// Cargo could not be started.
    #[error("cannot run cargo: {0}")]
    Start(#[from] std::io::Error),
    /// Cargo failed, with this message.
    #[error("{0}")]
    Failed(String),
    /// The answer could not be parsed.
    #[error("cannot read the answer of `cargo metadata`: {0}")]
    Answer(#[from] serde_json::Error),
}

impl Metadata {
    /// The directory with the fingerprints: the target directory, unless `build.build-dir` names another one.
    pub fn build_dir(self) -> PathBuf {
        self.build_directory.unwrap_or(self.target_directory)
    }
}

/// Asks `cargo` about the workspace in which a command with the arguments `args` would run.
pub fn ask(cargo: &Path, args: &[String]) -> Result<Metadata, NoMetadata> {
    let mut ask = Command::new(cargo);
    ask.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).stdin(Stdio::null());
    for name in DECISIVE {
        ask.args(command::values(args, name).into_iter().flat_map(|value| [name, value]));
    }
    let output = ask.output()?;
    if !output.status.success() {
        return Err(NoMetadata::Failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let mut metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    if let Some(dir) = command::value(args, "--target-dir") {
        // `cargo metadata` has no such argument. Without `build.build-dir`, the build directory is the same.
        let dir = std::path::absolute(dir)?;
        metadata.build_directory = metadata.build_directory.filter(|build| *build != metadata.target_directory);
        metadata.target_directory = dir;
    }
    Ok(metadata)
}
