//! Reads the layers of the remote: tables of the file, and the variables that describe one of them.
//!
//! The `KACHE_S3_*` variables describe the first layer of type `s3`. Without a table in the file, the variables
//! describe the only layer. `KACHE_REMOTE_TYPE` sets the type of the only layer, and has no effect on a list of
//! several.

use super::given::{Given, TableSource, incomplete, set};
use super::place::{Checksums, DirSettings, GithubSettings, HttpSettings, LayerSettings, PlaceSettings, S3Settings};
use crate::config::env::{self, Env};
use crate::config::error::ConfigError;
use crate::config::file::RemoteSection;
use crate::config::secret::Secret;
use crate::config::table::{self, Row};
use crate::config::{SWITCH, ValueKind, absolute};

/// The type of a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    S3,
    Http,
    Dir,
    Github,
}

const KIND: ValueKind<Kind> = ValueKind::new(
    |text| match text {
        "s3" => Some(Kind::S3),
        "http" => Some(Kind::Http),
        "dir" => Some(Kind::Dir),
        "github" => Some(Kind::Github),
        _ => None,
    },
    "\"s3\", \"http\", \"dir\" or \"github\"",
);
const CHECKSUMS: ValueKind<Checksums> = ValueKind::new(
    |text| match text {
        "crc32" => Some(Checksums::Crc32),
        "off" => Some(Checksums::Off),
        _ => None,
    },
    "\"crc32\" or \"off\"",
);
const BUCKET: ValueKind<String> = ValueKind::new(
    |text| {
        let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'/');
        (!text.is_empty() && text.bytes().all(is_safe)).then(|| text.to_owned())
    },
    "the name of a bucket",
);
const ENDPOINT: ValueKind<String> = ValueKind::new(url, "a URL that begins with https:// or http://");
const URL: ValueKind<String> = ValueKind::new(
    |text| url(text).filter(|url| !url.contains(['?', '#'])),
    "a URL that begins with https:// or http://, without \"?\" and \"#\"",
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

/// What to do instead of writing a password into an endpoint.
const NO_PASSWORD_IN_ENDPOINT: &str = "may contain a password: set KACHE_S3_ACCESS_KEY and KACHE_S3_SECRET_KEY instead";
const NO_PASSWORD_IN_URL: &str = "may contain a password: kache reads a web server without credentials";

fn url(text: &str) -> Option<String> {
    let is_url = text.starts_with("https://") || text.starts_with("http://");
    is_url.then(|| text.trim_end_matches('/').to_owned())
}

/// Reads the layers, in reading order. Empty: no remote is configured.
pub(super) fn load(vars: &Env, tables: &[RemoteSection]) -> Result<Vec<LayerSettings>, ConfigError> {
    let of_variable = Given::variable(vars, table::REMOTE_TYPE.variable).filter(|_| tables.len() <= 1);
    let is_named = of_variable.is_some() || set(vars, table::REMOTE_BUCKET.variable).is_some();
    let only_variables = [RemoteSection::default()];
    let tables = if tables.is_empty() && is_named { &only_variables } else { tables };
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let trusted_keys = trusted_keys(vars)?;
    let is_list = tables.len() > 1;
    let mut s3_keys = SharedKeys::new(vars)?;
    let mut layers = Vec::new();
    for (at, section) in tables.iter().enumerate() {
        let position = is_list.then_some(at + 1);
        let source = TableSource { vars, has_variables: false, position };
        let kind = kind(&source, section, of_variable.as_ref())?;
        let place = match kind {
            Kind::S3 => {
                let source = TableSource { has_variables: !s3_keys.has_first, ..source.clone() };
                PlaceSettings::S3(s3(&source, section, &mut s3_keys)?)
            }
            Kind::Http => PlaceSettings::Http(http(&source, section)?),
            Kind::Dir => PlaceSettings::Dir(dir(&source, section)?),
            Kind::Github => PlaceSettings::Github(github(vars)?),
        };
        // The variable decides about a whole remote. `0` allows writes to the only layer, but not to those of a list.
        let of_variable = Given::variable(vars, table::REMOTE_READ_ONLY.variable);
        let of_variable = of_variable.map(|given| given.read(&SWITCH)).transpose()?.filter(|_| !is_list);
        let read_only = of_variable.or(section.read_only).unwrap_or(false) || kind == Kind::Http;
        let keys = trusted_keys.clone().or_else(|| section.trusted_keys.clone());
        layers.push(LayerSettings { place, read_only, trusted_keys: keys.unwrap_or_default() });
    }
    Ok(layers)
}

/// The type of a table. Keys of another type are a mistake, unless the variable has overridden the type in the file.
fn kind(source: &TableSource, section: &RemoteSection, variable: Option<&Given>) -> Result<Kind, ConfigError> {
    let in_file = source.of_file(&table::REMOTE_TYPE, section.kind.clone());
    let in_file = in_file.map_or(Ok(Kind::S3), |given| given.read(&KIND))?;
    let s3: [(&Row, bool); 6] = [
        (&table::REMOTE_BUCKET, section.bucket.is_some()),
        (&table::REMOTE_REGION, section.region.is_some()),
        (&table::REMOTE_ENDPOINT, section.endpoint.is_some()),
        (&table::REMOTE_PREFIX, section.prefix.is_some()),
        (&table::REMOTE_PROFILE, section.profile.is_some()),
        (&table::REMOTE_CHECKSUMS, section.checksums.is_some()),
    ];
    let others = [
        (&table::REMOTE_URL, section.url.is_some(), Kind::Http),
        (&table::REMOTE_PATH, section.path.is_some(), Kind::Dir),
    ];
    let keys = s3.map(|(row, is_set)| (row, is_set, Kind::S3)).into_iter().chain(others);
    for (row, is_set, kind) in keys {
        if is_set && kind != in_file {
            return Err(incomplete(&source.key(row), "does not belong to this `type` of remote: remove one of them"));
        }
    }
    variable.map_or(Ok(in_file), |given| given.read(&KIND))
}

fn s3(source: &TableSource, section: &RemoteSection, keys: &mut SharedKeys) -> Result<S3Settings, ConfigError> {
    let pick = |row: &Row, in_file: &Option<String>| source.pick(row, in_file.clone());
    let text = |row: &Row, in_file: &Option<String>| pick(row, in_file).map(|given| given.value);
    let Some(bucket) = pick(&table::REMOTE_BUCKET, &section.bucket) else {
        // A section without a bucket is a mistake, not a request for no remote.
        return Err(incomplete(&source.name(), "names no bucket: add `bucket`, or set KACHE_S3_BUCKET"));
    };
    let of_aws = || env::AWS_ENDPOINTS.into_iter().find_map(|name| Given::variable(source.vars, name));
    let endpoint = pick(&table::REMOTE_ENDPOINT, &section.endpoint).or_else(of_aws);
    let endpoint = endpoint.map(|given| given.read_url(&ENDPOINT, NO_PASSWORD_IN_ENDPOINT)).transpose()?;
    let prefix = pick(&table::REMOTE_PREFIX, &section.prefix);
    let profile = text(&table::REMOTE_PROFILE, &section.profile);
    let checksums = pick(&table::REMOTE_CHECKSUMS, &section.checksums);
    Ok(S3Settings {
        bucket: bucket.read(&BUCKET)?,
        region: text(&table::REMOTE_REGION, &section.region),
        prefix: prefix.map_or(Ok(String::new()), |given| given.read(&PREFIX))?,
        keys: keys.of(endpoint.as_ref(), profile.is_some()),
        endpoint,
        profile,
        checksums: checksums.map_or(Ok(Checksums::Crc32), |given| given.read(&CHECKSUMS))?,
    })
}

fn http(source: &TableSource, section: &RemoteSection) -> Result<HttpSettings, ConfigError> {
    let given = source.of_file(&table::REMOTE_URL, section.url.clone());
    let given = given.ok_or_else(|| incomplete(&source.name(), "names no URL: add `url`"))?;
    Ok(HttpSettings { url: given.read_url(&URL, NO_PASSWORD_IN_URL)? })
}

fn dir(source: &TableSource, section: &RemoteSection) -> Result<DirSettings, ConfigError> {
    let path = section.path.clone().ok_or_else(|| incomplete(&source.name(), "names no directory: add `path`"))?;
    Ok(DirSettings { path: absolute(&source.key(&table::REMOTE_PATH), path)? })
}

fn github(vars: &Env) -> Result<GithubSettings, ConfigError> {
    let missing = |name| {
        incomplete(name, "is not set: the cache of GitHub Actions can be used only in its jobs, with kache's action")
    };
    let url = Given::variable(vars, env::ACTIONS_RESULTS_URL).ok_or_else(|| missing(env::ACTIONS_RESULTS_URL))?;
    let token = set(vars, env::ACTIONS_RUNTIME_TOKEN).ok_or_else(|| missing(env::ACTIONS_RUNTIME_TOKEN))?;
    Ok(GithubSettings { url: url.read_url(&URL, NO_PASSWORD_IN_URL)?, token: Secret::new(token) })
}

/// The pair of keys that is set for kache alone. The first bucket uses it, and so does every other one at the same
/// server for which no profile is named.
struct SharedKeys {
    keys: Option<(String, Secret)>,
    /// Whether the first bucket has them already.
    has_first: bool,
    /// The endpoint of the first bucket.
    endpoint: Option<String>,
}

impl SharedKeys {
    /// Both keys or neither: with only one, the SDK would silently use other credentials.
    fn new(vars: &Env) -> Result<Self, ConfigError> {
        let keys = match (set(vars, env::KACHE_S3_ACCESS_KEY), set(vars, env::KACHE_S3_SECRET_KEY)) {
            (Some(id), Some(key)) => Some((id, Secret::new(key))),
            (None, None) => None,
            (Some(_), None) => {
                let problem = "is set without KACHE_S3_SECRET_KEY: set both, or neither";
                return Err(incomplete(env::KACHE_S3_ACCESS_KEY, problem));
            }
            (None, Some(_)) => {
                let problem = "is set without KACHE_S3_ACCESS_KEY: set both, or neither";
                return Err(incomplete(env::KACHE_S3_SECRET_KEY, problem));
            }
        };
        Ok(Self { keys, has_first: false, endpoint: None })
    }

    /// The keys for a bucket at this endpoint.
    fn of(&mut self, endpoint: Option<&String>, has_profile: bool) -> Option<(String, Secret)> {
        if !self.has_first {
            (self.has_first, self.endpoint) = (true, endpoint.cloned());
            return self.keys.clone();
        }
        self.keys.clone().filter(|_| self.endpoint.as_ref() == endpoint && !has_profile)
    }
}

/// The public keys in the variable. They replace those of every layer: the variable wins over the file, and whoever
/// sets it trusts nobody else. A variable without a key is a mistake, such as a secret that the job does not have: it
/// must not mean that anyone is trusted.
fn trusted_keys(vars: &Env) -> Result<Option<Vec<String>>, ConfigError> {
    let variable = table::REMOTE_TRUSTED_KEYS.variable;
    let Some(list) = vars.text(variable) else { return Ok(None) };
    let keys: Vec<String> = list.split([',', ' ']).filter(|key| !key.is_empty()).map(str::to_owned).collect();
    let none = || incomplete(variable, "names no key: unset it, or list the public keys that are trusted");
    if keys.is_empty() { Err(none()) } else { Ok(Some(keys)) }
}
