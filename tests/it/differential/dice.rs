//! Pseudo-random numbers from a seed.

/// An xorshift64* generator.
pub(super) struct Dice(u64);

impl Dice {
    /// Creates a generator. The same seed gives the same numbers.
    pub(super) fn new(seed: u64) -> Self {
        // The state is never zero, and small seeds give states that are far apart.
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below `sides`.
    pub(super) fn roll(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        u32::try_from(high).expect("31 bits") % sides
    }

    /// Returns a number below `sides`, or `None`.
    pub(super) fn maybe(&mut self, sides: u32) -> Option<u32> {
        Some(self.roll(sides + 1)).filter(|number| *number < sides)
    }
}
