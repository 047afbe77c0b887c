//! Every environment variable that kache reads, and the only way to read one.
//!
//! Callers pass an [`Env`] down, so that tests never change the environment of the process.
#![expect(clippy::disallowed_methods, reason = "the door itself")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// The cache directory, an absolute path.
pub const KACHE_CACHE_DIR: &str = "KACHE_CACHE_DIR";
/// The configuration file, an absolute path.
pub const KACHE_CONFIG: &str = "KACHE_CONFIG";
/// `1`: pass every call on to rustc, without an event.
pub const KACHE_DISABLED: &str = "KACHE_DISABLED";
/// The level of the log file: off, error, warn, info, debug or trace.
pub const KACHE_LOG: &str = "KACHE_LOG";
/// The size that collections trim the store to, such as `20GiB`.
pub const KACHE_MAX_SIZE: &str = "KACHE_MAX_SIZE";
/// How kache treats paths in outputs: `remap`, `portable` or `exact`.
pub const KACHE_PATHS: &str = "KACHE_PATHS";
/// How long to wait for another process that compiles the same unit: seconds, or a time such as `5m`.
pub const KACHE_CLAIM_WAIT: &str = "KACHE_CLAIM_WAIT";
/// `off`: do not observe what rustc reads; use only its dep-info.
pub const KACHE_OBSERVE: &str = "KACHE_OBSERVE";
/// `off`: let cargo run build scripts as it does without kache.
pub const KACHE_SCRIPTS: &str = "KACHE_SCRIPTS";
/// `off`: do not restore whole builds when cargo begins, nor record them.
pub const KACHE_BULK: &str = "KACHE_BULK";
/// `hits`: compile on a hit too, and compare the results.
pub const KACHE_VERIFY: &str = "KACHE_VERIFY";
/// The share of hits to verify, such as `1/50`.
pub const KACHE_VERIFY_RATE: &str = "KACHE_VERIFY_RATE";
/// kache sets this counter for a program that may call kache again (such as a compiler that it could not identify), to
/// end such a loop.
pub const KACHE_DEPTH: &str = "KACHE_DEPTH";

/// The type of the remote: `s3`, `http`, `dir` or `github`.
pub const KACHE_REMOTE_TYPE: &str = "KACHE_REMOTE_TYPE";
/// The bucket of the remote.
pub const KACHE_S3_BUCKET: &str = "KACHE_S3_BUCKET";
/// The region of the bucket.
pub const KACHE_S3_REGION: &str = "KACHE_S3_REGION";
/// The URL of an S3 server other than AWS.
pub const KACHE_S3_ENDPOINT: &str = "KACHE_S3_ENDPOINT";
/// The prefix of all object names.
pub const KACHE_S3_PREFIX: &str = "KACHE_S3_PREFIX";
/// The profile of the AWS configuration files.
pub const KACHE_S3_PROFILE: &str = "KACHE_S3_PROFILE";
/// The access key id, used by kache only.
pub const KACHE_S3_ACCESS_KEY: &str = "KACHE_S3_ACCESS_KEY";
/// The secret key that belongs to [`KACHE_S3_ACCESS_KEY`].
pub const KACHE_S3_SECRET_KEY: &str = "KACHE_S3_SECRET_KEY";
/// The checksums of uploads: `crc32` or `off`.
pub const KACHE_S3_CHECKSUMS: &str = "KACHE_S3_CHECKSUMS";
/// `1`: never write to the remote.
pub const KACHE_REMOTE_READONLY: &str = "KACHE_REMOTE_READONLY";
/// The zstd level of packs, 1 to 19.
pub const KACHE_REMOTE_LEVEL: &str = "KACHE_REMOTE_LEVEL";
/// How many requests to the remote are in flight at once.
pub const KACHE_REMOTE_CONNECTIONS: &str = "KACHE_REMOTE_CONNECTIONS";
/// The size of the parts of large transfers, such as `8MiB`.
pub const KACHE_REMOTE_PART_SIZE: &str = "KACHE_REMOTE_PART_SIZE";
/// The idle time after which the agent ends: seconds, or a time such as `10m`.
pub const KACHE_AGENT_IDLE: &str = "KACHE_AGENT_IDLE";
/// The secret key that signs manifests.
pub const KACHE_SIGNING_KEY: &str = "KACHE_SIGNING_KEY";
/// Public keys, separated by commas or spaces: a manifest that none of them has signed counts as absent.
pub const KACHE_TRUSTED_KEYS: &str = "KACHE_TRUSTED_KEYS";
/// Whether a remote without trusted keys is an error.
pub const KACHE_REQUIRE_SIGNATURES: &str = "KACHE_REQUIRE_SIGNATURES";

