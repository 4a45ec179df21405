//! Random numbers that never change between releases.
//!
//! The generators of `rand` may change their output, which would change every committed sample
//! picture. These twenty lines will not.

/// A small seeded generator (SplitMix64), not suitable for secrets.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

/// Scrambles 64 bits with the finaliser of SplitMix64: neighbouring inputs give unrelated outputs.
pub fn scramble_bits(value: u64) -> u64 {
    let mut z = value;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// Makes a generator for one stream of a seed. Streams of one seed are unrelated.
    pub fn new(seed: u64, stream: u64) -> Random {
        Random {
            state: scramble_bits(seed.wrapping_add(scramble_bits(stream.wrapping_add(0x5eed)))),
        }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble_bits(self.state)
    }

    /// Draws a number in 0…1, the end excluded.
    pub fn next_fraction(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Draws a number from `low` to `high`, the end excluded.
    pub fn float_between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.next_fraction()
    }

    /// Draws a number within `spread` of zero, mostly near it.
    pub fn float_around(&mut self, spread: f32) -> f32 {
        (self.next_fraction() + self.next_fraction() - 1.0) * spread
    }

    /// Draws a whole number from `low` to `high`, both included.
    pub fn int_between(&mut self, low: u32, high: u32) -> u32 {
        debug_assert!(low <= high);
        low + (self.next_u64() % u64::from(high - low + 1)) as u32
    }

    /// Returns true with the given probability.
    pub fn next_bool(&mut self, probability: f32) -> bool {
        self.next_fraction() < probability
    }

    /// Draws one of `choices`, which must not be empty.
    pub fn choose_from<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.int_between(0, choices.len() as u32 - 1) as usize]
    }

    /// Draws `+1` or `−1`.
    pub fn next_sign(&mut self) -> f32 {
        if self.next_bool(0.5) { 1.0 } else { -1.0 }
    }

    /// Makes an independent generator for a part of a scene, so that the numbers of that part do not
    /// depend on how many its neighbours drew.
    pub fn fork(&mut self) -> Random {
        Random {
            state: self.next_u64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_never_change() {
        let mut random = Random::new(7, 1);
        let first = [random.next_u64(), random.next_u64(), random.next_u64()];
        // Computed independently of this code.
        assert_eq!(
            first,
            [
                0x7ffb_1ac8_263f_0329,
                0x6d92_de95_5416_3975,
                0xbfb2_733f_055f_abb9
            ]
        );
        assert_ne!(Random::new(7, 2).next_u64(), first[0]);
        assert_ne!(Random::new(8, 1).next_u64(), first[0]);
    }

    #[test]
    fn ranges_hold() {
        let mut random = Random::new(1, 1);
        for _ in 0..10_000 {
            assert!((0.0..1.0).contains(&random.next_fraction()));
            assert!((2..=4).contains(&random.int_between(2, 4)));
            assert!(random.float_around(0.5).abs() <= 0.5);
        }
    }
}
