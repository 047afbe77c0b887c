//! Asks the C library of this machine for its version.
#![allow(unsafe_code, reason = "the C library is asked by calling it")]

use std::sync::OnceLock;

use crate::model::GlibcVersion;

/// Returns the version of glibc on this machine; asks only once. `None` if kache does not run on glibc, so nothing that
/// needs glibc can be expected to run here either.
pub fn glibc_version() -> Option<GlibcVersion> {
    static VERSION: OnceLock<Option<GlibcVersion>> = OnceLock::new();
    *VERSION.get_or_init(ask)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn ask() -> Option<GlibcVersion> {
    // SAFETY: takes nothing, and returns a constant text that ends with a zero byte.
    let version = unsafe { std::ffi::CStr::from_ptr(nix::libc::gnu_get_libc_version()) };
    GlibcVersion::of_number(version.to_str().ok()?)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn ask() -> Option<GlibcVersion> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn glibc_tells_what_its_own_program_prints() {
        let printed = std::process::Command::new("getconf").arg("GNU_LIBC_VERSION").output().unwrap();
        let printed = String::from_utf8(printed.stdout).unwrap();
        let number = printed.trim().strip_prefix("glibc ").unwrap();
        assert_eq!(glibc_version(), GlibcVersion::of_number(number));
        assert!(glibc_version().is_some());
    }
}
