//! A finished command: its output, and the compiles that it really caused.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;

use super::calls::Call;

/// The result of one command.
#[derive(Debug)]
pub(crate) struct Run {
    /// Exit code; 128 + n after signal n.
    pub(crate) code: i32,
    /// Standard output, with invalid UTF-8 replaced.
    pub(crate) stdout: String,
    /// Standard error, with invalid UTF-8 replaced.
    pub(crate) stderr: String,
    /// The calls that reached the counting rustc, probes included.
    pub(crate) calls: Vec<Call>,
}

impl Run {
    pub(super) fn new(output: &Output, calls: Vec<Call>) -> Self {
        let status = output.status;
        Self {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            calls,
        }
    }

    /// Asserts that the exit code is 0.
    #[track_caller]
    pub(crate) fn must_succeed(self) -> Self {
        assert_eq!(self.code, 0, "the command failed:\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Like [`Self::must_succeed`], for a run that the caller keeps.
    #[track_caller]
    pub(crate) fn must_succeed_ref(&self) -> &Self {
        assert_eq!(self.code, 0, "the command failed:\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts this exit code, and returns standard output.
    #[track_caller]
    pub(crate) fn ends(&self, code: i32) -> String {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        self.stdout.clone()
    }

    /// Asserts that the exit code is not 0.
    #[track_caller]
    pub(crate) fn must_fail(self) -> Self {
        assert_ne!(self.code, 0, "the command should fail:\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Returns the crates that rustc really compiled, sorted, one per call.
    pub(crate) fn compiles(&self) -> Vec<&str> {
        let started = self.calls.iter().filter(|c| c.event == "start");
        let mut names: Vec<&str> = started.filter_map(|c| c.krate.as_deref()).collect();
        names.sort_unstable();
        names
    }

    /// Returns the compiles of one crate.
    pub(crate) fn compiles_of(&self, krate: &str) -> Vec<&Call> {
        let fits = |c: &&Call| c.event == "start" && c.krate.as_deref() == Some(krate);
        self.calls.iter().filter(fits).collect()
    }

    /// Asserts that rustc did not compile any of these crates.
    #[track_caller]
    pub(crate) fn hits(&self, crates: &[&str]) -> &Self {
        for krate in crates {
            let compiled = self.compiles_of(krate).len();
            assert_eq!(
                compiled,
                0,
                "`{krate}` should come from the cache; rustc compiled {:?}\n{}",
                self.compiles(),
                self.stderr
            );
        }
        self
    }

    /// Asserts that rustc compiled each of these crates.
    #[track_caller]
    pub(crate) fn misses(&self, crates: &[&str]) -> &Self {
        for krate in crates {
            let compiled = self.compiles_of(krate).len();
            assert_ne!(
                compiled,
                0,
                "rustc should compile `{krate}`; it compiled {:?}\n{}",
                self.compiles(),
                self.stderr
            );
        }
        self
    }

    /// Returns the lines that report a package which cargo had to build ("Compiling", "Checking").
    pub(crate) fn dirty(&self) -> Vec<&str> {
        let built =
            |line: &&str| line.trim_start().starts_with("Compiling ") || line.trim_start().starts_with("Checking ");
        self.stderr.lines().filter(built).collect()
    }

    /// Asserts that cargo found everything fresh and that rustc did not compile anything.
    #[track_caller]
    pub(crate) fn is_noop(&self) -> &Self {
        assert!(self.dirty().is_empty(), "cargo should find all fresh:\n{}", self.stderr);
        assert!(self.compiles().is_empty(), "rustc ran in a no-op build: {:?}", self.compiles());
        self
    }
}
