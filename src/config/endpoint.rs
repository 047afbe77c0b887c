//! The URL of the S3 server.

use super::ValueKind;
use super::env::{self, Env};
use super::error::ConfigError;
use super::given::{Given, incomplete};
use super::table;

const ENDPOINT: ValueKind<String> = ValueKind::new(
    |text| (text.starts_with("https://") || text.starts_with("http://")).then(|| text.trim_end_matches('/').to_owned()),
    "a URL that begins with https:// or http://",
);

/// The URL of the server: from kache's own variable, else the file, else the AWS variables. It is printed and stored in
/// many places, so it must not contain a user name or password, and the error about one does not repeat it.
pub(super) fn endpoint(vars: &Env, in_file: Option<String>) -> Result<Option<String>, ConfigError> {
    let of_aws = || env::AWS_ENDPOINTS.into_iter().find_map(|name| Given::variable(vars, name));
    let given = Given::pick(vars, &table::REMOTE_ENDPOINT, in_file).or_else(of_aws);
    let Some(given) = given else { return Ok(None) };
    match may_hold_password(&given.value) {
        true => Err(incomplete(
            given.what,
            "may contain a password: set KACHE_S3_ACCESS_KEY and KACHE_S3_SECRET_KEY instead",
        )),
        false => given.read(&ENDPOINT).map(Some),
    }
}

/// Whether the URL contains an `@` that may be the end of a user name and a password: before the path, or anywhere if
/// the URL is malformed, because then it is unknown where the path begins.
fn may_hold_password(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return url.contains('@');
    };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    // The colons in brackets are part of an IPv6 address.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, ""),
    };
    let is_plain = !host.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    authority.contains('@') || !is_plain && url.contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r08_an_endpoint_holds_no_password() {
        let of = |url| endpoint(&Env::of([(env::KACHE_S3_ENDPOINT, url)]), None);
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
}
