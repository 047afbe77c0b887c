//! Every environment variable that kache reads, and the one way to read any.
//!
//! An [`Env`] is handed down from `main`, so that tests never change the process's own environment.
#![expect(clippy::disallowed_methods, reason = "the door itself")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// The cache directory.
pub const KACHE_CACHE_DIR: &str = "KACHE_CACHE_DIR";
/// The configuration file.
pub const KACHE_CONFIG: &str = "KACHE_CONFIG";
/// `1`: hand every call to rustc and do nothing else.
pub const KACHE_DISABLED: &str = "KACHE_DISABLED";
/// What goes to the log file: off, error, warn, info, debug, trace.
pub const KACHE_LOG: &str = "KACHE_LOG";
/// The size that the store is trimmed to.
pub const KACHE_MAX_SIZE: &str = "KACHE_MAX_SIZE";
/// `remap`, `portable` or `exact`.
pub const KACHE_PATHS: &str = "KACHE_PATHS";
/// Seconds to wait for another process that compiles the same unit.
pub const KACHE_CLAIM_WAIT: &str = "KACHE_CLAIM_WAIT";
/// `off`: do not look at what rustc reads; go by its dep-info alone.
pub const KACHE_OBSERVE: &str = "KACHE_OBSERVE";
/// `off`: let cargo run build scripts as it does without kache.
pub const KACHE_SCRIPTS: &str = "KACHE_SCRIPTS";
/// `hits`: compile on a hit too, and compare.
pub const KACHE_VERIFY: &str = "KACHE_VERIFY";
/// How many of the hits, such as `1/50`.
pub const KACHE_VERIFY_RATE: &str = "KACHE_VERIFY_RATE";
/// Set by kache for a compiler that it could not identify, and counted: ends a loop in which that leads back to kache.
pub const KACHE_DEPTH: &str = "KACHE_DEPTH";

/// The bucket of the remote.
pub const KACHE_S3_BUCKET: &str = "KACHE_S3_BUCKET";
/// The bucket's region.
pub const KACHE_S3_REGION: &str = "KACHE_S3_REGION";
/// The URL of a server other than AWS.
pub const KACHE_S3_ENDPOINT: &str = "KACHE_S3_ENDPOINT";
/// What all object names begin with.
pub const KACHE_S3_PREFIX: &str = "KACHE_S3_PREFIX";
/// The profile of the AWS configuration files.
pub const KACHE_S3_PROFILE: &str = "KACHE_S3_PROFILE";
/// Access key id, for kache alone.
pub const KACHE_S3_ACCESS_KEY: &str = "KACHE_S3_ACCESS_KEY";
/// Its secret key.
pub const KACHE_S3_SECRET_KEY: &str = "KACHE_S3_SECRET_KEY";
/// `crc32` or `off`: checksums of uploads.
pub const KACHE_S3_CHECKSUMS: &str = "KACHE_S3_CHECKSUMS";
/// `1`: never write to the remote.
pub const KACHE_REMOTE_READONLY: &str = "KACHE_REMOTE_READONLY";
/// zstd's level for packs.
pub const KACHE_REMOTE_LEVEL: &str = "KACHE_REMOTE_LEVEL";
/// After how long without work the agent ends.
pub const KACHE_AGENT_IDLE: &str = "KACHE_AGENT_IDLE";
/// What manifests are signed with.
pub const KACHE_SIGNING_KEY: &str = "KACHE_SIGNING_KEY";
/// Public keys, separated by commas: manifests without a signature of one of them do not exist.
pub const KACHE_TRUSTED_KEYS: &str = "KACHE_TRUSTED_KEYS";

/// Credentials of AWS, as its tools name them: the access key id.
pub const AWS_ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
/// Its secret key.
pub const AWS_SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";
/// What temporary credentials need besides.
pub const AWS_SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";
/// The profile that AWS's tools use.
pub const AWS_PROFILE: &str = "AWS_PROFILE";
/// Their configuration file.
pub const AWS_CONFIG_FILE: &str = "AWS_CONFIG_FILE";
/// Their file of keys.
pub const AWS_SHARED_CREDENTIALS_FILE: &str = "AWS_SHARED_CREDENTIALS_FILE";
/// The region that AWS's tools use; the second name is the older one.
pub const AWS_REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
/// The server that AWS's tools use for S3, and for all services: the first that is set counts.
pub const AWS_ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
/// A file with a token that is exchanged for credentials (EKS, GitHub).
pub const AWS_WEB_IDENTITY_TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
/// The role that the token is for.
pub const AWS_ROLE_ARN: &str = "AWS_ROLE_ARN";
/// What to call that session.
pub const AWS_ROLE_SESSION_NAME: &str = "AWS_ROLE_SESSION_NAME";
/// Where a container asks for credentials. The SDK reads them itself.
pub const AWS_CONTAINER_CREDENTIALS: [&str; 2] =
    ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