/// The URL of the cache service of GitHub Actions. The runner sets it for JavaScript actions only.
pub const ACTIONS_RESULTS_URL: &str = "ACTIONS_RESULTS_URL";
/// The token for that service, which is valid for one job. The runner sets it for JavaScript actions only.
pub const ACTIONS_RUNTIME_TOKEN: &str = "ACTIONS_RUNTIME_TOKEN";

/// The access key id, by the name that AWS tools use.
pub const AWS_ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
/// The secret key that belongs to [`AWS_ACCESS_KEY_ID`].
pub const AWS_SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";
/// The session token that temporary credentials also need.
pub const AWS_SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";
/// The profile that AWS tools use.
pub const AWS_PROFILE: &str = "AWS_PROFILE";
/// The configuration file of AWS tools.
pub const AWS_CONFIG_FILE: &str = "AWS_CONFIG_FILE";
/// The credentials file of AWS tools.
pub const AWS_SHARED_CREDENTIALS_FILE: &str = "AWS_SHARED_CREDENTIALS_FILE";
/// The region that AWS tools use; the second name is the older one.
pub const AWS_REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
/// The server that AWS tools use: for S3, then for all services. The first one that is set counts.
pub const AWS_ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
/// A file with a token to exchange for credentials (EKS, GitHub).
pub const AWS_WEB_IDENTITY_TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
/// The role that the token in [`AWS_WEB_IDENTITY_TOKEN_FILE`] is for.
pub const AWS_ROLE_ARN: &str = "AWS_ROLE_ARN";
/// The name of the session in that role; `kache` if unset.
pub const AWS_ROLE_SESSION_NAME: &str = "AWS_ROLE_SESSION_NAME";
/// Where a container requests credentials. The SDK reads these variables itself.
pub const AWS_CONTAINER_CREDENTIALS: [&str; 2] =
    ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
/// The variables that select credentials if [`KACHE_S3_ACCESS_KEY`] is not set.
pub const AWS_CREDENTIAL_VARIABLES: [&str; 10] = [
    AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY,
    AWS_SESSION_TOKEN,
    AWS_PROFILE,
    AWS_CONFIG_FILE,
    AWS_SHARED_CREDENTIALS_FILE,
    AWS_WEB_IDENTITY_TOKEN_FILE,
    AWS_ROLE_ARN,
    AWS_CONTAINER_CREDENTIALS[0],
    AWS_CONTAINER_CREDENTIALS[1],
];
/// `true`: never query the EC2 metadata service.
pub const AWS_EC2_METADATA_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
/// The URL of the EC2 metadata service.
pub const AWS_EC2_METADATA_SERVICE_ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
/// Proxies for https, as curl reads them: the first one that is set counts.
pub const HTTPS_PROXIES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
/// Proxies for http, likewise. `HTTP_PROXY` is left out, because it could be the header of a CGI request.
pub const HTTP_PROXIES: [&str; 3] = ["http_proxy", "all_proxy", "ALL_PROXY"];
/// Hosts to reach without a proxy, likewise.
pub const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Variables with secrets, which kache removes from the environment of git.
pub const SECRET_VARIABLES: [&str; 6] = [
    KACHE_S3_ACCESS_KEY,
    KACHE_S3_SECRET_KEY,
    KACHE_SIGNING_KEY,
    AWS_SECRET_ACCESS_KEY,
    AWS_SESSION_TOKEN,
    ACTIONS_RUNTIME_TOKEN,
];
/// Variables that git sets for its hooks, and that override the directory given to git
/// (`git rev-parse --local-env-vars`, without the settings). A hook may start a build, so kache removes them when it
/// runs git.
pub const GIT_DIRECTORY_VARIABLES: [&str; 12] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
];
/// `1`: git does not fetch objects that a partial clone lacks.
pub const GIT_NO_LAZY_FETCH: &str = "GIT_NO_LAZY_FETCH";

/// Variables in which CI services name the branch whose code a job builds; that of a pull request comes first.
/// (<https://docs.github.com/actions/reference/variables-reference>, <https://docs.gitlab.com/ci/variables/>)
pub const CI_BRANCHES: [&str; 5] = [
    "GITHUB_HEAD_REF",
    "GITHUB_REF_NAME",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
    "CI_COMMIT_BRANCH",
    "BUILDKITE_BRANCH",
];
/// Variables in which CI services name the branch that the one of a pull request is to be merged into.
pub const CI_DEFAULT_BRANCHES: [&str; 4] = [
    "GITHUB_BASE_REF",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME",
    "CI_DEFAULT_BRANCH",
    "BUILDKITE_PULL_REQUEST_BASE_BRANCH",
];

