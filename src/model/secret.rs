//! Decides which values must not be shown, and what to show in their place.
//!
//! A value is secret if the name of its variable looks secret, or if the value itself does (a password in a URL, a
//! token of a known shape). Hiding too much costs a reader a value; hiding too little may cost its owner more.

use super::Digest;

/// Secret anywhere in a name.
const SECRET_ANYWHERE: [&str; 11] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "COOKIE",
    "APIKEY",
    "SESSION",
    "PRIVATE",
    "SIGNATURE",
];
/// Secret only as a whole part of a name: `MONKEY` and `AUTHORS` are not secret.
const SECRET_AS_PART: [&str; 14] =
    ["KEY", "KEYS", "AUTH", "OAUTH", "PASS", "PWD", "PW", "PAT", "PIN", "JWT", "DSN", "SAS", "CERT", "BEARER"];
/// Names that look secret but are not: of directories and of desktop sessions.
const NOT_SECRET_NAMES: [&str; 4] = ["PWD", "OLDPWD", "DESKTOP_SESSION", "SESSION_MANAGER"];
/// Beginnings and ends of such names: names of git's settings, and of sessions of terminals and desktops.
const NOT_SECRET_PREFIXES: [&str; 2] = ["GIT_CONFIG_KEY_", "XDG_SESSION_"];
const NOT_SECRET_SUFFIX: &str = "_SESSION_NAME";
/// The prefixes of the tokens of well-known services, and the beginning of a private key.
const SECRET_VALUE_PARTS: [&str; 9] =
    ["ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xoxb-", "AKIA", "eyJhbGciOi", "-----BEGIN "];

/// Whether a value looks secret, either by itself or because of the name of its variable.
pub fn is_secret(name: &str, value: &str) -> bool {
    has_secret_name(name) || holds_password(value) || SECRET_VALUE_PARTS.iter().any(|shape| value.contains(shape))
}

fn has_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let is_prefixed = NOT_SECRET_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if NOT_SECRET_NAMES.contains(&name.as_str()) || is_prefixed || name.ends_with(NOT_SECRET_SUFFIX) {
        return false;
    }
    let mut parts = name.split(|c: char| !c.is_ascii_alphanumeric());
    SECRET_ANYWHERE.iter().any(|word| name.contains(word)) || parts.any(|part| SECRET_AS_PART.contains(&part))
}

/// Whether `value` contains `scheme://user:password@host`.
fn holds_password(value: &str) -> bool {
    value.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    })
}

/// Returns the value if it may be shown, or else a digest of it. `salt` must not be shown next to the digest, so that a
/// weak secret cannot be guessed from it.
pub fn redacted(name: &str, value: &str, salt: &str) -> String {
    if !is_secret(name, value) {
        return value.to_owned();
    }
    let mut hasher = blake3::Hasher::new();
    for part in [salt, name, value] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    format!("secret {}", Digest::from_bytes(*hasher.finalize().as_bytes()).short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_secret() {
        for name in [
            "API_TOKEN",
            "GITHUB_TOKEN",
            "aws_secret_access_key",
            "PGPASSWORD",
            "MY_PASSWD",
            "DB_PWD",
            "APIKEY",
            "SSH_KEY",
            "PROXY_AUTH",
            "SESSION_ID",
            "COOKIES",
            "MY_CREDENTIALS",
        ] {
            assert!(is_secret(name, "x"), "{name}");
        }
        for name in [
            "GIT_CONFIG_KEY_0",
            "XDG_SESSION_TYPE",
            "ZELLIJ_SESSION_NAME",
            "MOOD",
            "PWD",
            "CARGO_PKG_AUTHORS",
            "MONKEY",
            "KEYBOARD",
            "PATH",
            "CARGO_PKG_VERSION",
            "OUT_DIR",
        ] {
            assert!(!is_secret(name, "x"), "{name}");
        }
    }

    #[test]
    fn values_that_bear_a_secret_openly() {
        assert!(is_secret("DATABASE_URL", "postgres://me:hunter2@db/app"));
        assert!(is_secret("X", "a ghp_0123456789"));
        for plain in ["postgres://db/app", "https://example.org/a:b@c", "postgres://me@db/app", "a:b@c"] {
            assert!(!is_secret("DATABASE_URL", plain), "{plain}");
        }
    }

    #[test]
    fn a_redacted_value_shows_only_whether_it_is_the_same() {
        assert_eq!(redacted("MOOD", "glad", "salt"), "glad");
        let (one, two) = (redacted("KEY", "glad", "salt"), redacted("KEY", "sad", "salt"));
        assert!(!one.contains("glad") && one != two, "{one} {two}");
        assert_eq!(one, redacted("KEY", "glad", "salt"));
        assert_ne!(one, redacted("KEY", "glad", "other"), "a table of digests does not help");
    }
}
