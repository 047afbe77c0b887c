//! The table of settings: the key and the variable of each one, and how `docs/settings.md` describes it.
//!
//! [`super::Config::load`] and [`super::RemoteSettings::load`] read keys and variables from here, and a test writes the
//! table of `docs/settings.md` from [`ROWS`]. So a setting has one spelling, and the page cannot lack one.

use super::env;

/// A setting, as one row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The key in the settings file, with its sections. Empty: the file cannot set it.
    pub key: &'static str,
    /// The environment variable. Empty: no variable sets it.
    pub variable: &'static str,
    /// The default, in Markdown. A default in backticks is the value as the settings file spells it.
    pub default: &'static str,
    /// What the setting does, in Markdown. Links are relative to `docs`.
    pub meaning: &'static str,
}

impl Row {
    const fn new(key: &'static str, variable: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Self { key, variable, default, meaning }
    }
}

pub(super) const FILE: Row = Row::new(
    "",
    env::KACHE_CONFIG,
    "`$XDG_CONFIG_HOME/kache/config.toml`, `~/.config/kache/config.toml`",
    "Absolute path of the settings file",
);
pub(super) const CACHE_DIR: Row = Row::new(
    "cache.dir",
    env::KACHE_CACHE_DIR,
    "`$XDG_CACHE_HOME/kache`, `~/.cache/kache`",
    "Absolute path of the cache directory",
);
pub(super) const MAX_SIZE: Row = Row::new(
    "cache.max_size",
    env::KACHE_MAX_SIZE,
    "a twentieth of the disk",
    "Size that kache trims the store to. The default is between 5 and 100 GiB, and less if a tenth of the disk \
     would not stay free",
);
pub(super) const PATHS: Row = Row::new(
    "build.paths",
    env::KACHE_PATHS,
    r#"`"remap"`"#,
    "`\"remap\"`: remap the workspace and the target directory. `\"portable\"`: also remap cargo's home, so that \
     [machines with different homes](sharing.md#what-machines-can-share) share. `\"exact\"`: remap nothing; a \
     result that contains a path serves only that place",
);
pub(super) const CLAIM_WAIT: Row = Row::new(
    "build.claim_wait",
    env::KACHE_CLAIM_WAIT,
    r#"`"300"`"#,
    "Longest wait, in seconds, for another process that compiles the same unit. kache waits no longer than the \
     compile is likely to take, and does not wait for a process that was stopped",
);
pub(super) const OBSERVE: Row = Row::new(
    "build.observe",
    env::KACHE_OBSERVE,
    "`true`",
    "`false`: rely on the dep-info of rustc alone, and leave to rustc the units for which that is not enough",
);
pub(super) const SCRIPTS: Row = Row::new(
    "build.scripts",
    env::KACHE_SCRIPTS,
    "`true`",
    "`false`: do not link the hook into build scripts; cargo runs all of them",
);
pub(super) const BULK: Row = Row::new(
    "build.bulk",
    env::KACHE_BULK,
    "`true`",
    "`false`: do not restore [whole builds](how-it-works.md#whole-builds), only the units that cargo asks for",
);
pub(super) const VERIFY: Row = Row::new(
    "build.verify",
    env::KACHE_VERIFY,
    r#"`"off"`"#,
    r#"`"hits"`: on a hit also run rustc or the build script, and [compare](correctness.md#check-it-yourself)"#,
);
pub(super) const VERIFY_RATE: Row = Row::new(
    "build.verify_rate",
    env::KACHE_VERIFY_RATE,
    r#"`"1/1"`"#,
    r#"Share of the hits to verify, chosen at random, such as `"1/50"`"#,
);
pub(super) const DISABLED: Row =
    Row::new("build.disabled", env::KACHE_DISABLED, "`false`", "`true`: leave every call to rustc");
