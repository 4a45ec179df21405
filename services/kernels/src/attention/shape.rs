//! The sizes of attention, and where its intermediate results are.

use crate::{simd::Simd, step::pad_channels};

/// Queries that are processed together: the rows of a tile of the matrix products.
pub(super) const BLOCK_ROWS: usize = 6;

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
    pub(super) fn width(&self) -> usize {
        self.heads * self.head_width
    }

    /// Elements from one row of the input to the next.
    pub(crate) fn input_pitch(&self) -> usize {
        pad_channels(3 * self.width())
    }

    /// Elements from one row of the output to the next.
    pub(crate) fn output_pitch(&self) -> usize {
        pad_channels(self.width())
    }

    /// The bytes that [`super::AttendHead`] needs for intermediate results.
    pub(crate) fn scratch_bytes<S: Simd>(&self) -> usize {
        AttentionLayout::new::<S>(self).bytes::<S>()
    }
}

/// Sizes of the intermediate results.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttentionLayout {
    /// Vectors that a tile is wide.
    pub(super) panel_vectors: usize,
    /// Steps of a product of a query with a key.
    pub(super) head_steps: usize,
    /// Steps of a product of a row of weights with a column of the values.
    pub(super) token_steps: usize,
    /// Vectors over all keys.
    pub(super) token_vectors: usize,
    /// Vectors over the columns of a head.
    pub(super) head_vectors: usize,
    /// Numbers between two rows of scores or weights.
    pub(super) score_stride: usize,
}

/// Where the intermediate results are.
pub(super) struct AttentionParts<S: Simd> {
    /// Panels of `panel_vectors` vectors of keys: `[head_steps][vectors][lanes]` steps each.
    pub(super) keys: *mut S::Element,
    /// Panels of `panel_vectors` vectors of columns: `[token_steps][vectors][lanes]` steps each.
    pub(super) values: *mut S::Element,
    /// `[BLOCK_ROWS][head_steps]` steps.
    pub(super) queries: *mut S::Element,
    /// `[BLOCK_ROWS][score_stride]`.
    pub(super) scores: *mut f32,
    /// `[BLOCK_ROWS][score_stride]`.
    pub(super) weights: *mut S::Element,
}

impl AttentionLayout {
    #[inline(always)]
    pub(super) fn new<S: Simd>(shape: &AttentionShape) -> Self {
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
    pub(super) unsafe fn split<S: Simd>(&self, scratch: *mut u8) -> AttentionParts<S> {
        let [keys, values, queries, scores, _] = self.part_bytes::<S>();
        // SAFETY: the parts are in the scratch, one after the other.
        unsafe {
            let values_start = scratch.add(keys);
            let queries_start = values_start.add(values);
            let scores_start = queries_start.add(queries);
            AttentionParts {
                keys: scratch.cast(),
                values: values_start.cast(),
                queries: queries_start.cast(),
                scores: scores_start.cast(),
                weights: scores_start.add(scores).cast(),
            }
        }
    }
}