/// kache sets this for the observer in rustc: where the trace is. The observer removes it before rustc can read it.
pub const KACHE_TRACE: &str = "KACHE_TRACE";
/// kache sets this for a build script that it runs, so that its hook lets the script run. The hook removes it again.
pub const KACHE_SCRIPT: &str = "KACHE_SCRIPT";
/// Whether this process is observed, as a child of a build script that kache runs. The observer answers `getenv` for
/// it; the variable is never in the environment.
pub const KACHE_OBSERVED: &str = "KACHE_OBSERVED";
/// Libraries that the dynamic linker loads before all others, the observer among them.
pub const LD_PRELOAD: &str = "LD_PRELOAD";

/// Directories that the dynamic linker searches first. Cargo adds directories below the target directory.
pub const LD_LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// The user's home directory.
pub const HOME: &str = "HOME";
/// Base of the default cache directory.
pub const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Base of the default configuration file.
pub const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// The directories to search for programs.
pub const PATH: &str = "PATH";
/// The directory for temporary files.
pub const TMPDIR: &str = "TMPDIR";
/// All variables for that directory: Rust's std reads the first, gcc reads any.
pub const TEMPORARY_DIR_VARIABLES: [&str; 3] = [TMPDIR, "TMP", "TEMP"];

/// Cargo's home directory, with registry sources and its configuration.
pub const CARGO_HOME: &str = "CARGO_HOME";
/// The package directory; cargo sets it for every rustc.
pub const CARGO_MANIFEST_DIR: &str = "CARGO_MANIFEST_DIR";
/// What the package links (`links` in its manifest).
pub const CARGO_MANIFEST_LINKS: &str = "CARGO_MANIFEST_LINKS";
/// The manifest of the package; cargo sets it for every rustc.
pub const CARGO_MANIFEST_PATH: &str = "CARGO_MANIFEST_PATH";
/// The package's name; cargo sets it for every rustc.
pub const CARGO_PKG_NAME: &str = "CARGO_PKG_NAME";
/// The package's version; cargo sets it for every rustc.
pub const CARGO_PKG_VERSION: &str = "CARGO_PKG_VERSION";
/// Cargo sets it for the members that the user selected; clippy reads it.
pub const CARGO_PRIMARY_PACKAGE: &str = "CARGO_PRIMARY_PACKAGE";
/// The wrapper that cargo should use; `kache doctor` reports it.
pub const RUSTC_WRAPPER: &str = "RUSTC_WRAPPER";
/// The same as [`RUSTC_WRAPPER`], named after the cargo setting.
pub const CARGO_BUILD_RUSTC_WRAPPER: &str = "CARGO_BUILD_RUSTC_WRAPPER";
/// The target directory; `kache doctor` tries to link files into it.
pub const CARGO_TARGET_DIR: &str = "CARGO_TARGET_DIR";
/// The same as [`CARGO_TARGET_DIR`], named after the cargo setting.
pub const CARGO_BUILD_TARGET_DIR: &str = "CARGO_BUILD_TARGET_DIR";
/// The build directory, named after the cargo setting.
pub const CARGO_BUILD_BUILD_DIR: &str = "CARGO_BUILD_BUILD_DIR";
/// The compiler, as cargo names it for build scripts.
pub const RUSTC: &str = "RUSTC";
/// The triple that cargo builds for, as build scripts see it.
pub const TARGET: &str = "TARGET";
/// The triple that build scripts run on, as they see it.
pub const HOST: &str = "HOST";
/// The number of jobs, for build scripts.
pub const NUM_JOBS: &str = "NUM_JOBS";
/// The number of jobs of every build.
pub const CARGO_BUILD_JOBS: &str = "CARGO_BUILD_JOBS";
/// The cargo program, for nested calls of cargo.
pub const CARGO: &str = "CARGO";
/// The output directory of a build script; rustc calls that write below it are test compiles of the script.
pub const OUT_DIR: &str = "OUT_DIR";

/// The toolchain that rustup's proxies run. A proxy sets it for every program that it starts.
pub const RUSTUP_TOOLCHAIN: &str = "RUSTUP_TOOLCHAIN";
/// Rustup's home directory, `~/.rustup` by default. The settings there decide which rustc a proxy runs.
pub const RUSTUP_HOME: &str = "RUSTUP_HOME";

/// Makes rustc or clippy write a log, so the call is not cached. (Neither reads `RUST_LOG`:
/// `rustc_driver_impl::init_rustc_env_logger`.)
pub const RUSTC_LOG: &str = "RUSTC_LOG";

/// The format and destination of the log of rustc, which reads these with or without [`RUSTC_LOG`]: a bad value is an
/// error, and one names a file to create (`rustc_log::init_logger`).
pub const RUSTC_LOG_DETAILS: [&str; 8] = [
    "RUSTC_LOG_BACKTRACE",
    "RUSTC_LOG_COLOR",
    "RUSTC_LOG_ENTRY_EXIT",
    "RUSTC_LOG_FORMAT_JSON",
    "RUSTC_LOG_LINES",
    "RUSTC_LOG_OUTPUT_TARGET",
    "RUSTC_LOG_THREAD_IDS",
    "RUSTC_LOG_WRAPTREE",
];

