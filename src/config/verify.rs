//! The settings `verify` and `verify_rate`: which hits are verified by a fresh compile, and how many of them.

/// Which hits are verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verify {
    /// None: hits are restored without a compile.
    Off,
    /// Hits are compiled as well and compared, as many of them as [`Rate`] selects.
    Hits,
}

impl Verify {
    /// Reads `off` or `hits`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "off" => Some(Self::Off),
            "hits" => Some(Self::Hits),
            _ => None,
        }
    }

    /// The name in files and variables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Hits => "hits",
        }
    }
}

/// A share such as 1/50: greater than zero, at most 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    some: u32,
    of: u32,
}

impl Rate {
    /// All hits. The default of `verify_rate`.
    pub const ALL: Self = Self { some: 1, of: 1 };

    /// Reads a share such as `1/50`. `None`: it is malformed, zero, or more than all.
    pub fn parse(text: &str) -> Option<Self> {
        let (some, of) = text.split_once('/')?;
        let rate = Self { some: some.trim().parse().ok()?, of: of.trim().parse().ok()? };
        (rate.some > 0 && rate.some <= rate.of).then_some(rate)
    }

    /// Whether the rate selects the hit with this `seed`. Neighbouring seeds work as well as random ones.
    pub const fn takes(self, seed: u64) -> bool {
        mix(seed) % (self.of as u64) < self.some as u64
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.some, self.of)
    }
}

/// Mixes the bits of `seed` (the finaliser of SplitMix64).
const fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rate: &str, seeds: impl Iterator<Item = u64>) -> usize {
        let rate = Rate::parse(rate).unwrap();
        seeds.filter(|seed| rate.takes(*seed)).count()
    }

    #[test]
    fn a_rate_takes_its_share_of_neighbouring_and_of_spread_seeds() {
        for step in [1, 2, 50, 1_000_000, 4_000_037, 1 << 32] {
            let seeds = || (0..100_000).map(|n| 1_700_000_000_000_000_000 + n * step);
            for (rate, share) in [("1/50", 2_000), ("1/2", 50_000), ("3/4", 75_000)] {
                let taken = taken(rate, seeds());
                assert!(taken.abs_diff(share) < 1_000, "{rate} in steps of {step}: {taken}");
            }
            assert_eq!(taken("1/1", seeds()), 100_000);
            assert!(taken("1/1000000", seeds()) < 5);
        }
    }

    #[test]
    fn rates_are_read_and_written() {
        for text in ["1/50", "1/1", "7/7", "1/4294967295"] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Rate::parse(" 1 / 2 "), Rate::parse("1/2"));
        for text in ["", "1", "0/5", "2/1", "1/0", "0/0", "-1/2", "1/2/3", "0.5", "1/4294967296"] {
            assert_eq!(Rate::parse(text), None, "{text:?}");
        }
    }
}
