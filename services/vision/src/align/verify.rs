//! Verifies that two pictures show the same where a map lays them on each other.
//!
//! A correlation of everything would also be high for two photos with a bright sky above a dark ground. The common
//! area is therefore divided into small blocks, and those with structure are compared one by one. Blocks
//! without structure, such as a white ground, prove nothing.

use super::affine::AffineMap;
use super::plane::{LumaPyramid, correlate_pairs};
use super::refine::matching_levels;

/// Side of a block in pixels.
const BLOCK_SIDE: usize = 16;
/// A block with a smaller share of common pixels is left out.
const MIN_BLOCK_SHARE: f64 = 0.7;
/// Standard deviation from which a block has structure, in levels: of both pictures, or of one of them. Compression
/// removes the grain of a photo.
const MIN_STRUCTURE: f64 = 5.0;
const MIN_STRUCTURE_OF_ONE: f64 = 15.0;
/// The least correlation of the same structure.
const MIN_BLOCK_CORRELATION: f64 = 0.6;
/// The largest difference of blocks without structure, in levels.
const MAX_FLAT_DIFFERENCE: f64 = 24.0;

/// The least share of many blocks with structure that show the same. Of photos that show different things, at
/// most a third of the blocks correlate after the best alignment, in 150 pairs of photos.
const MIN_AGREEING: f64 = 0.5;
const MANY_BLOCKS: usize = 24;
/// Fewer blocks may agree by chance, so the whole common area must correlate as well.
const MIN_AGREEING_OF_FEW: f64 = 0.6;
const MIN_CORRELATION_OF_FEW: f64 = 0.85;
const FEW_BLOCKS: usize = 8;
/// Without blocks, the whole common area must correlate strongly.
const MIN_SMOOTH_CORRELATION: f64 = 0.97;
/// The common area is at least this share of one of the pictures.
const MIN_COMMON_AREA: f64 = 0.25;

/// What two pictures have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Agreement {
    /// Share of the first picture that the second one covers, and the reverse.
    pub overlap: f64,
    pub other_overlap: f64,
    pub correlation: f64,
    /// Share of the blocks with structure that show the same.
    pub agreeing: f64,
    /// Share of all blocks that show something else.
    pub changed: f64,
}

impl Agreement {
    /// Returns a number that is larger for a better map.
    pub(super) fn quality(&self) -> f64 {
        self.agreeing * self.overlap.max(self.other_overlap).sqrt()
    }
}

/// Returns what the pictures have in common; `None` if the map is wrong.
pub(super) fn check_map(
    planes: &LumaPyramid,
    others: &LumaPyramid,
    map: &AffineMap,
) -> Option<Agreement> {
    let (size, other_size) = (planes.size(), others.size());
    let common = map.common_area(size, other_size);
    let overlap = (common / (size.0 * size.1)).min(1.0);
    let other_area = common * map.determinant().abs();
    let other_overlap = (other_area / (other_size.0 * other_size.1)).min(1.0);
    if overlap.max(other_overlap) < MIN_COMMON_AREA {
        return None;
    }
    let laid = LaidPlanes::new(planes, others, map);
    let correlation = correlate_pairs(laid.pairs.iter().flatten().copied());
    let counts = laid.compare_blocks();
    let agreeing = match counts.structured {
        0 => 0.0,
        structured => counts.agreeing as f64 / structured as f64,
    };
    let is_same = if counts.structured >= MANY_BLOCKS {
        agreeing >= MIN_AGREEING
    } else if counts.structured >= FEW_BLOCKS {
        agreeing >= MIN_AGREEING_OF_FEW && correlation >= MIN_CORRELATION_OF_FEW
    } else {
        correlation >= MIN_SMOOTH_CORRELATION
    };
    is_same.then(|| Agreement {
        overlap,
        other_overlap,
        correlation,
        agreeing,
        changed: counts.changed as f64 / counts.all.max(1) as f64,
    })
}

/// Both pictures on the pixels of the first one.
struct LaidPlanes {
    width: usize,
    height: usize,
    /// Brightness of both; `None` where the second picture shows nothing.
    pairs: Vec<Option<(f32, f32)>>,
}

#[derive(Debug, Default)]
struct BlockCounts {
    all: usize,
    structured: usize,
    /// Of those with structure.
    agreeing: usize,
    /// Of all.
    changed: usize,
}