pub(super) const LOG_LEVEL: Row = Row::new(
    "log.level",
    env::KACHE_LOG,
    r#"`"off"`"#,
    "`error`, `warn`, `info`, `debug` or `trace`: write a log to `<cache>/log/kache.log`; `trace` shows what each \
     key consists of",
);
pub(super) const REMOTE_TYPE: Row = Row::new(
    "cache.remote.type",
    env::KACHE_REMOTE_TYPE,
    r#"`"s3"`"#,
    r#"Kind of the remote: `"s3"`, `"http"`, `"dir"` or `"github"`, [see below](#several-remotes)"#,
);
pub(super) const REMOTE_BUCKET: Row = Row::new(
    "cache.remote.bucket",
    env::KACHE_S3_BUCKET,
    "none",
    r#"Name of the bucket of a `"s3"` remote. Without one, and without a type, there is no remote"#,
);
pub(super) const REMOTE_URL: Row =
    Row::new("cache.remote.url", "", "none", r#"URL of a `"http"` remote, which kache only reads"#);
pub(super) const REMOTE_PATH: Row =
    Row::new("cache.remote.path", "", "none", r#"Absolute path of a `"dir"` remote; the directory must exist"#);
pub(super) const REMOTE_ENDPOINT: Row = Row::new(
    "cache.remote.endpoint",
    env::KACHE_S3_ENDPOINT,
    "AWS",
    "URL of the S3 server. If neither is set, kache uses `AWS_ENDPOINT_URL_S3`, then `AWS_ENDPOINT_URL`",
);
pub(super) const REMOTE_REGION: Row = Row::new(
    "cache.remote.region",
    env::KACHE_S3_REGION,
    "[see below](#credentials-and-region)",
    "Region of the bucket",
);
pub(super) const REMOTE_PREFIX: Row =
    Row::new("cache.remote.prefix", env::KACHE_S3_PREFIX, "none", "Prefix of all object names");
pub(super) const REMOTE_PROFILE: Row = Row::new(
    "cache.remote.profile",
    env::KACHE_S3_PROFILE,
    "[see below](#credentials-and-region)",
    "Profile in the AWS configuration files",
);
pub(super) const REMOTE_ACCESS_KEY: Row = Row::new(
    "",
    env::KACHE_S3_ACCESS_KEY,
    "[see below](#credentials-and-region)",
    "Access key ID, for kache alone; needs the secret key",
);
pub(super) const REMOTE_SECRET_KEY: Row = Row::new(
    "",
    env::KACHE_S3_SECRET_KEY,
    "[see below](#credentials-and-region)",
    "Secret key, for kache alone; needs the access key",
);
pub(super) const REMOTE_CHECKSUMS: Row = Row::new(
    "cache.remote.checksums",
    env::KACHE_S3_CHECKSUMS,
    r#"`"crc32"`"#,
    r#"Checksums of uploads. `"off"`: for servers that do not support them"#,
);
pub(super) const REMOTE_READ_ONLY: Row =
    Row::new("cache.remote.read_only", env::KACHE_REMOTE_READONLY, "`false`", "`true`: never write to this remote");
pub(super) const REMOTE_LEVEL: Row =
    Row::new("cache.remote.level", env::KACHE_REMOTE_LEVEL, "`3`", "zstd compression level, 1 to 19");
pub(super) const REMOTE_CONNECTIONS: Row = Row::new(
    "cache.remote.connections",
    env::KACHE_REMOTE_CONNECTIONS,
    "`64`",
    "Requests to the bucket in flight at once, 1 to 1024",
);
pub(super) const REMOTE_PART_SIZE: Row = Row::new(
    "cache.remote.part_size",
    env::KACHE_REMOTE_PART_SIZE,
    r#"`"8MiB"`"#,
    "Size of the parts in which kache transfers large packs, `5MiB` to `5GiB`. A pack is large if it has two parts. \
     kache keeps each part that it uploads in memory",
);
pub(super) const REMOTE_AGENT_IDLE: Row = Row::new(
    "cache.remote.agent_idle",
    env::KACHE_AGENT_IDLE,
    r#"`"600"`"#,
    "Time without work, in seconds, after which the agent exits",
);
pub(super) const REMOTE_SIGNING_KEY: Row =
    Row::new("", env::KACHE_SIGNING_KEY, "none", "Secret key that [signs](trust.md) entries");
pub(super) const REMOTE_TRUSTED_KEYS: Row = Row::new(
    "cache.remote.trusted_keys",
    env::KACHE_TRUSTED_KEYS,
    "none",
    "Public keys whose signatures are [trusted](trust.md): a list in the file, separated by commas in the variable. A \
     key may have a name, for messages: `ci=kache-pk1:...`",
);
pub(super) const REMOTE_REQUIRE_SIGNATURES: Row = Row::new(
    "cache.remote.require_signatures",
    env::KACHE_REQUIRE_SIGNATURES,
    "`false`",
    "`true`: a remote without trusted keys is an error, and is not used",
);
/// Every setting, in the order of `docs/settings.md`.
pub const ROWS: [Row; 31] = [
    FILE,
    CACHE_DIR,
    MAX_SIZE,
    PATHS,
    CLAIM_WAIT,
    OBSERVE,
    SCRIPTS,
    BULK,
    VERIFY,
    VERIFY_RATE,
    DISABLED,
    LOG_LEVEL,
    REMOTE_TYPE,
    REMOTE_BUCKET,
    REMOTE_ENDPOINT,
    REMOTE_REGION,
    REMOTE_PREFIX,
    REMOTE_PROFILE,
    REMOTE_ACCESS_KEY,
    REMOTE_SECRET_KEY,
    REMOTE_CHECKSUMS,
    REMOTE_URL,
    REMOTE_PATH,
    REMOTE_READ_ONLY,
    REMOTE_LEVEL,
    REMOTE_CONNECTIONS,
    REMOTE_PART_SIZE,
    REMOTE_AGENT_IDLE,
    REMOTE_SIGNING_KEY,
    REMOTE_TRUSTED_KEYS,
    REMOTE_REQUIRE_SIGNATURES,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use serde_json::Value;

    use super::*;
    use crate::config::file::RemoteSection;
    use crate::config::file::SettingsFile;
    use crate::config::{Config, Env, LayerSettings, PlaceSettings, RemoteSettings};
    use crate::fsx;

    /// Variables that kache sets for programs that it starts. Users do not set them, so they are not settings.
    const INTERNAL: [&str; 4] = [env::KACHE_DEPTH, env::KACHE_TRACE, env::KACHE_SCRIPT, env::KACHE_OBSERVED];

    /// Set to `1`, this variable makes the test write the table instead of comparing it.
    const UPDATE: &str = "KACHE_UPDATE_DOCS";

    /// The texts around the table in `docs/settings.md`.
    const MARKERS: (&str, &str) = ("<!-- settings: made from src/config/table.rs -->\n", "<!-- /settings -->");

    fn in_markdown() -> String {
        let code = |name: &str| if name.is_empty() { String::new() } else { format!(" `{name}`") };
        let row =
            |row: &Row| format!("|{} |{} | {} | {} |\n", code(row.key), code(row.variable), row.default, row.meaning);
        let head = "| setting in the file | environment variable | default | meaning |\n|---|---|---|---|\n";
        head.to_owned() + &ROWS.iter().map(row).collect::<String>()
    }

    /// The lines of `text` that `other` lacks.
    fn only_in_first<'a>(text: &'a str, other: &str) -> Vec<&'a str> {
        text.lines().filter(|line| other.lines().all(|known| known != *line)).collect()
    }

    #[test]
    fn the_page_of_settings_contains_this_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
        let page = fsx::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(MARKERS.0).expect("the first marker");
        let (table, after) = rest.split_once(MARKERS.1).expect("the second marker");
        if Env::process().text(UPDATE).as_deref() == Some("1") {
            let page = [before, MARKERS.0, &in_markdown(), MARKERS.1, after].concat();
            fsx::Publish::default().bytes(&path, page.as_bytes()).unwrap();
        } else {
            let hint = format!("run `{UPDATE}=1 cargo test --lib config::table`");
            assert_eq!(only_in_first(table, &in_markdown()), [""; 0], "rows of the page alone: {hint}");
            assert_eq!(only_in_first(&in_markdown(), table), [""; 0], "rows of the code alone: {hint}");
            assert_eq!(table, in_markdown(), "the order differs: {hint}");
        }
    }

    /// The names in `names` that are not empty, each of which must be there once.
    fn once<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        for name in names.filter(|name| !name.is_empty()) {
            assert!(found.insert(name), "{name} has two rows");
        }
        found
    }

    #[test]
    fn each_variable_has_one_row() {
        let source = include_str!("env.rs").lines();
        let names = source.filter_map(|line| line.strip_prefix("pub const KACHE_")?.split_once(':'));
        let names = names.map(|(name, _)| format!("KACHE_{name}")).collect::<Vec<_>>();
        let known = once(names.iter().map(String::as_str).filter(|name| !INTERNAL.contains(name)));
        assert_eq!(once(ROWS.iter().map(|row| row.variable)), known);
    }

    /// Appends the keys below `value`, which contains `prefix`.
    fn keys_below(prefix: &str, value: &Value, keys: &mut Vec<String>) {
        if let Some(list) = value.as_array() {
            return list.iter().for_each(|value| keys_below(prefix, value, keys));
        }
        let Some(section) = value.as_object() else {
            return keys.push(prefix.trim_start_matches('.').to_owned());
        };
        for (key, value) in section {
            keys_below(&format!("{prefix}.{key}"), value, keys);
        }
    }

    #[test]
    fn each_key_of_the_file_has_one_row() {
        let mut file = SettingsFile::default();
        file.cache.remote = vec![RemoteSection::default()];
        let mut keys = Vec::new();
        keys_below("", &serde_json::to_value(file).unwrap(), &mut keys);
        assert_eq!(once(ROWS.iter().map(|row| row.key)), once(keys.iter().map(String::as_str)));
    }

    /// The settings with these variables and this file, but for the bucket, which is `b`.
    fn load(variable: (&str, &str), toml: &str) -> (String, RemoteSettings) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fsx::Publish::default().bytes(&path, toml.as_bytes()).unwrap();
        let path = path.to_str().unwrap();
        let vars = [(env::KACHE_CONFIG, path), (env::HOME, "/home/x"), (env::KACHE_S3_BUCKET, "b"), variable];
        let vars = Env::of(vars);
        let mut config = Config::load(&vars).unwrap();
        assert!(config.unknown_keys.is_empty(), "{toml}");
        let remote = RemoteSettings::load(&vars, &config).unwrap().unwrap();
        (config.remote, config.file) = (Vec::new(), PathBuf::new());
        (format!("{config:?}"), remote)
    }

    #[test]
    fn a_default_in_backticks_is_the_default() {
        let none = load(("", ""), "");
        let literal = |row: &Row| row.default.strip_prefix('`')?.strip_suffix('`').filter(|text| !text.contains('`'));
        let mut of_the_remote = 0;
        for row in ROWS {
            let Some(default) = literal(&row) else { continue };
            let (section, key) = row.key.rsplit_once('.').unwrap();
            let by_file = load(("", ""), &format!("[{section}]\n{key} = {default}\n"));
            let by_variable = load((row.variable, default.trim_matches('"')), "");
            assert_eq!((&by_file.1, &by_variable.1), (&none.1, &none.1), "{row:?}");
            if section == "cache.remote" {
                of_the_remote += 1;
                continue;
            }
            // Only the source of this one setting changes, and with it the text.
            let from_file = by_variable.0.replacen(&format!("Env({:?})", row.variable), "File", 1);
            assert_eq!(by_file.0, from_file, "{row:?}");
            assert_eq!(by_file.0.replacen("source: File", "source: Default", 1), none.0, "{row:?}");
            assert_ne!(by_file.0, none.0, "{row:?}");
        }
        assert!(of_the_remote > 0);
    }

    #[test]
    fn a_default_in_words_is_no_value() {
        let (config, remote) = load(("", ""), "");
        assert!(config.contains("max_size: Setting { value: None") && config.contains("/home/x/.cache/kache"));
        let [LayerSettings { place: PlaceSettings::S3(s3), trusted_keys, .. }] = &remote.layers[..] else {
            panic!("{remote:?}")
        };
        assert_eq!((s3.prefix.as_str(), trusted_keys.len()), ("", 0));
        assert_eq!((&s3.endpoint, &s3.region, &s3.profile), (&None, &None, &None));
        assert_eq!((&s3.keys, &remote.signing_key), (&None, &None));
    }
}
