//! Attention (Vaswani et al., 2017): `softmax(Q Kᵀ / √d) V` for each head.
//!
//! Blocks of six queries are processed at a time. Their scores against all keys, and then their
//! weights, stay in the L1 cache, so the matrix of all scores is never in memory. The keys and values
//! of a head are packed for the matrix products first. With `n` tokens that takes `2 n d` elements,
//! which stay in the L2 cache.

mod block;
mod pack;
pub(crate) mod pooled;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::simd::{Kernel, Simd};

/// Queries that are processed together: the rows of a tile of the matrix products.
const BLOCK_ROWS: usize = 6;

/// The most vectors that a tile of the matrix products is wide.
const MAX_PANEL_VECTORS: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AttentionShape {
    pub(crate) tokens: usize,
    pub(crate) heads: usize,
    pub(crate) head_width: usize,
    /// Whether a token attends only to itself and earlier tokens.
    pub(crate) is_causal: bool,
}

impl AttentionShape {
    /// The numbers in an output row.
    pub(crate) fn width(&self) -> usize {
        self.heads * self.head_width
    }

    /// The bytes that [`AttendHead`] needs for intermediate results.
    pub(crate) fn scratch_bytes<S: Simd>(&self) -> usize {
        Layout::new::<S>(self).bytes::<S>()
    }

    /// See [`AttendHead`].
    #[inline(always)]
    unsafe fn attend<S: Simd>(
        &self,
        qkv: *const S::Element,
        output: *mut S::Element,
        head: usize,
        rows: Range<usize>,
        scratch: *mut u8,
    ) {
        debug_assert!(head < self.heads && rows.end <= self.tokens);
        let layout = Layout::new::<S>(self);
        // SAFETY: the head's columns are inside of the rows. The scratch has the bytes of the layout.
        unsafe {
            let parts = layout.split::<S>(scratch);
            let width = self.width();
            let queries = qkv.add(head * self.head_width);
            let keys = queries.add(width);
            let values = keys.add(width);
            pack::pack_keys::<S>(self, &layout, keys, 3 * width, parts.keys);
            pack::pack_values::<S>(self, &layout, values, 3 * width, parts.values);
            let output = output.add(head * self.head_width);
            for first in rows.clone().step_by(BLOCK_ROWS) {
                let block = first..(first + BLOCK_ROWS).min(rows.end);
                block::attend_block::<S>(self, &layout, queries, block, output, &parts);
            }
        }
    }
}

/// Computes the outputs of one head for the queries `rows`.
///
/// # Safety
///
/// - `qkv` is valid for reads of `tokens` rows of `3 * width()` elements: the queries of all heads, then
///   the keys, then the values.
/// - `output` is valid for writes of `tokens` rows of `width()` elements. No other thread accesses the
///   columns of `head` in `rows`.
/// - `scratch` is valid for writes of [`AttentionShape::scratch_bytes`], aligned to 64 bytes, and not
///   used by another thread.
pub(crate) struct AttendHead<E> {
    pub(crate) shape: AttentionShape,
    pub(crate) qkv: *const E,
    pub(crate) output: *mut E,
    pub(crate) head: usize,
    pub(crate) rows: Range<usize>,
    pub(crate) scratch: *mut u8,
}

impl<S: Simd> Kernel<S> for AttendHead<S::Element> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        // SAFETY: the caller's promise.
        unsafe {
            self.shape
                .attend::<S>(self.qkv, self.output, self.head, self.rows, self.scratch);
        }
    }
}

/// Sizes of the intermediate results.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Vectors that a tile is wide.
    panel_vectors: usize,
    /// Steps of a product of a query with a key.
    head_steps: usize,
    /// Steps of a product of a row of weights with a column of the values.
    token_steps: usize,
    /// Vectors over all keys.
    token_vectors: usize,
    /// Vectors over the columns of a head.
    head_vectors: usize,
    /// Numbers between two rows of scores or weights.
    score_stride: usize,
}

/// Where the intermediate results are.
struct Parts<S: Simd> {
    /// Panels of `panel_vectors` vectors of keys: `[head_steps][vectors][lanes]` steps each.
    keys: *mut S::Element,
    /// Panels of `panel_vectors` vectors of columns: `[token_steps][vectors][lanes]` steps each.
    values: *mut S::Element,
    /// `[BLOCK_ROWS][head_steps]` steps.
    queries: *mut S::Element,
    /// `[BLOCK_ROWS][score_stride]`.
    scores: *mut f32,
    /// `[BLOCK_ROWS][score_stride]`.
    weights: *mut S::Element,
}

impl Layout {
    #[inline(always)]
    fn new<S: Simd>(shape: &AttentionShape) -> Self {
        let token_vectors = shape.tokens.div_ceil(S::LANES);
        Self {
            panel_vectors: if S::REGISTERS >= 32 {
                MAX_PANEL_VECTORS
            } else {
                2
            },
            head_steps: shape.head_width.div_ceil(S::STEP),
            token_steps: shape.tokens.div_ceil(S::STEP),
            token_vectors,
            head_vectors: shape.head_width.div_ceil(S::LANES),
            // One vector more, because the mask after the last key writes whole vectors.
            score_stride: (token_vectors + 1) * S::LANES,
        }
    }

    /// The bytes of each part: keys, values, queries, scores, weights.
    #[inline(always)]
    fn part_bytes<S: Simd>(&self) -> [usize; 5] {
        let element = size_of::<S::Element>();
        let vector = S::LANES * S::STEP * element;
        [
            self.head_steps * self.token_vectors * vector,
            self.token_steps * self.head_vectors * vector,
            BLOCK_ROWS * self.head_steps * S::STEP * element,
            BLOCK_ROWS * self.score_stride * size_of::<f32>(),
            BLOCK_ROWS * self.score_stride * element,
        ]
        .map(|bytes| bytes.next_multiple_of(64))
    }

    fn bytes<S: Simd>(&self) -> usize {
        self.part_bytes::<S>().iter().sum()
    }

    /// # Safety
    ///
    /// `scratch` has [`Self::bytes`].
    #[inline(always)]
    unsafe fn split<S: Simd>(&self, scratch: *mut u8) -> Parts<S> {
        let [keys, values, queries, scores, _] = self.part_bytes::<S>();
        // SAFETY: the parts are in the scratch, one after the other.
        unsafe {
            let values_start = scratch.add(keys);
            let queries_start = values_start.add(values);
            let scores_start = queries_start.add(queries);
            Parts {
                keys: scratch.cast(),
                values: values_start.cast(),
                queries: queries_start.cast(),
                scores: scores_start.cast(),
                weights: scores_start.add(scores).cast(),
            }
        }
    }
}
