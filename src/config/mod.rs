//! Settings: the environment overrides the file, and the file overrides the defaults. Read once per process; each value
//! carries its source.
//!
//! Commands refuse unknown keys in the file. The wrapper ignores them (`kache doctor` reports them), because a file for
//! a newer kache must not stop the builds of an older one.
//!
//! An invalid value, or a file that cannot be read, is an error of [`Config::load`]. The wrapper then passes every call
//! on to rustc, and every run on to the build script, and does not write anything; `kache doctor` reports the error.
//! The wrapper serves probes first. For a probe it reads the settings only if the probe is one of the two questions of
//! cargo. An error in the settings of the remote only means that the build has no remote.

pub mod env;
mod error;
mod file;
pub mod project;
pub mod remote;
mod secret;
pub mod table;
mod verify;

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use tracing::level_filters::LevelFilter;

pub use env::Env;
pub use error::ConfigError;
use file::SettingsFile;
pub use project::Project;
pub use remote::RemoteSettings;
pub use remote::place::{
    Checksums, DirSettings, GithubSettings, HttpSettings, LayerSettings, PlaceSettings, S3Settings,
};
pub use secret::Secret;
use table::Row;
pub use verify::{Rate, Verify};

/// The default of `claim_wait`.
pub const DEFAULT_CLAIM_WAIT: Duration = Duration::from_mins(5);

/// Where a value came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The built-in default: neither the variable nor the key is set.
    Default,
    /// The configuration file; the variable is not set.
    File,
    /// The environment variable of this name.
    Env(&'static str),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File => f.write_str("config file"),
            Self::Env(name) => f.write_str(name),
        }
    }
}

/// A value, and where it came from.
#[derive(Clone, Debug)]
pub struct Setting<T> {
    /// The value in force.
    pub value: T,
    /// Where it came from.
    pub source: Source,
}

/// How kache treats paths in outputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Paths {
    /// `--remap-path-prefix` for the workspace and the target directory, so that all checkouts share results.
    Remap,
    /// As [`Self::Remap`], and also for cargo's home: machines with different homes share results that contain paths in
    /// registry packages. Such a path cannot be opened as written.
    Portable,
    /// No remapping: outputs contain real paths, and a result that contains one is restored only in the same place.
    Exact,
}

impl Paths {
    /// Reads `remap`, `portable` or `exact`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "remap" => Some(Self::Remap),
            "portable" => Some(Self::Portable),
            "exact" => Some(Self::Exact),
            _ => None,
        }
    }

    /// The name in files and variables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Remap => "remap",
            Self::Portable => "portable",
            Self::Exact => "exact",
        }
    }
}

/// How much kache writes to the log file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogLevel(pub LevelFilter);

/// All settings but those of the remote, which [`RemoteSettings::load`] reads.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cache directory, an absolute path. It need not exist.
    pub cache_dir: Setting<PathBuf>,
    /// The size that collections trim the store to. `None`: a size that fits the disk.
    pub max_size: Setting<Option<ByteSize>>,
    /// Whether kache only passes every call on to rustc.
    pub disabled: Setting<bool>,
    /// How kache treats paths in outputs.
    pub paths: Setting<Paths>,
    /// How long to wait for another process that compiles the same unit.
    pub claim_wait: Setting<Duration>,
    /// Whether kache observes what a compile reads. If not, it uses only dep-info.
    pub observe: Setting<bool>,
    /// Whether kache stores and restores runs of build scripts.
    pub scripts: Setting<bool>,
    /// Whether kache records builds and restores them as a whole.
    pub bulk: Setting<bool>,
    /// Which hits are verified by a fresh compile.
    pub verify: Setting<Verify>,
    /// The share of those hits.
    pub verify_rate: Setting<Rate>,
    /// The log level. Off by default, so a build does not write a log.
    pub log: Setting<LogLevel>,
    /// The `[cache.remote]` tables of the file, for [`RemoteSettings::load`].
    remote: Vec<file::RemoteSection>,
    /// Path of the configuration file, which need not exist.
    pub file: PathBuf,
    /// Keys of the file that are unknown to this version.
    pub unknown_keys: Vec<String>,
}

