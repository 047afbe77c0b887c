//! Settings of the remote: its layers, with which credentials, and whose entries are trusted.
//!
//! Read on demand, and never on a hit. Secrets are never printed.

mod given;
mod layers;
pub mod place;

use std::time::Duration;

use bytesize::ByteSize;

use super::env::Env;
use super::error::ConfigError;
use super::secret::Secret;
use super::table;
use super::{Config, SWITCH, TIME, ValueKind};
use given::{Given, TableSource, digest, incomplete, set};
use place::LayerSettings;

/// The default zstd level of packs, which is also the default of zstd.
pub const DEFAULT_LEVEL: i32 = 3;

/// The default of `connections`.
pub const DEFAULT_CONNECTIONS: usize = 64;

/// The default of `part_size`.
pub const DEFAULT_PART_SIZE: ByteSize = ByteSize::mib(8);

/// The default of `agent_idle`.
pub const DEFAULT_AGENT_IDLE: Duration = Duration::from_mins(10);

/// The remote: one or more layers, and how kache uses all of them.
///
/// kache looks for an entry in the layers in their order, and writes to the first one that is not read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSettings {
    /// The layers, in reading order; at least one.
    pub layers: Vec<LayerSettings>,
    /// Whether kache writes to no layer (`KACHE_REMOTE_READONLY`). Use [`Self::writer`] to learn whether kache writes.
    pub read_only: bool,
    /// The zstd level of packs.
    pub level: i32,
    /// Requests to one layer in flight at once.
    pub connections: usize,
    /// Size of the parts of large transfers.
    pub part_size: ByteSize,
    /// The idle time after which the agent ends.
    pub agent_idle: Duration,
    /// The secret key that signs manifests. `None`: they are not signed.
    pub signing_key: Option<Secret>,
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

impl RemoteSettings {
    /// Reads the settings of the remote. `None`: none is configured.
    pub fn load(vars: &Env, config: &Config) -> Result<Option<Self>, ConfigError> {
        let tables = &config.remote;
        let layers = layers::load(vars, tables)?;
        if layers.is_empty() {
            return Ok(None);
        }
        let of_whole = |section: &super::file::RemoteSection| {
            let numbers = section.level.is_some() || section.connections.is_some();
            let others = section.agent_idle.is_some() || section.require_signatures.is_some();
            numbers || others || section.part_size.is_some()
        };
        if let Some(later) = tables.iter().skip(1).position(of_whole) {
            let what = format!("cache.remote {}", later + 2);
            return Err(incomplete(
                &what,
                "has `level`, `connections`, `part_size`, `agent_idle` or `require_signatures`, which belong into the \
                 first remote of the list",
            ));
        }
        let first = tables.first().cloned().unwrap_or_default();
        let source = TableSource { vars, has_variables: true, position: None };
        let level = source.pick(&table::REMOTE_LEVEL, first.level.map(|level| level.to_string()));
        let connections =
            source.pick(&table::REMOTE_CONNECTIONS, first.connections.map(|connections| connections.to_string()));
        let part_size = source.pick(&table::REMOTE_PART_SIZE, first.part_size);
        let agent_idle = source.pick(&table::REMOTE_AGENT_IDLE, first.agent_idle);
        let read_only = Given::variable(vars, table::REMOTE_READ_ONLY.variable);
        let signing_key = set(vars, table::REMOTE_SIGNING_KEY.variable).map(Secret::new);
        let required = first.require_signatures.map(|required| required.to_string());
        let required = source.pick(&table::REMOTE_REQUIRE_SIGNATURES, required);
        let trusts_anyone = signing_key.is_none() && layers.iter().any(|layer| layer.trusted_keys.is_empty());
        if required.map_or(Ok(false), |given| given.read(&SWITCH))? && trusts_anyone {
            return Err(incomplete(
                table::REMOTE_REQUIRE_SIGNATURES.key,
                "is set, but there are no trusted_keys: nothing could be restored",
            ));
        }
        Ok(Some(Self {
            layers,
            read_only: read_only.map_or(Ok(false), |given| given.read(&SWITCH))?,
            level: level.map_or(Ok(DEFAULT_LEVEL), |given| given.read(&ZSTD_LEVEL))?,
            connections: connections.map_or(Ok(DEFAULT_CONNECTIONS), |given| given.read(&CONNECTIONS))?,
            part_size: part_size.map_or(Ok(DEFAULT_PART_SIZE), |given| given.read(&PART_SIZE))?,
            agent_idle: agent_idle.map_or(Ok(DEFAULT_AGENT_IDLE), |given| given.read(&TIME))?,
            signing_key,
        }))
    }

    /// The layer that kache writes to: the first one that is not read-only. `None`: kache does not write.
    pub fn writer(&self) -> Option<&LayerSettings> {
        self.writer_index().map(|at| &self.layers[at])
    }

