//! The shape of the configuration file.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

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
    /// One table, or a list of tables; empty if there is none.
    #[serde(deserialize_with = "table_or_list")]
    pub(super) remote: Vec<RemoteSection>,
}

/// `[cache.remote]`, or one table of the list `[[cache.remote]]`: everything but the secrets, which only variables set.
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
    pub(super) url: Option<String>,
    pub(super) path: Option<PathBuf>,
    pub(super) read_only: Option<bool>,
    pub(super) level: Option<i32>,
    pub(super) connections: Option<i64>,
    pub(super) part_size: Option<String>,
    pub(super) checksums: Option<String>,
    pub(super) agent_idle: Option<String>,
    pub(super) trusted_keys: Option<Vec<String>>,
    pub(super) require_signatures: Option<bool>,
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

/// Reads one table as a list of one. (An untagged enum of serde would hide unknown keys.)
fn table_or_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RemoteSection>, D::Error> {
    struct TableOrList;
    impl<'de> Visitor<'de> for TableOrList {
        type Value = Vec<RemoteSection>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table or a list of tables")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Ok(vec![RemoteSection::deserialize(MapAccessDeserializer::new(map))?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(list))
        }
    }
    deserializer.deserialize_any(TableOrList)
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
