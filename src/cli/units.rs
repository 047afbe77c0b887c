//! Formats numbers for people.

use std::time::Duration;

use bytesize::ByteSize;

use crate::events::WholeBuilds;
use crate::fsx::clock::Time;

/// A size, such as `0 B` or `12.3 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// A duration, such as `1.9 ms`, `340 ms`, `2.3 s` or `4m 12s`.
pub(super) fn millis(ms: f64) -> String {
    match ms {
        ms if ms <= 0.0 => "0 ms".to_owned(),
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms if ms < 59_950.0 => format!("{:.1} s", ms / 1000.0),
        ms => {
            humantime::format_duration(Duration::from_secs(Duration::from_secs_f64(ms / 1000.0).as_secs())).to_string()
        }
    }
}

/// The time between two moments in its largest unit: `12s`, `5m`, `3h`, `8d`. `0s` if `from` is in the future.
pub(super) fn age(from: Time, now: Time) -> String {
    let secs = (now.secs - from.secs).max(0);
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{}m", secs / 60),
        3600..172_800 => format!("{}h", secs / 3600),
        _ => format!("{}d", secs / 86_400),
    }
}

/// A number with its noun: `1 entry`, `3 entries`.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The noun after a number of hits or misses in the next column of a table.
pub(super) fn units(number: u64) -> &'static str {
    noun(number, "unit", "units")
}

/// The noun that follows a number in the next column of a table.
pub(super) fn noun<'a>(number: u64, one: &'a str, many: &'a str) -> &'a str {
    if number == 1 { one } else { many }
}

/// Describes the hits that came with whole builds.
pub(super) fn in_whole_builds(whole: &WholeBuilds) -> String {
    let builds = noun(whole.builds, "build", "builds");
    let left = match whole.left {
        0 => String::new(),
        left => format!("; {left} left to cargo"),
    };
    format!("of the hits: {} {builds} restored as a whole in {}{left}", whole.builds, millis(whole.ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(12 * 1024 * 1024 + 300 * 1024), "12.3 MiB");
        assert_eq!(millis(0.0), "0 ms");
        assert_eq!(millis(1.94), "1.9 ms");
        assert_eq!(millis(340.4), "340 ms");
        assert_eq!(millis(2340.0), "2.3 s");
        assert_eq!(millis(252_900.0), "4m 12s");
    }

    #[test]
    fn ages_have_one_unit() {
        let at = |secs| Time { secs, nanos: 0 };
        assert_eq!(age(at(100), at(112)), "12s");
        assert_eq!(age(at(0), at(7200)), "2h");
        assert_eq!(age(at(0), at(86_400 * 9)), "9d");
        assert_eq!(age(at(5), at(0)), "0s");
    }
}
