//! The log of commands: what each run of cargo was asked to build, by the number that the event log gives the build.
//!
//! Format version: 1.

use serde::{Deserialize, Serialize};

use super::log::LogLine;

/// The format version that this program writes. Readers skip lines of other versions.
pub const VERSION: u32 = 1;

/// One run of cargo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildCommand {
    /// Format version. Readers skip other versions than [`VERSION`].
    pub v: u32,
    /// When kache first saw it, in milliseconds since 1970.
    pub at: i64,
    /// The number of the build in the event log.
    #[serde(rename = "build")]
    pub number: u64,
    /// The name of the command ([`crate::cargo::command`]).
    pub command: String,
}

impl LogLine for BuildCommand {
    const NAME: &'static str = "commands";
    const MAX_BYTES: u64 = 1024 * 1024;

    fn at(&self) -> Option<i64> {
        (self.v == VERSION).then_some(self.at)
    }
}

/// Finds the command of the build with this number that ran from `start` to `end` (milliseconds since 1970): numbers
/// are reused. Empty: unknown.
pub fn of_build(commands: &[BuildCommand], number: u64, start: i64, end: i64) -> &str {
    /// kache may see cargo a little before its first unit begins.
    const MARGIN_MS: i64 = 10 * 60_000;
    let is_it = |line: &&BuildCommand| line.number == number && (start - MARGIN_MS..=end).contains(&line.at);
    commands.iter().rfind(is_it).map_or("", |line| line.command.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_belongs_to_the_build_that_ran_at_its_time() {
        let line = |number, at, command: &str| BuildCommand { v: VERSION, at, number, command: command.into() };
        let commands = [line(1, 1000, "build"), line(2, 2000, "check"), line(1, 9_000_000, "test")];
        assert_eq!(of_build(&commands, 1, 1500, 3000), "build");
        assert_eq!(of_build(&commands, 1, 9_000_100, 9_000_200), "test");
        assert_eq!(of_build(&commands, 2, 5_000_000, 5_000_100), "", "another run with the same number");
        assert_eq!(of_build(&commands, 3, 1500, 3000), "");
    }
}
