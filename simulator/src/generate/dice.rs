//! A small deterministic random source: the same parts give the same rolls on every machine and in every release.

use uuid::{Builder, Uuid};

/// SplitMix64. Records need rolls that are cheap to seed and never change, not rolls that are hard to predict, so a
/// library's generator (whose stream may change between its releases) would be the wrong thing here.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Rolls that depend on every part.
    pub(crate) fn new(parts: &[u64]) -> Self {
        let mut state = 0x5eed_0f7e_a31e_ade2;
        for part in parts {
            state = mix(state ^ mix(part.wrapping_add(0x9e37_79b9_7f4a_7c15)));
        }
        Self(state)
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number in `0..bound`; 0 when the bound is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // Multiply and shift: no division, and a bias far below anything that a test could see.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..high`.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below(high.abs_diff(low)) as i64
    }

    /// True in this many cases of a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of the choices, which must not be empty.
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A UUID of version 4 made of the next 128 bits.
    pub(crate) fn uuid(&mut self) -> Uuid {
        let (high, low) = (self.next(), self.next());
        let bits = (u128::from(high) << 64) | u128::from(low);
        Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }
}

/// FNV-1a: turns a name into a part for [`Dice::new`], and a filter's name and value into a facet.
pub(crate) fn fingerprint(texts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for text in texts {
        for byte in text.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
