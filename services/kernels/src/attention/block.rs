//! Attention of a block of queries to all keys.

use std::ops::Range;

use super::shape::{AttentionLayout, AttentionParts, AttentionShape, BLOCK_ROWS};
use crate::{activation, simd::Simd};

/// Computes the outputs of the queries `rows`, at most [`BLOCK_ROWS`], at least one.
///
/// A smaller block repeats its last query, so that there is one size of tile only.
///
/// # Safety
///
/// `queries` is valid for reads of the head's columns of `shape.tokens` rows,
/// `shape.input_pitch()` apart; `output` for writes of the head's columns of `rows`,
/// `shape.output_pitch()` apart. `parts` has the packed
/// keys and values.
#[inline(always)]
pub(super) unsafe fn attend_block<S: Simd>(
    shape: &AttentionShape,
    layout: &AttentionLayout,
    queries: *const S::Element,
    rows: Range<usize>,
    output: *mut S::Element,
    parts: &AttentionParts<S>,
) {
    let last = rows.len() - 1;
    let visible = if shape.is_causal {
        rows.end
    } else {
        shape.tokens
    };
    let factor = std::f32::consts::LOG2_E / (shape.head_width as f32).sqrt();
    let mut inverses = [0.0; BLOCK_ROWS];
    // SAFETY: all rows are of `rows`, and the parts have the sizes of the layout, as `AttentionLayout` says.
    unsafe {
        for row in 0..BLOCK_ROWS {
            let query = queries.add((rows.start + row.min(last)) * shape.input_pitch());
            copy_query::<S>(shape, layout, query, row, parts);
        }
        score_keys::<S>(layout, visible.div_ceil(S::LANES), parts);
        // All maxima first: the reductions of the rows then overlap.
        let mut maxima = [0.0; BLOCK_ROWS];
        for (row, maximum) in maxima.iter_mut().enumerate() {
            let keys = if shape.is_causal {
                rows.start + row.min(last) + 1
            } else {
                shape.tokens
            };
            let scores = parts.scores.add(row * layout.score_stride);
            *maximum = find_maximum::<S>(scores, keys, visible);
        }
        for row in 0..BLOCK_ROWS {
            let scores = parts.scores.add(row * layout.score_stride);
            let weights = parts.weights.add(row * layout.score_stride);
            let sum = weigh_keys::<S>(scores, weights, visible, maxima[row], factor);
            inverses[row] = 1.0 / sum;
        }
        for first in (0..layout.head_vectors).step_by(layout.panel_vectors) {
            let panel = parts
                .values
                .add(first * layout.token_steps * S::LANES * S::STEP);
            let steps = visible.div_ceil(S::STEP);
            let vectors = layout.panel_vectors.min(layout.head_vectors - first);
            let tile = Tile {
                left: parts.weights,
                stride: layout.score_stride,
                panel,
                steps,
            };
            let target = Target {
                output: output.add(rows.start * shape.output_pitch() + first * S::LANES),
                stride: shape.output_pitch(),
                columns: shape.head_width - first * S::LANES,
                last,
            };
            match vectors {
                1 => target.store::<S, 1>(tile.multiply::<S, 1>(), &inverses),
                2 => target.store::<S, 2>(tile.multiply::<S, 2>(), &inverses),
                3 => target.store::<S, 3>(tile.multiply::<S, 3>(), &inverses),
                _ => target.store::<S, 4>(tile.multiply::<S, 4>(), &inverses),
            }
        }
    }
}

/// Copies a query to row `row` of the block. Numbers after its end are 0.
///
/// # Safety
///
/// `query` is valid for reads of `shape.head_width` elements, and `row < BLOCK_ROWS`.
#[inline(always)]
unsafe fn copy_query<S: Simd>(
    shape: &AttentionShape,
    layout: &AttentionLayout,
    query: *const S::Element,
    row: usize,
    parts: &AttentionParts<S>,
) {
    let length = layout.head_steps * S::STEP;
    // SAFETY: a row of the block has `length` elements, at least `head_width`.
    unsafe {
        let target = parts.queries.add(row * length);
        std::ptr::copy_nonoverlapping(query, target, shape.head_width);
        for column in shape.head_width..length {
            *target.add(column) = S::Element::default();
        }
    }
}

/// Computes the products of all queries of the block with the first `vectors` vectors of keys.
///
/// # Safety
///
/// `vectors <= layout.token_vectors`, and `parts` has the sizes of the layout.
#[inline(always)]
unsafe fn score_keys<S: Simd>(layout: &AttentionLayout, vectors: usize, parts: &AttentionParts<S>) {
    for first in (0..vectors).step_by(layout.panel_vectors) {
        // The whole panel, even if a causal block needs only its first vectors.
        let panel_vectors = layout.panel_vectors.min(layout.token_vectors - first);
        // SAFETY: the panel has `panel_vectors` vectors of keys, the scores have room for all keys.
        unsafe {
            let tile = Tile {
                left: parts.queries,
                stride: layout.head_steps * S::STEP,
                panel: parts
                    .keys
                    .add(first * layout.head_steps * S::LANES * S::STEP),
                steps: layout.head_steps,
            };
            let scores = parts.scores.add(first * S::LANES);
            match panel_vectors {
                1 => store_scores::<S, 1>(tile.multiply::<S, 1>(), scores, layout.score_stride),
                2 => store_scores::<S, 2>(tile.multiply::<S, 2>(), scores, layout.score_stride),
                3 => store_scores::<S, 3>(tile.multiply::<S, 3>(), scores, layout.score_stride),
                _ => store_scores::<S, 4>(tile.multiply::<S, 4>(), scores, layout.score_stride),
            }
        }
    }
}

