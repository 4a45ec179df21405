//! Random numbers for tests: the same in each run.

/// A generator after Vigna's SplitMix64.
pub(crate) struct TestNumbers(u64);

impl TestNumbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Returns a number from 0 to `bound - 1`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next_bits() % bound as u64) as usize
    }

    /// Returns a number from 0 to 1.
    fn next_unit(&mut self) -> f32 {
        (self.next_bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Returns a number with the mean 0 and the variance 1, between -6 and 6.
    pub(crate) fn next_normal(&mut self) -> f32 {
        (0..12).map(|_| self.next_unit()).sum::<f32>() - 6.0
    }

    pub(crate) fn normals(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next_normal()).collect()
    }
}
