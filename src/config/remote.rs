//! Settings of the remote: which bucket, with which credentials, and whose entries are trusted.
//!
//! Read on demand, and never on a hit. Secrets are never printed.

use std::time::Duration;

use bytesize::ByteSize;

use super::endpoint::endpoint;
use super::env::{self, Env};
use super::error::ConfigError;
use super::given::{Given, incomplete, set};
use super::secret::Secret;
use super::table::{self, Row};
use super::{Config, SWITCH, TIME, ValueKind};

/// The default zstd level of packs, which is also the default of zstd.
pub const DEFAULT_LEVEL: i32 = 3;

/// The default of `connections`.
pub const DEFAULT_CONNECTIONS: usize = 64;

/// The default of `part_size`.
pub const DEFAULT_PART_SIZE: ByteSize = ByteSize::mib(8);

/// The default of `agent_idle`.
pub const DEFAULT_AGENT_IDLE: Duration = Duration::from_mins(10);

/// Whether uploads carry checksums that the server verifies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksums {
    /// CRC32, declared when an upload is created and given for every part.
    Crc32,
    /// No checksums, for servers that do not support them.
    Off,
}

/// An S3 bucket and how to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSettings {
    /// Name of the bucket.
    pub bucket: String,
    /// Region of the bucket. `None`: the AWS settings decide.
    pub region: Option<String>,
    /// URL of the server. `None`: AWS.
    pub endpoint: Option<String>,
    /// Prefix of all object names, without slashes at its ends. May be empty.
    pub prefix: String,
    /// Profile in the AWS configuration files.
    pub profile: Option<String>,
    /// Access key id and secret key, if set for kache alone.
    pub keys: Option<(String, Secret)>,
    /// Whether kache never writes to the remote.
    pub read_only: bool,
    /// The zstd level of packs.
    pub level: i32,
    /// Requests in flight at once.
    pub connections: usize,
    /// Size of the parts of large transfers.
    pub part_size: ByteSize,
    /// The checksums of uploads.
    pub checksums: Checksums,
    /// The idle time after which the agent ends.
    pub agent_idle: Duration,
    /// The secret key that signs manifests. `None`: they are not signed.
    pub signing_key: Option<Secret>,
    /// Public keys whose signatures are trusted. Empty: signatures are not required.
    pub trusted_keys: Vec<String>,
}

const ZSTD_LEVEL: ValueKind<i32> =
    ValueKind::new(|text| text.parse().ok().filter(|level| (1..=19).contains(level)), "a level from 1 to 19");
const CONNECTIONS: ValueKind<usize> =
    ValueKind::new(|text| text.parse().ok().filter(|number| (1..=1024).contains(number)), "a number from 1 to 1024");
// S3 takes no smaller parts, except the last one, and no larger ones.
const PART_SIZE: ValueKind<ByteSize> = ValueKind::new(
    |text| text.parse().ok().filter(|size| (ByteSize::mib(5)..=ByteSize::gib(5)).contains(size)),
    "a size from \"5MiB\" to \"5GiB\"",
);
const CHECKSUMS: ValueKind<Checksums> = ValueKind::new(
    |text| match text {
        "crc32" => Some(Checksums::Crc32),
        "off" => Some(Checksums::Off),
        _ => None,
    },
    "\"crc32\" or \"off\"",
);
const KIND: ValueKind<()> = ValueKind::new(|text| (text == "s3").then_some(()), "\"s3\"");
const BUCKET: ValueKind<String> = ValueKind::new(
    |text| {
        let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'/');
        (!text.is_empty() && text.bytes().all(is_safe)).then(|| text.to_owned())
    },
    "the name of a bucket",
);
const PREFIX: ValueKind<String> = ValueKind::new(
    |text| {
        let trimmed = text.trim_matches('/');
        let is_part = |part: &str| {
            let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            !matches!(part, "" | "." | "..") && part.bytes().all(is_safe)
        };
        (trimmed.is_empty() || trimmed.split('/').all(is_part)).then(|| trimmed.to_owned())
    },
    "letters, digits, \".\", \"-\" and \"_\", in parts with \"/\" between them",
);

