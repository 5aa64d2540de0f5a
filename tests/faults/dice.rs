//! What a seed draws: the same numbers for ever, whatever becomes of the crates.

/// `SplitMix64` (Steele, Lea and Flood, 2014).
pub struct Dice(u64);

impl Dice {
    /// The dice of a seed.
    pub fn of(seed: u64) -> Self {
        // Seeds are small numbers; far from each other they give unlike draws from the first on.
        let mut dice = Self(seed.wrapping_mul(0xd134_2543_de82_ef95));
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of the range, its ends included.
    pub fn from(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        let (low, high) = range.into_inner();
        low + self.next() % (high - low + 1)
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.from(1..=times) == 1
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.from(0..=of.len() as u64 - 1)).expect("an index")]
    }

    /// One of these, each as often as its weight says.
    pub fn weighted<T: Copy>(&mut self, of: &[(u64, T)]) -> T {
        let mut left = self.from(1..=of.iter().map(|(weight, _)| weight).sum());
        for (weight, what) in of {
            if left <= *weight {
                return *what;
            }
            left -= weight;
        }
        unreachable!("the draw is within the sum of the weights")
    }
}