/// All that decides whose credentials are used where kache has none of its own.
pub const AMBIENT: [&str; 10] = [
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
/// `true`: never ask EC2's metadata service.
pub const AWS_EC2_METADATA_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
/// Where that service is.
pub const AWS_EC2_METADATA_SERVICE_ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
/// Proxies, as curl reads them: for https...
pub const HTTPS_PROXIES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
/// ...for http (in capitals it could be a CGI header)...
pub const HTTP_PROXIES: [&str; 3] = ["http_proxy", "all_proxy", "ALL_PROXY"];
/// ...and the hosts that need none.
pub const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// What no program that kache asks something needs to know.
pub const SECRETS: [&str; 5] =
    [KACHE_S3_ACCESS_KEY, KACHE_S3_SECRET_KEY, KACHE_SIGNING_KEY, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN];
/// What git sets for its hooks, and goes by whatever directory it is told (`git rev-parse --local-env-vars`, without
/// settings). A build may be started by a hook.
pub const GIT_PLACES: [&str; 12] = [
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
/// `1`: git fetches no object that a partial clone lacks.
pub const GIT_NO_LAZY_FETCH: &str = "GIT_NO_LAZY_FETCH";

/// Set by kache for the observer in rustc: where the trace is. The observer takes it away before rustc looks.
pub const KACHE_TRACE: &str = "KACHE_TRACE";
/// Set by kache for a build script that it runs: the hook in the program then lets it run. The hook takes it away again.
pub const KACHE_SCRIPT: &str = "KACHE_SCRIPT";
/// Answered by the observer alone: whether this process is observed, as a child of a build script that kache runs.
pub const KACHE_OBSERVED: &str = "KACHE_OBSERVED";
/// Libraries that the dynamic linker puts before all others; the observer among them.
pub const LD_PRELOAD: &str = "LD_PRELOAD";

/// Where the dynamic linker looks for libraries first. Cargo adds directories below the target directory.
pub const LD_LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// The user's home directory.
pub const HOME: &str = "HOME";
/// Base of the default cache directory.
pub const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Base of the default configuration file.
pub const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// Where programs are looked for.
pub const PATH: &str = "PATH";
/// The directory for temporary files.
pub const TMPDIR: &str = "TMPDIR";
/// All names of it: Rust's std goes by the first, gcc by any.
pub const TEMPORARY: [&str; 3] = [TMPDIR, "TMP", "TEMP"];

/// Cargo's home: registry sources and its configuration.
pub const CARGO_HOME: &str = "CARGO_HOME";
/// The package directory; cargo sets it for every rustc.
pub const CARGO_MANIFEST_DIR: &str = "CARGO_MANIFEST_DIR";
/// The package's name; cargo sets it for every rustc.
pub const CARGO_PKG_NAME: &str = "CARGO_PKG_NAME";
/// The package's version; cargo sets it for every rustc.
pub const CARGO_PKG_VERSION: &str = "CARGO_PKG_VERSION";
/// Set for members that the user asked for; clippy reads it.
pub const CARGO_PRIMARY_PACKAGE: &str = "CARGO_PRIMARY_PACKAGE";
/// The wrapper that cargo was told to use; `doctor` reports it.
pub const RUSTC_WRAPPER: &str = "RUSTC_WRAPPER";
/// Cargo's own spelling of the same.
pub const CARGO_BUILD_RUSTC_WRAPPER: &str = "CARGO_BUILD_RUSTC_WRAPPER";
/// Where cargo builds; `doctor` tries the way there.
pub const CARGO_TARGET_DIR: &str = "CARGO_TARGET_DIR";
/// Cargo's other spelling of the same.
pub const CARGO_BUILD_TARGET_DIR: &str = "CARGO_BUILD_TARGET_DIR";
/// The compiler that cargo names to build scripts.
pub const RUSTC: &str = "RUSTC";
/// The triple that cargo builds for, for build scripts.
pub const TARGET: &str = "TARGET";
/// The triple that build scripts run on, for them.
pub const HOST: &str = "HOST";
/// The program that runs a nested cargo.
pub const CARGO: &str = "CARGO";
/// A build script's output directory; rustc calls below it are a build script's probes.
pub const OUT_DIR: &str = "OUT_DIR";

/// The toolchain that rustup's proxies run. A proxy hands it to all that it starts.
pub const RUSTUP_TOOLCHAIN: &str = "RUSTUP_TOOLCHAIN";
/// Rustup's own directory.
pub const RUSTUP_HOME: &str = "RUSTUP_HOME";

/// Makes rustc or clippy write a log: never cached. (Neither reads `RUST_LOG`: `rustc_driver_impl::init_rustc_env_logger`.)
pub const RUSTC_LOG: &str = "RUSTC_LOG";

/// How rustc's log looks and where it goes. rustc reads them with or without [`RUSTC_LOG`]: a bad value is an error, and one
/// names a file to create (`rustc_log::init_logger`).
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

/// Where rustc looks for target specifications that it does not hold itself.
pub const RUST_TARGET_PATH: &str = "RUST_TARGET_PATH";

/// Variables besides [`RUSTC_INPUTS`] that may change what rustc answers to a question: a bad `RUST_MIN_STACK` is an error,
/// `CI` is read (seen by watching `getenv`), and the rest name libraries to load.
///
/// rustc has one language and asks for no locale, so `LANG` and `LC_*` do not count; nothing of the rest that it reads
/// (`MAKEFLAGS`, `RUST_BACKTRACE`, `MALLOC_CONF`, `RUSTC_CTFE_BACKTRACE`, `LLVM_OVERRIDE_PRODUCER`, ...) is part of an answer.
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

/// Variables that rustc itself reads and that can change its result, none of which appears in dep-info.
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

/// Variables that clippy-driver reads besides (`clippy/src/driver.rs`, `clippy_config::conf`).
pub const CLIPPY_INPUTS: [&str; 6] = [
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "CLIPPY_DISABLE_DOCS_LINKS",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_PKG_RUST_VERSION",
    "SYSROOT",
];

/// A view of the environment.
#[derive(Clone, Debug, Default)]
pub struct Env(Option<BTreeMap<OsString, OsString>>);

impl Env {
    /// The process's own environment.
    pub const fn process() -> Self {
        Self(None)
    }

    /// Just these variables.
    pub fn of<K: Into<OsString>, V: Into<OsString>>(vars: impl IntoIterator<Item = (K, V)>) -> Self {
        Self(Some(vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect()))
    }

    /// The variable's value.
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
