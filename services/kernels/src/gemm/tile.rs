//! The innermost loop: a tile of rows by vectors of output channels, whose sums stay in registers.

use super::integers::{IntegerRows, IntegerWeights};
use super::shape::{Block, Segments};
use crate::simd::Simd;

/// Returns the sums of a tile, which start at the bias.
///
/// # Safety
///
/// Each row has `segments` readable segments. `weights` points to the block's weights for all steps and `bias` to its
/// bias.
#[inline(always)]
pub(super) unsafe fn accumulate<S: Simd, const ROWS: usize, const VECTORS: usize>(
    rows: [*const S::Element; ROWS],
    segments: Segments,
    weights: *const S::Element,
    bias: *const f32,
) -> [[S::F32; VECTORS]; ROWS] {
    let mut sums = [[S::zero(); VECTORS]; ROWS];
    let mut rows = rows;
    let mut weights = weights;
    // SAFETY: the caller's promise: `steps * STEP` elements per segment and row, and as many steps of weights.
    unsafe {
        for vector in 0..VECTORS {
            let bias = S::load(bias.add(vector * S::LANES));
            for row in &mut sums {
                row[vector] = bias;
            }
        }
        for _ in 0..segments.count {
            for step in 0..segments.steps {
                let mut factors = [S::load_steps(weights); VECTORS];
                for factor in &mut factors {
                    *factor = S::load_steps(weights);
                    weights = weights.add(S::LANES * S::STEP);
                }
                for row in 0..ROWS {
                    let input = S::broadcast_step(rows[row].add(step * S::STEP));
                    for vector in 0..VECTORS {
                        sums[row][vector] =
                            S::multiply_add_steps(sums[row][vector], input, factors[vector]);
                    }
                }
            }
            for row in &mut rows {
                *row = row.wrapping_add(segments.step);
            }
        }
    }
    sums
}

/// Returns the sums of a tile of scaled rows, with the bias added, and advances past these rows.
///
/// # Safety
///
/// The rows are scaled. `bias` points to the block's bias.
#[inline(always)]
pub(super) unsafe fn accumulate_integers<S: Simd, const ROWS: usize, const VECTORS: usize>(
    rows: &mut IntegerRows,
    weights: &IntegerWeights,
    block: &Block,
    bias: *const f32,
) -> [[S::F32; VECTORS]; ROWS] {
    let groups = weights.groups();
    let row_integers = groups.row_integers();
    let mut elements = weights.block_elements(block);
    let mut start = rows.start();
    let mut sums;
    // SAFETY: the caller's promise. The weights have as many pairs as the rows.
    unsafe {
        let (_, first) = groups.group_in_segment(0);
        sums = S::multiply_integers::<ROWS, VECTORS>(start, row_integers, first, elements);
        for (row, sums) in sums.iter_mut().enumerate() {
            let factor = S::splat(rows.factor(row, 0));
            for sum in sums {
                *sum = S::mul(*sum, factor);
            }
        }
        let mut integers = first;
        for group in 1..groups.count() {
            start = start.add(integers);
            elements = elements.add(integers * VECTORS * S::LANES);
            (_, integers) = groups.group_in_segment(group % groups.per_segment());
            let parts =
                S::multiply_integers::<ROWS, VECTORS>(start, row_integers, integers, elements);
            for row in 0..ROWS {
                let factor = S::splat(rows.factor(row, group));
                for vector in 0..VECTORS {
                    let part = parts[row][vector];
                    sums[row][vector] = S::mul_add(part, factor, sums[row][vector]);
                }
            }
        }
        let factors = weights.block_factors(block);
        for vector in 0..VECTORS {
            let place = vector * S::LANES;
            let factor = S::load(factors.add(place));
            let bias = S::load(bias.add(place));
            for row in &mut sums {
                row[vector] = S::mul_add(row[vector], factor, bias);
            }
        }
    }
    rows.advance(ROWS);
    sums
}