impl Config {
    /// Reads the environment and the file.
    pub fn load(env: &Env) -> Result<Self, ConfigError> {
        let path = config_path(env)?;
        let (file, unknown_keys) = SettingsFile::load(&path)?;
        Ok(Self {
            remote: file.cache.remote,
            cache_dir: cache_dir(env, file.cache.dir)?,
            max_size: pick(env, &table::MAX_SIZE, file.cache.max_size, &SIZE, None)?,
            disabled: pick_switch(env, &table::DISABLED, file.build.disabled, false)?,
            paths: pick(env, &table::PATHS, file.build.paths, &PATHS, Paths::Remap)?,
            claim_wait: pick(env, &table::CLAIM_WAIT, file.build.claim_wait, &TIME, DEFAULT_CLAIM_WAIT)?,
            observe: pick_switch(env, &table::OBSERVE, file.build.observe, true)?,
            scripts: pick_switch(env, &table::SCRIPTS, file.build.scripts, true)?,
            bulk: pick_switch(env, &table::BULK, file.build.bulk, true)?,
            verify: pick(env, &table::VERIFY, file.build.verify, &VERIFY, Verify::Off)?,
            verify_rate: pick(env, &table::VERIFY_RATE, file.build.verify_rate, &RATE, Rate::ALL)?,
            log: pick(env, &table::LOG_LEVEL, file.log.level, &LOG_LEVEL, LogLevel(LevelFilter::OFF))?,
            file: path,
            unknown_keys,
        })
    }
}

/// A kind of value.
struct ValueKind<T> {
    /// Reads a value. `None`: it is not valid.
    parse: fn(&str) -> Option<T>,
    /// The valid values, for the message of an error.
    expected: &'static str,
}

impl<T> ValueKind<T> {
    const fn new(parse: fn(&str) -> Option<T>, expected: &'static str) -> Self {
        Self { parse, expected }
    }

    /// Reads the value of the variable or key `what`.
    fn read(&self, what: &str, value: &str) -> Result<T, ConfigError> {
        (self.parse)(value).ok_or_else(|| ConfigError::value(what, value, self.expected))
    }
}

const SIZE: ValueKind<Option<ByteSize>> =
    ValueKind::new(|text| text.parse().ok().map(Some), "a size such as \"20GiB\"");
const PATHS: ValueKind<Paths> = ValueKind::new(Paths::parse, "\"remap\", \"portable\" or \"exact\"");
const TIME: ValueKind<Duration> = ValueKind::new(duration, "a time such as \"300\" or \"5m\"");
const VERIFY: ValueKind<Verify> = ValueKind::new(Verify::parse, "\"off\" or \"hits\"");
const RATE: ValueKind<Rate> = ValueKind::new(Rate::parse, "a share such as \"1/50\"");
const LOG_LEVEL: ValueKind<LogLevel> =
    ValueKind::new(|text| text.parse().ok().map(LogLevel), "off, error, warn, info, debug or trace");
const SWITCH: ValueKind<bool> = ValueKind::new(switch, "1, true, yes, on, or 0, false, no, off");

fn duration(text: &str) -> Option<Duration> {
    text.parse().map(Duration::from_secs).ok().or_else(|| humantime::parse_duration(text).ok())
}

fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "" | "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn from_env<T>(env: &Env, row: &Row, kind: &ValueKind<T>) -> Result<Option<Setting<T>>, ConfigError> {
    let name = row.variable;
    let Some(value) = env.get(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let value = kind.read(name, &value.to_string_lossy())?;
    Ok(Some(Setting { value, source: Source::Env(name) }))
}

fn pick<T>(
    env: &Env,
    row: &Row,
    in_file: Option<String>,
    kind: &ValueKind<T>,
    default: T,
) -> Result<Setting<T>, ConfigError> {
    if let Some(setting) = from_env(env, row, kind)? {
        return Ok(setting);
    }
    match in_file {
        Some(text) => Ok(Setting { value: kind.read(row.key, &text)?, source: Source::File }),
        None => Ok(Setting { value: default, source: Source::Default }),
    }
}

fn pick_switch(env: &Env, row: &Row, in_file: Option<bool>, default: bool) -> Result<Setting<bool>, ConfigError> {
    let from_env = from_env(env, row, &SWITCH)?;
    Ok(from_env.unwrap_or(match in_file {
        Some(value) => Setting { value, source: Source::File },
        None => Setting { value: default, source: Source::Default },
    }))
}

fn cache_dir(env: &Env, in_file: Option<PathBuf>) -> Result<Setting<PathBuf>, ConfigError> {
    let row = table::CACHE_DIR;
    if let Some(value) = env.path(row.variable) {
        return Ok(Setting { value: absolute(row.variable, value)?, source: Source::Env(row.variable) });
    }
    if let Some(value) = in_file {
        return Ok(Setting { value: absolute(row.key, value)?, source: Source::File });
    }
    Ok(Setting { value: base(env, env::XDG_CACHE_HOME, ".cache")?.join("kache"), source: Source::Default })
}