impl LaidPlanes {
    fn new(planes: &LumaPyramid, others: &LumaPyramid, map: &AffineMap) -> Self {
        let (level, other) = matching_levels(planes, others, map, 0);
        let (plane, other_plane) = (&planes.levels[level], &others.levels[other]);
        let (scale, other_scale) = (planes.level_scale(level), others.level_scale(other));
        let rows = 0..plane.height;
        let points = rows.flat_map(|row| (0..plane.width).map(move |column| (column, row)));
        let pairs = points.map(|(column, row)| {
            let (x, y) = map.apply(
                (column as f64 + 0.5) / scale.0,
                (row as f64 + 0.5) / scale.1,
            );
            let other = other_plane.sample(x * other_scale.0, y * other_scale.1)?;
            Some((plane.at(column, row), other[0]))
        });
        Self {
            width: plane.width,
            height: plane.height,
            pairs: pairs.collect(),
        }
    }

    fn compare_blocks(&self) -> BlockCounts {
        let light = LightFit::new(self.pairs.iter().flatten().copied());
        let mut counts = BlockCounts::default();
        for top in (0..self.height).step_by(BLOCK_SIDE) {
            for left in (0..self.width).step_by(BLOCK_SIDE) {
                let right = (left + BLOCK_SIDE).min(self.width);
                let bottom = (top + BLOCK_SIDE).min(self.height);
                let all = (right - left) * (bottom - top);
                let rows = top..bottom;
                let block: Vec<(f32, f32)> = rows
                    .flat_map(|row| &self.pairs[row * self.width + left..row * self.width + right])
                    .flatten()
                    .copied()
                    .collect();
                if (block.len() as f64) < MIN_BLOCK_SHARE * all as f64 || block.len() < 16 {
                    continue;
                }
                light.count_block(&block, &mut counts);
            }
        }
        counts
    }
}

/// The brightness of the second picture as a linear function of that of the first one.
struct LightFit {
    gain: f64,
    offset: f64,
}

impl LightFit {
    fn new(pairs: impl Iterator<Item = (f32, f32)>) -> Self {
        let (mut count, mut sums, mut squares, mut products) = (0.0, [0.0; 2], 0.0, 0.0);
        for (value, other) in pairs {
            let (value, other) = (f64::from(value), f64::from(other));
            count += 1.0;
            sums[0] += value;
            sums[1] += other;
            squares += value * value;
            products += value * other;
        }
        let variance = squares - sums[0] * sums[0] / f64::max(count, 1.0);
        let gain = match variance > 1e-3 * count {
            true => (products - sums[0] * sums[1] / count) / variance,
            false => 1.0,
        };
        let gain = gain.clamp(0.1, 10.0);
        Self {
            gain,
            offset: (sums[1] - gain * sums[0]) / f64::max(count, 1.0),
        }
    }

    fn count_block(&self, block: &[(f32, f32)], counts: &mut BlockCounts) {
        let count = block.len() as f64;
        let values = || {
            block
                .iter()
                .map(|(value, _)| self.gain * f64::from(*value) + self.offset)
        };
        let others = || block.iter().map(|(_, other)| f64::from(*other));
        let (mean, other_mean) = (values().sum::<f64>() / count, others().sum::<f64>() / count);
        let deviation = |squares: f64| (squares / count).sqrt();
        let structure = deviation(values().map(|value| (value - mean).powi(2)).sum());
        let other_structure = deviation(others().map(|other| (other - other_mean).powi(2)).sum());
        counts.all += 1;
        let is_near = (mean - other_mean).abs() <= MAX_FLAT_DIFFERENCE;
        let has_structure = structure.min(other_structure) >= MIN_STRUCTURE
            || structure.max(other_structure) >= MIN_STRUCTURE_OF_ONE;
        if !has_structure {
            counts.changed += usize::from(!is_near);
            return;
        }
        counts.structured += 1;
        if correlate_pairs(block.iter().copied()) >= MIN_BLOCK_CORRELATION {
            counts.agreeing += 1;
        } else {
            // Compression may change little structure.
            let is_strong = structure.max(other_structure) >= 2.0 * MIN_STRUCTURE;
            counts.changed += usize::from(is_strong || !is_near);
        }
    }
}