impl RemoteSettings {
    /// Reads the settings of the remote. `None`: none is configured.
    pub fn load(vars: &Env, config: &Config) -> Result<Option<Self>, ConfigError> {
        let file = config.remote.clone().unwrap_or_default();
        if let Some(kind) = &file.kind {
            KIND.read(table::REMOTE_TYPE.key, kind)?;
        }
        let pick = |row: &Row, in_file| Given::pick(vars, row, in_file);
        let text = |row: &Row, in_file: Option<String>| set(vars, row.variable).or(in_file);
        let Some(bucket) = pick(&table::REMOTE_BUCKET, file.bucket) else {
            // A section without a bucket is a mistake, not a request for no remote.
            return match config.remote.is_some() {
                true => Err(incomplete("cache.remote", "names no bucket: add `bucket`, or set KACHE_S3_BUCKET")),
                false => Ok(None),
            };
        };
        let prefix = pick(&table::REMOTE_PREFIX, file.prefix);
        let read_only = pick(&table::REMOTE_READ_ONLY, file.read_only.map(|read_only| read_only.to_string()));
        let level = file.level.map(|level| level.to_string());
        let level = pick(&table::REMOTE_LEVEL, level);
        let connections = file.connections.map(|connections| connections.to_string());
        let connections = pick(&table::REMOTE_CONNECTIONS, connections);
        let part_size = pick(&table::REMOTE_PART_SIZE, file.part_size);
        let checksums = pick(&table::REMOTE_CHECKSUMS, file.checksums);
        let agent_idle = pick(&table::REMOTE_AGENT_IDLE, file.agent_idle);
        Ok(Some(Self {
            bucket: bucket.read(&BUCKET)?,
            region: text(&table::REMOTE_REGION, file.region),
            endpoint: endpoint(vars, file.endpoint)?,
            prefix: prefix.map_or(Ok(String::new()), |given| given.read(&PREFIX))?,
            profile: text(&table::REMOTE_PROFILE, file.profile),
            keys: keys(vars)?,
            read_only: read_only.map_or(Ok(false), |given| given.read(&SWITCH))?,
            level: level.map_or(Ok(DEFAULT_LEVEL), |given| given.read(&ZSTD_LEVEL))?,
            connections: connections.map_or(Ok(DEFAULT_CONNECTIONS), |given| given.read(&CONNECTIONS))?,
            part_size: part_size.map_or(Ok(DEFAULT_PART_SIZE), |given| given.read(&PART_SIZE))?,
            checksums: checksums.map_or(Ok(Checksums::Crc32), |given| given.read(&CHECKSUMS))?,
            agent_idle: agent_idle.map_or(Ok(DEFAULT_AGENT_IDLE), |given| given.read(&TIME))?,
            signing_key: set(vars, table::REMOTE_SIGNING_KEY.variable).map(Secret::new),
            trusted_keys: trusted_keys(vars, file.trusted_keys)?,
        }))
    }

    /// Where the remote is, for people; without credentials.
    pub fn place(&self) -> String {
        let at = self.endpoint.as_ref().map_or_else(String::new, |endpoint| format!(" at {endpoint}"));
        let below = if self.prefix.is_empty() { String::new() } else { format!("/{}", self.prefix) };
        format!("s3://{}{below}{at}", self.bucket)
    }

    /// A short name for the place of the objects (endpoint, bucket and prefix), in hexadecimal. Entries that wait for
    /// one place must not go to another, whatever the other settings are.
    pub fn destination(&self) -> String {
        let endpoint = self.endpoint.as_deref().unwrap_or_default();
        let parts = [endpoint, &self.bucket, &self.prefix].join("\0");
        blake3::hash(parts.as_bytes()).to_hex()[..16].to_owned()
    }