    /// The index of [`Self::writer`] in the layers.
    pub fn writer_index(&self) -> Option<usize> {
        self.layers.iter().position(|layer| !layer.read_only).filter(|_| !self.read_only)
    }

    /// Where the layers are, for people; without credentials.
    pub fn place(&self) -> String {
        self.layers.iter().map(|layer| layer.place.name()).collect::<Vec<_>>().join(", then ")
    }

    /// A short name for the place that kache writes to, else for all places, in hexadecimal. Entries that wait for one
    /// place must not go to another, whatever the other settings are.
    pub fn destination(&self) -> String {
        let written = self.writer().map(|layer| layer.place.identifying());
        let parts = written
            .unwrap_or_else(|| self.layers.iter().flat_map(|layer| layer.place.identifying()).collect::<Vec<_>>());
        digest(&parts.join("\0"))[..16].to_owned()
    }

    /// A digest of everything that distinguishes this remote from others, including the credentials, which it does not
    /// reveal. An agent serves only clients with the same identity: it keeps its credentials, and those in the
    /// environment are often short-lived.
    pub fn identity(&self, vars: &Env) -> String {
        let signing_key = self.signing_key.as_ref().map_or("", Secret::expose);
        let mut parts = vec![format!("{} {}", self.read_only, self.level), digest(signing_key)];
        parts.push(format!("{} {}", self.connections, self.part_size.as_u64()));
        for layer in &self.layers {
            let mut of_layer = layer.place.identifying();
            of_layer.extend(layer.place.access(vars));
            of_layer.extend([layer.read_only.to_string(), layer.trusted_keys.join(",")]);
            parts.push(digest(&of_layer.join("\0")));
        }
        digest(&parts.join("\0"))
    }
}

#[cfg(test)]
mod list_tests;

#[cfg(test)]
mod tests {
    use super::place::{PlaceSettings, S3Settings};
    use super::*;
    use crate::config::env;

    /// The settings of a bucket in this layer.
    fn bucket_of(remote: &RemoteSettings, layer: usize) -> &S3Settings {
        let PlaceSettings::S3(s3) = &remote.layers[layer].place else { panic!("{remote:?}") };
        s3
    }

    pub(super) fn load(vars: &[(&str, &str)], toml: &str) -> Result<Option<RemoteSettings>, ConfigError> {
        load_with(vars, toml).0
    }

    /// The settings of the remote, and all others.
    pub(super) fn load_with(
        vars: &[(&str, &str)],
        toml: &str,
    ) -> (Result<Option<RemoteSettings>, ConfigError>, Config) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        crate::fsx::Publish::default().bytes(&path, toml.as_bytes()).unwrap();
        let mut vars: Vec<(String, String)> = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        vars.push((env::KACHE_CONFIG.into(), path.to_str().unwrap().into()));
        vars.push((env::HOME.into(), "/home/x".into()));
        let vars = Env::of(vars);
        let config = Config::load(&vars).unwrap();
        (RemoteSettings::load(&vars, &config), config)
    }

    #[test]
    fn environment_wins_over_the_file() {
        assert_eq!(load(&[], "").unwrap(), None);
        let file =
            "[cache.remote]\ntype = \"s3\"\nbucket = \"b\"\nprefix = \"/team/x/\"\nlevel = 7\ntrusted_keys = [\"k\"]\n";
        let remote =
            load(&[(env::KACHE_S3_BUCKET, "c"), (env::KACHE_S3_ENDPOINT, "http://h:1/")], file).unwrap().unwrap();
        let bucket = bucket_of(&remote, 0);
        assert_eq!((bucket.bucket.as_str(), bucket.prefix.as_str(), remote.level), ("c", "team/x", 7));
        assert_eq!(bucket.endpoint.as_deref(), Some("http://h:1"));
        assert_eq!(remote.layers[0].trusted_keys, ["k"]);
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
        let endpoint = |vars: &[(&str, &str)], file: &str| bucket_of(&of(vars, file), 0).endpoint.clone();
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
    fn r08_an_endpoint_holds_no_password() {
        let of = |url| load(&[(env::KACHE_S3_BUCKET, "b"), (env::KACHE_S3_ENDPOINT, url)], "");
        for url in [
            "https://me:hunter2@host",
            "http://hunter2@host:1/x",
            "https://me:hunter2@host?x",
            "me:hunter2@host",
            "//me:hunter2@host/x",
            "HTTPS://me:hunter2@host",
            "https:/me:hunter2@host",
            "https:///me:hunter2@host",
            "https://me:hunter2/more@host",
        ] {
            let error = of(url).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && error.contains("KACHE_S3_ACCESS_KEY"), "{error}");
        }
        for url in ["https://host/a@b", "http://host:9000/a@b", "http://[::1]:9000/a@b", "http://[::1]/a@b"] {
            assert!(of(url).is_ok(), "control: {url}");
        }
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
