//! The shape of the configuration file.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::ConfigError;
use crate::fsx;

/// `config.toml`; all keys are optional.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, expecting = "a table")]
pub(super) struct SettingsFile {
    pub(super) cache: CacheSection,
    pub(super) build: BuildSection,
    pub(super) log: LogSection,
}

/// `[cache]`: the store, and the remote below it.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, expecting = "a table")]
pub(super) struct CacheSection {
    pub(super) dir: Option<PathBuf>,
    pub(super) max_size: Option<String>,
    pub(super) remote: Option<RemoteSection>,
}

/// `[cache.remote]`: everything but the secrets, which only variables set.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, expecting = "a table")]
pub(super) struct RemoteSection {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) bucket: Option<String>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) profile: Option<String>,
    pub(super) read_only: Option<bool>,
    pub(super) level: Option<i32>,
    pub(super) connections: Option<i64>,
    pub(super) part_size: Option<String>,
    pub(super) checksums: Option<String>,
    pub(super) agent_idle: Option<String>,
    pub(super) trusted_keys: Option<Vec<String>>,
}

/// `[build]`: how kache serves calls of rustc.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, expecting = "a table")]
pub(super) struct BuildSection {
    pub(super) paths: Option<String>,
    pub(super) disabled: Option<bool>,
    pub(super) claim_wait: Option<String>,
    pub(super) observe: Option<bool>,
    pub(super) scripts: Option<bool>,
    pub(super) bulk: Option<bool>,
    pub(super) verify: Option<String>,
    pub(super) verify_rate: Option<String>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, expecting = "a table")]
pub(super) struct LogSection {
    pub(super) level: Option<String>,
}

impl SettingsFile {
    /// Reads the file, which need not exist, and returns it with its unknown keys.
    pub(super) fn load(path: &Path) -> Result<(Self, Vec<String>), ConfigError> {
        let Some(bytes) = fsx::read_if_exists(path)? else { return Ok(Default::default()) };
        let malformed = |reason: String| ConfigError::Malformed { path: path.to_owned(), reason };
        let text = String::from_utf8(bytes).map_err(|error| malformed(error.to_string()))?;
        let parser = toml::Deserializer::parse(&text).map_err(|error| malformed(error.to_string()))?;
        let mut unknown = Vec::new();
        let file = serde_ignored::deserialize(parser, |key| unknown.push(key.to_string()))
            .map_err(|error| malformed(error.to_string()))?;
        Ok((file, unknown))
    }
}