    /// A digest of everything that distinguishes this remote from others, including the credentials, which it does not
    /// reveal. An agent serves only clients with the same identity: it keeps its credentials, and those in the
    /// environment are often short-lived.
    pub fn identity(&self, vars: &Env) -> String {
        let own = |value: &Option<String>| value.clone().unwrap_or_default();
        let secret = |value: Option<&str>| blake3::hash(value.unwrap_or_default().as_bytes()).to_hex().to_string();
        let of_aws = || env::AWS_CREDENTIAL_VARIABLES.map(|name| vars.text(name).unwrap_or_default()).join("\0");
        let keys = self.keys.as_ref().map_or_else(of_aws, |(id, key)| format!("{id}:{}", key.expose()));
        let parts = [
            self.bucket.clone(),
            own(&self.region),
            own(&self.endpoint),
            self.prefix.clone(),
            own(&self.profile),
            secret(Some(&keys)),
            secret(self.signing_key.as_ref().map(Secret::expose)),
            self.trusted_keys.join(","),
            format!("{} {} {:?}", self.read_only, self.level, self.checksums),
            format!("{} {}", self.connections, self.part_size.as_u64()),
        ];
        secret(Some(&parts.join("\0")))
    }
}

fn split(list: &str) -> Vec<String> {
    list.split([',', ' ']).filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

/// The public keys that are trusted. A variable without a key is a mistake, such as a secret that the job does not
/// have: it must not mean that anyone is trusted.
fn trusted_keys(vars: &Env, in_file: Option<Vec<String>>) -> Result<Vec<String>, ConfigError> {
    let variable = table::REMOTE_TRUSTED_KEYS.variable;
    let Some(list) = vars.text(variable) else { return Ok(in_file.unwrap_or_default()) };
    let keys = split(&list);
    let none = || incomplete(variable, "names no key: unset it, or list the public keys that are trusted");
    if keys.is_empty() { Err(none()) } else { Ok(keys) }
}

/// Both keys or neither: with only one, the SDK would silently use other credentials.
fn keys(vars: &Env) -> Result<Option<(String, Secret)>, ConfigError> {
    match (set(vars, env::KACHE_S3_ACCESS_KEY), set(vars, env::KACHE_S3_SECRET_KEY)) {
        (Some(id), Some(key)) => Ok(Some((id, Secret::new(key)))),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(incomplete(env::KACHE_S3_ACCESS_KEY, "is set without KACHE_S3_SECRET_KEY: set both, or neither"))
        }
        (None, Some(_)) => {
            Err(incomplete(env::KACHE_S3_SECRET_KEY, "is set without KACHE_S3_ACCESS_KEY: set both, or neither"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(vars: &[(&str, &str)], toml: &str) -> Result<Option<RemoteSettings>, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        crate::fsx::Publish::default().bytes(&path, toml.as_bytes()).unwrap();
        let mut vars: Vec<(String, String)> = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        vars.push((env::KACHE_CONFIG.into(), path.to_str().unwrap().into()));
        vars.push((env::HOME.into(), "/home/x".into()));
        let vars = Env::of(vars);
        RemoteSettings::load(&vars, &Config::load(&vars)?)
    }

    #[test]
    fn environment_wins_over_the_file() {
        assert_eq!(load(&[], "").unwrap(), None);
        let file =
            "[cache.remote]\ntype = \"s3\"\nbucket = \"b\"\nprefix = \"/team/x/\"\nlevel = 7\ntrusted_keys = [\"k\"]\n";
        let remote =
            load(&[(env::KACHE_S3_BUCKET, "c"), (env::KACHE_S3_ENDPOINT, "http://h:1/")], file).unwrap().unwrap();
        assert_eq!((remote.bucket.as_str(), remote.prefix.as_str(), remote.level), ("c", "team/x", 7));
        assert_eq!((remote.endpoint.as_deref(), remote.trusted_keys), (Some("http://h:1"), vec!["k".to_owned()]));
        let read_only = load(&[(env::KACHE_REMOTE_READONLY, "1")], file).unwrap().unwrap().read_only;
        assert!(read_only && !remote.read_only);
    }

    #[test]
    fn half_a_setting_is_an_error_that_says_so() {
        let error = |vars: &[(&str, &str)], file| load(vars, file).unwrap_err().to_string();
        let bucket = (env::KACHE_S3_BUCKET, "b");
        assert!(error(&[bucket, (env::KACHE_S3_ACCESS_KEY, "id")], "").contains("KACHE_S3_SECRET_KEY"));
        assert!(error(&[bucket, (env::KACHE_S3_SECRET_KEY, "key")], "").contains("KACHE_S3_ACCESS_KEY"));
        assert!(error(&[], "[cache.remote]\ntype = \"s3\"\n").contains("bucket"));
        for bad in [(env::KACHE_S3_PREFIX, "a//b"), (env::KACHE_S3_PREFIX, "../x"), (env::KACHE_S3_ENDPOINT, "host:1")]
        {
            assert!(load(&[bucket, bad], "").is_err(), "{bad:?}");
        }
        assert!(load(&[bucket], "[cache.remote]\ntype = \"gcs\"\n").is_err());
        for blank in ["", " ", ",", " , "] {
            assert!(error(&[bucket, (env::KACHE_TRUSTED_KEYS, blank)], "").contains("KACHE_TRUSTED_KEYS"), "{blank:?}");
        }
    }

    #[test]
    fn aws_variables_name_the_endpoint_where_nothing_of_kaches_does() {
        let (own, s3, all) = (env::KACHE_S3_ENDPOINT, env::AWS_ENDPOINTS[0], env::AWS_ENDPOINTS[1]);
        let of = |vars: &[(&str, &str)], file: &str| {
            let vars = [&[(env::KACHE_S3_BUCKET, "b")], vars].concat();
            load(&vars, &format!("[cache.remote]\n{file}")).unwrap().unwrap()
        };
        let endpoint = |vars: &[(&str, &str)], file: &str| of(vars, file).endpoint;
        let vars = [(own, "http://own"), (s3, "http://s3/"), (all, "http://all")];
        let file = "endpoint = \"http://file\"";
        assert_eq!(endpoint(&vars, file).as_deref(), Some("http://own"));
        assert_eq!(endpoint(&vars[1..], file).as_deref(), Some("http://file"));
        assert_eq!(endpoint(&vars[1..], "").as_deref(), Some("http://s3"));
        assert_eq!(endpoint(&vars[2..], "").as_deref(), Some("http://all"));
        assert_eq!(endpoint(&[(own, ""), (s3, ""), vars[2]], "").as_deref(), Some("http://all"), "empty is unset");
        assert_eq!(endpoint(&[], ""), None);

        let none = Env::of([("", ""); 0]);
        let (aws, other) = (of(&vars[2..], ""), of(&[], ""));
        assert_ne!(aws.identity(&none), other.identity(&none));
        assert_ne!(aws.destination(), other.destination());
        assert_eq!(aws.identity(&none), of(&[(own, "http://all")], "").identity(&none));

        let alone = load(&vars[1..], "").unwrap();
        assert_eq!(alone, None, "an endpoint is no bucket");
        let bad = load(&[(env::KACHE_S3_BUCKET, "b"), (all, "localhost:4566")], "").unwrap_err().to_string();
        assert!(bad.contains(all), "{bad}");
    }

    #[test]
    fn r08_secrets_are_not_printed_but_tell_remotes_apart() {
        let of = |key| {
            let vars = [(env::KACHE_S3_BUCKET, "b"), (env::KACHE_S3_ACCESS_KEY, "id"), (env::KACHE_S3_SECRET_KEY, key)];
            load(&vars, "").unwrap().unwrap()
        };
        let (one, other) = (of("hunter2"), of("hunter3"));
        assert!(!format!("{one:?}").contains("hunter2"));
        let none = Env::of([("", ""); 0]);
        assert!(!one.identity(&none).contains("hunter2"));
        assert_ne!(one.identity(&none), other.identity(&none));
        assert_eq!(one.identity(&none), of("hunter2").identity(&none));
        assert_eq!(one.destination(), other.destination());
    }

    #[test]
    fn aws_variables_distinguish_remotes_unless_kache_has_keys_of_its_own() {
        let token = |token| Env::of([(env::AWS_ACCESS_KEY_ID, "id"), (env::AWS_SESSION_TOKEN, token)]);
        let of_aws = load(&[(env::KACHE_S3_BUCKET, "b")], "").unwrap().unwrap();
        assert_ne!(of_aws.identity(&token("old")), of_aws.identity(&token("new")));
        assert_eq!(of_aws.identity(&token("old")), of_aws.identity(&token("old")));
        let vars = [(env::KACHE_S3_BUCKET, "b"), (env::KACHE_S3_ACCESS_KEY, "x"), (env::KACHE_S3_SECRET_KEY, "y")];
        let own = load(&vars, "").unwrap().unwrap();
        assert_eq!(own.identity(&token("old")), own.identity(&token("new")));
    }

    #[test]
    fn transfers_have_limits() {
        let of = |vars: &[(&str, &str)], file: &str| {
            let vars = [&[(env::KACHE_S3_BUCKET, "b")], vars].concat();
            load(&vars, &format!("[cache.remote]\n{file}")).map(|remote| remote.unwrap())
        };
        let (connections, part_size) = (env::KACHE_REMOTE_CONNECTIONS, env::KACHE_REMOTE_PART_SIZE);
        let read = |vars: &[(&str, &str)], file: &str| {
            let remote = of(vars, file).unwrap();
            (remote.connections, remote.part_size)
        };
        assert_eq!(read(&[], ""), (64, ByteSize::mib(8)));
        let file = "connections = 4\npart_size = \"16 MiB\"";
        assert_eq!(read(&[], file), (4, ByteSize::mib(16)));
        assert_eq!(read(&[(connections, "1024"), (part_size, "5GiB")], file), (1024, ByteSize::gib(5)));
        assert_eq!(read(&[(connections, "1"), (part_size, "5242880")], file), (1, ByteSize::mib(5)));
        for bad in ["0", "1025", "-1", "many"] {
            let error = of(&[(connections, bad)], "").unwrap_err().to_string();
            assert!(error.contains("a number from 1 to 1024"), "{error}");
        }
        for bad in ["0", "5MB", "4MiB", "6GiB", "5242879", "large"] {
            let error = of(&[(part_size, bad)], "").unwrap_err().to_string();
            assert!(error.contains("from \"5MiB\" to \"5GiB\""), "{error}");
        }
        let error = of(&[], "connections = -3").unwrap_err().to_string();
        assert!(error.contains("cache.remote.connections"), "{error}");
        let none = Env::of([("", ""); 0]);
        let plain = of(&[], "").unwrap().identity(&none);
        assert_eq!(plain, of(&[(connections, "64")], "").unwrap().identity(&none));
        for other in [(connections, "9"), (part_size, "9MiB")] {
            assert_ne!(plain, of(&[other], "").unwrap().identity(&none), "an agent with other limits: {other:?}");
        }
    }

    #[test]
    fn a_destination_is_the_place_of_the_objects() {
        let of = |more: (&str, &str)| load(&[(env::KACHE_S3_BUCKET, "b"), more], "").unwrap().unwrap().destination();
        let plain = of((env::KACHE_REMOTE_LEVEL, "3"));
        assert_eq!(plain, of((env::KACHE_REMOTE_LEVEL, "9")));
        for other in [(env::KACHE_S3_PREFIX, "p"), (env::KACHE_S3_ENDPOINT, "http://h")] {
            assert_ne!(plain, of(other), "{other:?}");
        }
        assert!(plain.len() == 16 && plain.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
