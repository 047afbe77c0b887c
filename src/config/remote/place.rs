//! The layers of a remote, and the places that can hold objects, as settings describe them.

use super::given::{digest, own_or_default};
use crate::config::env::{self, Env};
use crate::config::secret::Secret;

/// Whether uploads carry checksums that the server verifies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksums {
    /// CRC32, declared when an upload is created and given for every part.
    Crc32,
    /// No checksums, for servers that do not support them.
    Off,
}

/// One layer of the remote: a place, and how kache uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSettings {
    /// Where the objects are.
    pub place: PlaceSettings,
    /// Whether kache never writes to this layer.
    pub read_only: bool,
    /// Public keys whose signatures are trusted in this layer. Empty: signatures are not required.
    pub trusted_keys: Vec<String>,
}

/// A place that can hold objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceSettings {
    /// An S3 bucket, below a prefix.
    S3(S3Settings),
    /// A directory that a web server publishes; kache only reads it.
    Http(HttpSettings),
    /// A directory, such as a mounted network file system.
    Dir(DirSettings),
    /// The cache service of GitHub Actions.
    Github(GithubSettings),
}

/// An S3 bucket and how to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Settings {
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
    /// The checksums of uploads.
    pub checksums: Checksums,
}

/// A directory that a web server publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// URL of the directory, without a slash at its end, a user name or a password.
    pub url: String,
}

/// A directory of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirSettings {
    /// Absolute path of the directory, which kache never creates.
    pub path: std::path::PathBuf,
}

/// The cache service of GitHub Actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GithubSettings {
    /// URL of the service, without a slash at its end.
    pub url: String,
    /// Token of the job.
    pub token: Secret,
}

impl PlaceSettings {
    /// Where the objects are, for people; without credentials.
    pub fn name(&self) -> String {
        match self {
            Self::S3(s3) => {
                let at = s3.endpoint.as_ref().map_or_else(String::new, |endpoint| format!(" at {endpoint}"));
                let below = if s3.prefix.is_empty() { String::new() } else { format!("/{}", s3.prefix) };
                format!("s3://{}{below}{at}", s3.bucket)
            }
            Self::Http(http) => http.url.clone(),
            Self::Dir(dir) => format!("directory {}", dir.path.display()),
            Self::Github(github) => format!("GitHub Actions cache at {}", github.url),
        }
    }

    /// The texts that together identify the place. Those of a bucket are the same as in earlier versions, because the
    /// names of upload queues are made of them.
    pub(super) fn identifying(&self) -> Vec<String> {
        match self {
            Self::S3(s3) => vec![own_or_default(s3.endpoint.as_ref()), s3.bucket.clone(), s3.prefix.clone()],
            Self::Http(http) => vec!["http".to_owned(), http.url.clone()],
            Self::Dir(dir) => vec!["dir".to_owned(), dir.path.to_string_lossy().into_owned()],
            Self::Github(github) => vec!["github".to_owned(), github.url.clone()],
        }
    }

    /// Everything that distinguishes the access to this place from others. Credentials are digests.
    pub(super) fn access(&self, vars: &Env) -> Vec<String> {
        match self {
            Self::S3(s3) => {
                let of_aws =
                    || env::AWS_CREDENTIAL_VARIABLES.map(|name| vars.text(name).unwrap_or_default()).join("\0");
                let keys = s3.keys.as_ref().map_or_else(of_aws, |(id, key)| format!("{id}:{}", key.expose()));
                let (region, profile) = (own_or_default(s3.region.as_ref()), own_or_default(s3.profile.as_ref()));
                vec![region, profile, digest(&keys), format!("{:?}", s3.checksums)]
            }
            Self::Http(_) | Self::Dir(_) => Vec::new(),
            Self::Github(github) => vec![digest(github.token.expose())],
        }
    }
}
