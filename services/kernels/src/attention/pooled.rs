//! Attention of one constant query to all tokens, as SigLIP's image encoder pools its tokens
//! ("multihead attention pooling", Zhai et al., Scaling Vision Transformers, 2022).

use std::ops::Range;

use crate::{
    activation,
    simd::{Kernel, Simd},
    step::pad_channels,
};

/// A query that is the same for every image.
#[derive(Debug, Clone)]
pub(crate) struct PooledAttention {
    /// One row of `heads * head_width` numbers, multiplied with `log2(e) / √head_width`.
    query: Vec<f32>,
    heads: usize,
}

impl PooledAttention {
    /// # Panics
    ///
    /// If the query does not have the same number of columns, at least one, for each head.
    pub(crate) fn new(query: &[f32], heads: usize) -> Self {
        assert!(
            heads > 0 && !query.is_empty() && query.len().is_multiple_of(heads),
            "each head of the query has the same number of columns"
        );
        let head_width = query.len() / heads;
        let factor = std::f32::consts::LOG2_E / (head_width as f32).sqrt();
        Self {
            query: query.iter().map(|number| number * factor).collect(),
            heads,
        }
    }

    fn width(&self) -> usize {
        self.query.len()
    }

    fn head_width(&self) -> usize {
        self.query.len() / self.heads
    }

    pub(crate) fn heads(&self) -> usize {
        self.heads
    }

    /// The bytes that [`AttendWithQuery`] needs for intermediate results.
    pub(crate) fn scratch_bytes<S: Simd>(&self, tokens: usize) -> usize {
        tokens.next_multiple_of(S::LANES) * size_of::<f32>()
    }
}

/// Computes the columns of `heads` of the output row.
///
/// # Safety
///
/// - `keys_values` is valid for reads of `tokens` rows, at least one: the keys of all heads, then the
///   values, padded to a multiple of 16 elements.
/// - `output` is valid for writes of a row, padded to a multiple of 16. No other thread accesses the
///   columns of `heads`, or the padding if the last head is among them.
/// - `scratch` is valid for writes of [`PooledAttention::scratch_bytes`], aligned to 64 bytes.
pub(crate) struct AttendWithQuery<'a, E> {
    pub(crate) attention: &'a PooledAttention,
    pub(crate) keys_values: *const E,
    pub(crate) tokens: usize,
    pub(crate) heads: Range<usize>,
    pub(crate) output: *mut E,
    pub(crate) scratch: *mut u8,
}

impl<S: Simd> Kernel<S> for AttendWithQuery<'_, S::Element> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        let (attention, tokens) = (self.attention, self.tokens);
        let (width, head_width) = (attention.width(), attention.head_width());
        let stride = pad_channels(2 * width);
        let scores = self.scratch.cast::<f32>();
        debug_assert!(self.heads.end <= attention.heads);
        // SAFETY: the keys of the head start at `start` of each row, the values a width later. The
        // scratch has room for the scores.
        unsafe {
            for head in self.heads.clone() {
                let start = head * head_width;
                let query = &attention.query[start..][..head_width];
                let keys = self.keys_values.add(start);
                score_tokens::<S>(query, keys, stride, tokens, scores);
                let sum = weigh_tokens::<S>(scores, tokens);
                let target = std::slice::from_raw_parts_mut(self.output.add(start), head_width);
                add_values::<S>(scores, 1.0 / sum, tokens, keys.add(width), stride, target);
            }
            if self.heads.end == attention.heads {
                let padding = self.output.add(width);
                padding.write_bytes(0, pad_channels(width) - width);
            }
        }
    }
}

/// # Safety
///
/// `keys` is valid for reads of `tokens` rows of `query.len()` elements, `stride` apart; `scores` for
/// writes of `tokens` numbers.
#[inline(always)]
unsafe fn score_tokens<S: Simd>(
    query: &[f32],
    keys: *const S::Element,
    stride: usize,
    tokens: usize,
    scores: *mut f32,
) {
    for token in 0..tokens {
        let mut sum = S::zero();
        for column in (0..query.len()).step_by(S::LANES) {
            let count = S::LANES.min(query.len() - column);
            // SAFETY: `count` columns of the token's row remain.
            unsafe {
                let key = S::load_elements_partial(keys.add(token * stride + column), count);
                let number = S::load_partial(query.as_ptr().add(column), count);
                sum = S::mul_add(key, number, sum);
            }
        }
        // SAFETY: `token < tokens`.
        unsafe { *scores.add(token) = S::sum_lanes(sum) };
    }
}

/// Turns scores into weights `2^(score - maximum)`, and returns their sum.
///
/// # Safety
///
/// `scores` is valid for `tokens` numbers, rounded up to whole vectors.
#[inline(always)]
unsafe fn weigh_tokens<S: Simd>(scores: *mut f32, tokens: usize) -> f32 {
    let mut maximum = f32::MIN;
    let end = tokens.next_multiple_of(S::LANES);
    // SAFETY: all places are before `end`.
    unsafe {
        for token in 0..tokens {
            maximum = maximum.max(*scores.add(token));
        }
        for token in tokens..end {
            *scores.add(token) = f32::MIN;
        }
        let mut sum = S::zero();
        for start in (0..end).step_by(S::LANES) {
            let exponent = S::sub(S::load(scores.add(start)), S::splat(maximum));
            let weight = activation::exp2_of_negative::<S>(exponent);
            S::store(scores.add(start), weight);
            sum = S::add(sum, weight);
        }
        S::sum_lanes(sum)
    }
}

/// Stores the sum of the values, weighted with `factor * weights`.
///
/// # Safety
///
/// `values` is valid for reads of `tokens` rows of `output.len()` elements, `stride` apart; `weights`
/// for reads of `tokens` numbers.
#[inline(always)]
unsafe fn add_values<S: Simd>(
    weights: *const f32,
    factor: f32,
    tokens: usize,
    values: *const S::Element,
    stride: usize,
    output: &mut [S::Element],
) {
    for column in (0..output.len()).step_by(S::LANES) {
        let count = S::LANES.min(output.len() - column);
        let mut sum = S::zero();
        // SAFETY: `count` columns remain in each row of the values, and in the output.
        unsafe {
            for token in 0..tokens {
                let value = S::load_elements_partial(values.add(token * stride + column), count);
                sum = S::mul_add(value, S::splat(*weights.add(token)), sum);
            }
            let target = output.as_mut_ptr().add(column);
            S::store_elements_partial(target, S::mul(sum, S::splat(factor)), count);
        }
    }
}
