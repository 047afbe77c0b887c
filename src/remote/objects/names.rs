//! Names of objects, as stores that map them to paths and URLs accept them.

use crate::remote::s3::error::{Attempt, RemoteError, Result};

/// Whether the name is a relative path of plain parts: not empty, no part is empty, `.` or `..`, and all characters are
/// those that kache uses in names.
pub(super) fn is_plain(name: &str) -> bool {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+' | b'@' | b'~');
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(is_safe);
    name.split('/').all(is_part)
}

/// Fails unless the name [`is_plain`].
pub(super) fn check(attempt: &Attempt) -> Result<()> {
    match is_plain(&attempt.object) {
        true => Ok(()),
        false => Err(RemoteError::Setting(format!("{attempt}: the name of the object is not a plain path"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r05_only_plain_relative_paths_are_names() {
        for plain in ["a", "v2/packs/serde/0a.1b.tar.zst", "index.json", "v1/builds/app/x86_64-linux..debug.json"] {
            assert!(is_plain(plain), "{plain}");
        }
        for odd in ["", "/", "/etc/passwd", "a//b", "a/", "../x", "a/../b", "./a", "a\\b", "a\0", "a b", "a%2e", "a?b"]
        {
            assert!(!is_plain(odd), "{odd}");
        }
    }
}
