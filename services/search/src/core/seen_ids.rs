//! The images that earlier pages of a search returned, in little space.
//!
//! Each image is one of 2²⁴ fingerprints. Their sorted differences are stored in a Rice code (R. F. Rice,
//! "Some practical universal noiseless coding techniques", 1979): 2.4 bytes for each of 100 images, and 1.5 for
//! each of 10,000. An image that was not returned is taken for one that was with a probability of the number
//! of returned images / 2²⁴.

use lookalike_proto::ContentHash;

const FINGERPRINT_BITS: u32 = 24;
/// More ids than a search examines.
const MAX_IDS: usize = 1 << 15;

/// Returns a number that is distributed evenly, as ids need not be.
pub(crate) fn hash_id(id: &str) -> u64 {
    let hash = ContentHash::hash_content(id.as_bytes()).to_string();
    let digits = hash.get(..16).unwrap_or_default();
    u64::from_str_radix(digits, 16).expect("a hash is written in hexadecimal digits")
}

/// A set of fingerprints of ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SeenIds {
    /// Sorted and distinct.
    fingerprints: Vec<u32>,
}

fn fingerprint(hash: u64) -> u32 {
    (hash >> (64 - FINGERPRINT_BITS)) as u32
}

impl SeenIds {
    /// Whether the set contains the id with this hash, or one that has the same fingerprint.
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        self.fingerprints.binary_search(&fingerprint(hash)).is_ok()
    }

    /// Whether each id of the set has the fingerprint of one of these.
    pub(crate) fn is_covered_by(&self, hashes: impl Iterator<Item = u64>) -> bool {
        let mut others = Self::default();
        others.add(hashes);
        let is_known = |own: &u32| others.fingerprints.binary_search(own).is_ok();
        self.fingerprints.iter().all(is_known)
    }

    pub(crate) fn add(&mut self, hashes: impl IntoIterator<Item = u64>) {
        self.fingerprints
            .extend(hashes.into_iter().map(fingerprint));
        self.fingerprints.sort_unstable();
        self.fingerprints.dedup();
    }

    /// Appends the number of fingerprints, the parameter of the code, and the code.
    pub(crate) fn write_to(&self, bytes: &mut Vec<u8>) {
        let count = self.fingerprints.len();
        bytes.extend((count as u16).to_le_bytes());
        // Close to the mean difference.
        let mean = (1_u32 << FINGERPRINT_BITS) / (count.max(1) as u32);
        let low_bits = mean.ilog2().saturating_sub(1).min(FINGERPRINT_BITS - 1);
        bytes.push(low_bits as u8);
        let mut writer = BitWriter { bytes, used: 8 };
        let mut next = 0;
        for fingerprint in &self.fingerprints {
            let difference = fingerprint - next;
            for _ in 0..difference >> low_bits {
                writer.push(true);
            }
            writer.push(false);
            for bit in (0..low_bits).rev() {
                writer.push(difference >> bit & 1 == 1);
            }
            next = fingerprint + 1;
        }
    }

    /// Reads all bytes that [`write_to`](Self::write_to) appended; `None` if they are malformed.
    pub(crate) fn read_from(bytes: &[u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk::<2>()?;
        let (low_bits, code) = rest.split_first()?;
        let low_bits = u32::from(*low_bits);
        let count = usize::from(u16::from_le_bytes(*count));
        if count > MAX_IDS || low_bits >= FINGERPRINT_BITS {
            return None;
        }
        let mut bits = code
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
        let mut fingerprints = Vec::with_capacity(count);
        let mut next = 0_u32;
        for _ in 0..count {
            let mut difference = 0_u32;
            while bits.next()? {
                difference += 1;
            }
            for _ in 0..low_bits {
                difference = difference.checked_mul(2)? | u32::from(bits.next()?);
            }
            let fingerprint = next.checked_add(difference)?;
            if fingerprint >> FINGERPRINT_BITS != 0 {
                return None;
            }
            fingerprints.push(fingerprint);
            next = fingerprint + 1;
        }
        Some(Self { fingerprints })
    }
}

struct BitWriter<'a> {
    bytes: &'a mut Vec<u8>,
    /// Bits of the last byte that are in use.
    used: u32,
}

impl BitWriter<'_> {
    fn push(&mut self, bit: bool) {
        if self.used == 8 {
            self.bytes.push(0);
            self.used = 0;
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (7 - self.used);
        }
        self.used += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(count: usize) -> Vec<u64> {
        (0..count).map(|n| hash_id(&format!("{n:032x}"))).collect()
    }

    #[test]
    fn sets_survive_writing() {
        for count in [0, 1, 2, 12, 100, 1_000, 10_000] {
            let mut seen = SeenIds::default();
            seen.add(hashes(count));
            let mut bytes = Vec::new();
            seen.write_to(&mut bytes);
            assert_eq!(SeenIds::read_from(&bytes), Some(seen.clone()), "{count}");
            assert!(bytes.len() <= 4 + count * 3, "{count}: {}", bytes.len());
            if count == 10_000 {
                assert!(bytes.len() < 16_500, "{}", bytes.len());
            }
            assert!(hashes(count).into_iter().all(|hash| seen.may_contain(hash)));
            let others = hashes(count + 10_000).into_iter().skip(count);
            let wrong = others.filter(|hash| seen.may_contain(*hash)).count();
            assert!(wrong <= 30, "{count}: {wrong}");
        }
        for edge in [0, u64::MAX] {
            let mut seen = SeenIds::default();
            seen.add([edge]);
            let mut bytes = Vec::new();
            seen.write_to(&mut bytes);
            assert_eq!(SeenIds::read_from(&bytes), Some(seen));
        }
    }

    #[test]
    fn malformed_sets_are_refused() {
        let mut seen = SeenIds::default();
        seen.add(hashes(50));
        let mut bytes = Vec::new();
        seen.write_to(&mut bytes);
        for length in 0..bytes.len() {
            assert_eq!(SeenIds::read_from(&bytes[..length]), None, "{length}");
        }
        for malformed in [
            &[1, 0, 200, 0, 0][..],
            &[255, 255, 20, 0],
            &[1, 0, 0, 255, 255],
            // A fingerprint of more than 24 bits.
            &[2, 0, 23, 0b0111_1111, 255, 255, 0b0111_1111, 255, 255],
        ] {
            let read = SeenIds::read_from(malformed);
            assert!(read.is_none_or(|seen| seen.fingerprints.len() == 2));
        }
    }
}
