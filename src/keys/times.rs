//! Searches the outputs of a compile for the times of files that a plugin looked at.
//!
//! A macro that checks whether a file exists gets its times too, but rarely uses them: `rust-embed` puts them into the
//! program. So a time is an input only if an output contains its seconds, as a little-endian number of four bytes or
//! more, or as decimal digits. A match by chance costs a hit elsewhere, no more. A time that comes from an open file,
//! or in another form, is not found. A `.kache.toml` cannot name it either. Configure such a macro so that it does not
//! use the time.

use std::collections::HashSet;

use memchr::memmem;

/// The number of digits of a time in these decades.
const TIME_DIGITS: usize = 10;

/// The times to look for, and those that were found, in seconds since 1970.
#[derive(Debug, Default)]
pub struct Times {
    wanted: HashSet<u32>,
    found: HashSet<u32>,
}

impl Times {
    /// Creates a search for these times, in seconds since 1970. A number that is not positive, or does not fit into 32
    /// bits, is not the time of a file that somebody wrote.
    pub fn new(seconds: impl IntoIterator<Item = i64>) -> Self {
        let wanted =
            seconds.into_iter().filter_map(|seconds| u32::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
        Self { wanted: wanted.collect(), found: HashSet::new() }
    }

    /// The number of bytes by which two consecutive pieces must overlap.
    pub const fn overlap() -> usize {
        TIME_DIGITS
    }

    /// Looks for all times that were not found yet.
    pub fn look(&mut self, bytes: &[u8]) {
        if self.wanted.is_empty() {
            return;
        }
        let highest: HashSet<u8> = self.wanted.iter().map(|seconds| seconds.to_le_bytes()[3]).collect();
        for high in highest {
            let numbers = memchr::memchr_iter(high, bytes).filter_map(|at| bytes.get(at.checked_sub(3)?..=at));
            let numbers = numbers.filter_map(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
            self.found.extend(numbers.filter(|number| self.wanted.contains(number)));
        }
        let leads: HashSet<String> =
            self.wanted.iter().map(|seconds| seconds.to_string().chars().take(4).collect()).collect();
        for lead in leads {
            let texts = memmem::find_iter(bytes, &lead)
                .filter_map(|at| std::str::from_utf8(bytes.get(at..at + TIME_DIGITS)?).ok());
            let numbers = texts.filter_map(|text| text.parse::<u32>().ok());
            self.found.extend(numbers.filter(|number| self.wanted.contains(number)));
        }
        self.wanted.retain(|seconds| !self.found.contains(seconds));
    }

    /// Whether this time was found, in seconds since 1970.
    pub fn holds(&self, seconds: i64) -> bool {
        u32::try_from(seconds).is_ok_and(|seconds| self.found.contains(&seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: i64 = 1_795_239_225;

    fn found(bytes: &[u8]) -> bool {
        let mut times = Times::new([TIME, TIME + 70_000, 0, -5]);
        times.look(bytes);
        assert!(!times.holds(TIME + 70_000) && !times.holds(0) && !times.holds(-5));
        times.holds(TIME)
    }

    #[test]
    fn a_time_is_found_as_number_and_as_text() {
        assert!(found(&[&b"code"[..], &TIME.to_le_bytes(), b"more"].concat()));
        assert!(found(&u32::try_from(TIME).unwrap().to_le_bytes()));
        assert!(found(format!("x{TIME}123").as_bytes()), "milliseconds begin with seconds");
    }

    #[test]
    fn other_numbers_are_not() {
        assert!(!found(&(TIME + 1).to_le_bytes()));
        assert!(!found(&TIME.to_be_bytes()[..7]));
        assert!(!found(&TIME.to_string().as_bytes()[..9]));
        assert!(!found(b""));
    }
}