/// The directory that the variable `xdg` names, else `in_home` in the home directory. Relative paths are ignored, as
/// the XDG specification requires.
fn base(env: &Env, xdg: &str, in_home: &str) -> Result<PathBuf, ConfigError> {
    let home = || env.home().map(|home| home.join(in_home)).filter(|path| path.is_absolute());
    env.path(xdg).filter(|path| path.is_absolute()).or_else(home).ok_or(ConfigError::NoHome)
}

/// Refuses a relative path: cargo starts rustc in many directories, so the path would mean another place in each.
fn absolute(what: &str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.is_absolute() {
        return Ok(path);
    }
    Err(ConfigError::value(what, &path.display().to_string(), "an absolute path"))
}

fn config_path(env: &Env) -> Result<PathBuf, ConfigError> {
    let name = table::FILE.variable;
    if let Some(path) = env.path(name) {
        return absolute(name, path);
    }
    Ok(base(env, env::XDG_CONFIG_HOME, ".config")?.join("kache").join("config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(vars: &[(&str, &str)], toml: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        crate::fsx::Publish::default().bytes(&path, toml.as_bytes()).unwrap();
        let mut vars: Vec<(String, String)> =
            vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        vars.push((env::KACHE_CONFIG.into(), path.to_str().unwrap().into()));
        vars.push((env::HOME.into(), "/home/x".into()));
        Config::load(&Env::of(vars))
    }

    #[test]
    fn environment_wins_over_file_over_default() {
        let file = "[cache]\nmax_size = \"1GiB\"\ndir = \"/f\"\n[build]\npaths = \"exact\"\n";
        let config = load(&[(env::KACHE_MAX_SIZE, "2GiB")], file).unwrap();
        assert_eq!(config.max_size.value, Some(ByteSize::gib(2)));
        assert_eq!(config.max_size.source, Source::Env(env::KACHE_MAX_SIZE));
        assert_eq!(config.cache_dir.value, PathBuf::from("/f"));
        assert_eq!(config.paths.source, Source::File);
        assert_eq!(config.claim_wait.value, DEFAULT_CLAIM_WAIT);
    }

    #[test]
    fn switches_read_words_and_the_file_reads_booleans() {
        for (value, observe) in
            [("off", false), ("0", false), ("NO", false), ("false", false), ("on", true), ("1", true)]
        {
            let config = load(&[(env::KACHE_OBSERVE, value)], "[build]\nobserve = true\n").unwrap();
            assert_eq!((config.observe.value, config.observe.source), (observe, Source::Env(env::KACHE_OBSERVE)));
        }
        assert!(!load(&[], "[build]\nobserve = false\n").unwrap().observe.value);
        assert!(load(&[], "").unwrap().observe.value, "on by default");
        assert!(
            load(&[], "").unwrap().scripts.value && !load(&[(env::KACHE_SCRIPTS, "off")], "").unwrap().scripts.value
        );
        assert!(load(&[], "").unwrap().bulk.value && !load(&[], "[build]\nbulk = false\n").unwrap().bulk.value);
        assert!(load(&[(env::KACHE_OBSERVE, "perhaps")], "").is_err());
    }

    #[test]
    fn hits_are_verified_only_on_demand() {
        let config = load(&[], "").unwrap();
        assert_eq!((config.verify.value, config.verify_rate.value), (Verify::Off, Rate::ALL));
        let config = load(&[(env::KACHE_VERIFY, "hits")], "[build]\nverify_rate = \"1/50\"\n").unwrap();
        assert_eq!(config.verify.value, Verify::Hits);
        assert_eq!((config.verify_rate.value.to_string().as_str(), config.verify_rate.source), ("1/50", Source::File));
        assert!(load(&[(env::KACHE_VERIFY, "all")], "").is_err());
        assert!(load(&[(env::KACHE_VERIFY_RATE, "2/1")], "").is_err());
    }

    #[test]
    fn defaults_follow_xdg() {
        let config = load(&[], "").unwrap();
        assert_eq!(config.cache_dir.value, PathBuf::from("/home/x/.cache/kache"));
        let config = load(&[(env::XDG_CACHE_HOME, "/c")], "").unwrap();
        assert_eq!(config.cache_dir.value, PathBuf::from("/c/kache"));
    }

    #[test]
    fn unknown_keys_are_named_and_bad_values_refused() {
        assert_eq!(load(&[], "[cache]\nsize = 3\n").unwrap().unknown_keys, ["cache.size"]);
        assert!(load(&[(env::KACHE_PATHS, "maybe")], "").is_err());
        assert!(load(&[(env::KACHE_CACHE_DIR, "cache")], "").is_err());
        assert!(load(&[], "[cache\n").is_err());
    }
}
