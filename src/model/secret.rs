//! Decides which values must not be shown, and what to show in their place.
//!
//! A value is secret if the name of its variable looks secret, or if the value itself does (a password in a URL, a
//! token of a known shape). Hiding too much costs a reader a value; hiding too little may cost its owner more.

use serde::{Deserialize, Serialize};

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
/// Names that look secret but are not: of directories, of desktop sessions, and of the sockets of such a session.
const NOT_SECRET_NAMES: [&str; 10] = [
    "PWD",
    "OLDPWD",
    "DBUS_SESSION_BUS_ADDRESS",
    "DESKTOP_SESSION",
    "GDMSESSION",
    "KDE_FULL_SESSION",
    "KDE_SESSION_UID",
    "KDE_SESSION_VERSION",
    "SESSION_MANAGER",
    "SSH_AUTH_SOCK",
];
/// Beginnings and ends of such names: names of git's settings, and of sessions of terminals and desktops.
const NOT_SECRET_PREFIXES: [&str; 2] = ["GIT_CONFIG_KEY_", "XDG_SESSION_"];
const NOT_SECRET_SUFFIX: &str = "_SESSION_NAME";
/// The prefixes of the tokens of well-known services, and the beginning of a private key.
const SECRET_VALUE_PARTS: [&str; 9] =
    ["ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xoxb-", "AKIA", "eyJhbGciOi", "-----BEGIN "];
/// How paths begin.
const PATH_STARTS: [&str; 4] = ["/", "./", "../", "~/"];
/// A text of letters, or of letters and digits, of at least this size may be a token.
const MIN_MIXED_BYTES: usize = 12;
/// A word without a space or hyphen is shorter.
const MIN_LOWERCASE_BYTES: usize = 24;

/// The secret that something may hold because of what it was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The crate that read it.
    pub crate_name: String,
    /// The variable.
    pub variable: String,
}

/// Whether a value looks secret, either by itself or because of the name of its variable.
pub fn is_secret(name: &str, value: &str) -> bool {
    has_secret_name(name) || holds_password(value) || SECRET_VALUE_PARTS.iter().any(|shape| value.contains(shape))
}

/// Whether a word of a command line or a configuration looks secret: `NAME=value`, or a value alone.
pub fn is_secret_word(word: &str) -> bool {
    let (name, value) = word.split_once('=').unwrap_or(("", word));
    is_secret(name, value)
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

/// Whether a value is a token or a password rather than a word, a number, a version or a path. Only such a value is
/// worth a search: a word would be found everywhere.
pub fn is_token(value: &str) -> bool {
    if begins_like_path(value) {
        // The alphabet of base64 contains the slash. Real paths have other characters, or short parts.
        let is_base64 = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        return is_base64 && value.split('/').any(|part| is_mixed(part) || has_mixed_case(part));
    }
    let has = |is: fn(&u8) -> bool| value.as_bytes().iter().any(is);
    if !has(u8::is_ascii_digit) {
        let mut parts = value.split(|c: char| !c.is_ascii_alphabetic());
        return holds_password(value) || parts.any(|part| part.len() >= MIN_LOWERCASE_BYTES || has_mixed_case(part));
    }
    has(u8::is_ascii_alphabetic) && !is_version(value)
}

/// Whether a value is the path of something, which is no secret even if its content is one.
pub fn is_path(value: &str) -> bool {
    begins_like_path(value) && !is_token(value)
}

fn begins_like_path(value: &str) -> bool {
    PATH_STARTS.iter().any(|start| value.starts_with(start))
}

/// Whether a text has digits and letters of both cases, and is longer than the names of directories that do.
fn is_mixed(text: &str) -> bool {
    let has = |is: fn(&u8) -> bool| text.as_bytes().iter().any(is);
    let has_all = has(u8::is_ascii_digit) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    text.len() >= MIN_MIXED_BYTES && has_all
}

/// Whether the letters of a text have both cases, about as often: `CamelCase` has few capitals.
fn has_mixed_case(text: &str) -> bool {
    let letters = text.bytes().filter(u8::is_ascii_alphabetic).count();
    let capitals = text.bytes().filter(u8::is_ascii_uppercase).count();
    letters >= MIN_MIXED_BYTES && (letters * 3..=letters * 7).contains(&(capitals * 10))
}

/// Whether a value begins like a version and is as short as one: `1.95.0-nightly`, `v2.3.4-rc1`.
fn is_version(value: &str) -> bool {
    const MAX_BYTES: usize = 20;
    let mut parts = value.strip_prefix('v').unwrap_or(value).split('.');
    let is_number = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    value.len() <= MAX_BYTES && is_number(parts.next()) && is_number(parts.next()) && parts.next().is_some()
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
            "SSH_AUTH_SOCK",
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
    fn tokens_and_passwords_are_told_from_words() {
        for token in [
            "a1b2c3d4",
            "hunter2-hunter2",
            "/9j4AAQSkZJRgABAQEAYABgAAD",
            "/bPxRfiCYwJalrXUtnFEMI/K7MDENG+bPxRfiCY=",
            "/qwRTzuIOpaSDfghJKlyXCvb",
            "hQvKzXmNpRtLwBcJ",
            "hQvKzXmNpRtL-wBcJ_x",
            "correcthorsebatterystaple",
            "postgres://me:hunter@db/app",
            "1.AbCdEfGhIjKlMnOpQrStUv.x",
        ] {
            assert!(is_token(token), "{token}");
        }
        for plain in [
            "",
            "ubuntu-wayland",
            "GNOME-Classic-Wayland",
            "AbstractSingletonBean",
            "a sentence of several words, longer than any token",
            "12345678",
            "2026-11-29",
            "1.95.0-nightly",
            "v2.3.4-rc1",
            "/run/user/1000/ssh",
            "/tmp/ssh-XXXXq1w2E3R4/agent.4711",
            "/home/me/.ssh/id_ed25519",
            "/nix/store/s66mzxpvicwk07gjbjfw9izjfa797vsw-hello",
            "/Users/JohnSmith/Library/Containers",
            "~/.config/app1/key2",
            "../certs/v2/ca1",
            "internationalisation",
        ] {
            assert!(!is_token(plain), "{plain}");
            assert_eq!(is_path(plain), plain.contains('/'), "{plain}");
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