/// Directories in which rustc searches for target specifications that are not built in.
pub const RUST_TARGET_PATH: &str = "RUST_TARGET_PATH";

/// Variables besides [`RUSTC_INPUTS`] that may change how rustc answers a question: a bad `RUST_MIN_STACK` is an error,
/// rustc reads `CI` (a trace of `getenv` shows it), and the others name libraries to load.
///
/// rustc has one language and does not read a locale, so `LANG` and `LC_*` do not count. The other variables that it
/// reads (`MAKEFLAGS`, `RUST_BACKTRACE`, `MALLOC_CONF`, `RUSTC_CTFE_BACKTRACE`, `LLVM_OVERRIDE_PRODUCER`, ...) do not
/// affect an answer.
pub const ANSWER_INPUTS: [&str; 8] = [
    "RUST_MIN_STACK",
    "CI",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LD_AUDIT",
    "DYLD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "DYLD_INSERT_LIBRARIES",
];

/// Variables that rustc itself reads and that can change its result, but that do not appear in dep-info.
///
/// * `RUSTC_BOOTSTRAP`: nightly features on stable (`rustc_feature::UnstableFeatures::from_environment`).
/// * `RUSTC_OVERRIDE_VERSION_STRING`, `RUSTC_FORCE_RUSTC_VERSION`: the version written into metadata.
/// * `RUST_TARGET_PATH`: where `--target NAME` finds its JSON.
/// * `*_DEPLOYMENT_TARGET`, `SDKROOT`: the Apple versions written into objects, even of an rlib.
pub const RUSTC_INPUTS: [&str; 10] = [
    "RUSTC_BOOTSTRAP",
    "RUSTC_OVERRIDE_VERSION_STRING",
    "RUSTC_FORCE_RUSTC_VERSION",
    RUST_TARGET_PATH,
    "MACOSX_DEPLOYMENT_TARGET",
    "IPHONEOS_DEPLOYMENT_TARGET",
    "TVOS_DEPLOYMENT_TARGET",
    "WATCHOS_DEPLOYMENT_TARGET",
    "XROS_DEPLOYMENT_TARGET",
    "SDKROOT",
];

/// Variables that clippy-driver also reads (`clippy/src/driver.rs`, `clippy_config::conf`).
pub const CLIPPY_INPUTS: [&str; 6] = [
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "CLIPPY_DISABLE_DOCS_LINKS",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_PKG_RUST_VERSION",
    "SYSROOT",
];

/// The environment of the process, or a fixed set of variables.
#[derive(Clone, Debug, Default)]
pub struct Env(Option<BTreeMap<OsString, OsString>>);

impl Env {
    /// The environment of the process.
    pub const fn process() -> Self {
        Self(None)
    }

    /// An environment of only these variables.
    pub fn of<K: Into<OsString>, V: Into<OsString>>(vars: impl IntoIterator<Item = (K, V)>) -> Self {
        Self(Some(vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect()))
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<OsString> {
        match &self.0 {
            None => std::env::var_os(name),
            Some(vars) => vars.get(std::ffi::OsStr::new(name)).cloned(),
        }
    }

    /// All variables, sorted by name.
    pub fn all(&self) -> BTreeMap<OsString, OsString> {
        self.0.clone().unwrap_or_else(|| std::env::vars_os().collect())
    }

    /// All variables whose names and values are text.
    pub fn texts(&self) -> Vec<(String, String)> {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        self.all().into_iter().filter_map(text).collect()
    }

    /// The same environment without these variables.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        let mut vars = self.all();
        vars.retain(|name, _| !names.iter().any(|removed| name == removed));
        Self(Some(vars))
    }

    /// The same environment with these variables, too.
    #[must_use]
    pub fn with<N: Into<OsString>, V: Into<OsString>>(&self, added: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut vars = self.all();
        vars.extend(added.into_iter().map(|(name, value)| (name.into(), value.into())));
        Self(Some(vars))
    }

    /// The variable as text; `None` if unset or not UTF-8.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(|value| value.into_string().ok())
    }

    /// The variable as a path; `None` if unset or empty.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The user's home directory.
    pub fn home(&self) -> Option<PathBuf> {
        self.path(HOME)
    }

    /// Cargo's home: `$CARGO_HOME`, else `~/.cargo` (`home::cargo_home`).
    pub fn cargo_home(&self) -> Option<PathBuf> {
        self.path(CARGO_HOME).or_else(|| self.home().map(|home| home.join(".cargo")))
    }
}