/// # Safety
///
/// `scores` is valid for writes of [`BLOCK_ROWS`] rows of `N` vectors, `stride` numbers apart.
#[inline(always)]
unsafe fn store_scores<S: Simd, const N: usize>(
    products: [[S::F32; N]; BLOCK_ROWS],
    scores: *mut f32,
    stride: usize,
) {
    for (row, products) in products.iter().enumerate() {
        for (vector, product) in products.iter().enumerate() {
            // SAFETY: `row < BLOCK_ROWS`, `vector < N`.
            unsafe { S::store(scores.add(row * stride + vector * S::LANES), *product) };
        }
    }
}

/// Returns the greatest of the first `keys` scores, and sets the others to a very small score.
///
/// # Safety
///
/// `1 <= keys <= visible`. `scores` is valid for `visible` numbers, rounded up to whole vectors, and one
/// vector more.
#[inline(always)]
unsafe fn find_maximum<S: Simd>(scores: *mut f32, keys: usize, visible: usize) -> f32 {
    let end = visible.next_multiple_of(S::LANES);
    // SAFETY: whole vectors from a place before `end` on end at most one vector after `end`.
    unsafe {
        for start in (keys..end).step_by(S::LANES) {
            S::store(scores.add(start), S::splat(f32::MIN));
        }
        let mut maximum = S::splat(f32::MIN);
        for start in (0..end).step_by(S::LANES) {
            maximum = S::max(maximum, S::load(scores.add(start)));
        }
        S::max_lane(maximum)
    }
}

/// Stores the weights `2^((score - maximum) * factor)` of a query, and returns their sum.
///
/// # Safety
///
/// `scores` and `weights` are valid for `visible` numbers, rounded up to whole vectors.
#[inline(always)]
unsafe fn weigh_keys<S: Simd>(
    scores: *const f32,
    weights: *mut S::Element,
    visible: usize,
    maximum: f32,
    factor: f32,
) -> f32 {
    let (factor, shift) = (S::splat(factor), S::splat(-maximum * factor));
    let mut sums = [S::zero(); 2];
    for (i, start) in (0..visible).step_by(S::LANES).enumerate() {
        // SAFETY: the vector ends before `visible`, rounded up.
        unsafe {
            let exponent = S::mul_add(S::load(scores.add(start)), factor, shift);
            let weight = activation::exp2_of_negative::<S>(exponent);
            S::store_elements(weights.add(start), weight);
            sums[i % 2] = S::add(sums[i % 2], weight);
        }
    }
    S::sum_lanes(S::add(sums[0], sums[1]))
}

/// [`BLOCK_ROWS`] rows times a panel of packed vectors.
struct Tile<E> {
    left: *const E,
    /// Elements between two rows of `left`.
    stride: usize,
    panel: *const E,
    steps: usize,
}

impl<E> Tile<E> {
    /// # Safety
    ///
    /// `left` is valid for reads of [`BLOCK_ROWS`] rows of `steps` steps, `panel` for reads of
    /// `[steps][N][lanes]` steps.
    #[inline(always)]
    #[allow(
        clippy::needless_range_loop,
        reason = "counted loops are unrolled, so that the sums stay in registers"
    )]
    unsafe fn multiply<S: Simd<Element = E>, const N: usize>(self) -> [[S::F32; N]; BLOCK_ROWS] {
        let mut sums = [[S::zero(); N]; BLOCK_ROWS];
        for step in 0..self.steps {
            // SAFETY: `step < steps`, and the indices are below `N` and `BLOCK_ROWS`.
            unsafe {
                let vectors = self.panel.add(step * N * S::LANES * S::STEP);
                let mut right = [S::load_steps(vectors); N];
                for i in 1..N {
                    right[i] = S::load_steps(vectors.add(i * S::LANES * S::STEP));
                }
                for row in 0..BLOCK_ROWS {
                    let left = S::broadcast_step(self.left.add(row * self.stride + step * S::STEP));
                    for i in 0..N {
                        sums[row][i] = S::multiply_add_steps(sums[row][i], left, right[i]);
                    }
                }
            }
        }
        sums
    }
}

/// Where a tile of outputs is stored.
struct Target<E> {
    output: *mut E,
    /// Elements between two rows of the output.
    stride: usize,
    /// Columns from the tile's first to the head's last.
    columns: usize,
    /// The last row of the block.
    last: usize,
}

impl<E> Target<E> {
    /// Multiplies each row with its factor, and stores it.
    ///
    /// # Safety
    ///
    /// `output` is valid for writes of `columns` elements in the rows up to `last`.
    #[inline(always)]
    unsafe fn store<S: Simd<Element = E>, const N: usize>(
        self,
        sums: [[S::F32; N]; BLOCK_ROWS],
        factors: &[f32; BLOCK_ROWS],
    ) {
        for (row, (sums, factor)) in sums.iter().zip(factors).enumerate() {
            if row > self.last {
                return;
            }
            let factor = S::splat(*factor);
            for (i, sum) in sums.iter().enumerate() {
                let count = S::LANES.min(self.columns - i * S::LANES);
                // SAFETY: the row is at most `last`, and `count` columns remain.
                unsafe {
                    let target = self.output.add(row * self.stride + i * S::LANES);
                    S::store_elements_partial(target, S::mul(*sum, factor), count);
                }
            }
        }
    }
}
