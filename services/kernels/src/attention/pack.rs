//! Packs the keys and values of a head into panels, as the right sides of matrix products.

use super::shape::{AttentionLayout, AttentionShape};
use crate::simd::Simd;

/// Packs the keys: the transposed matrix, in panels. Keys after the last are 0, and so are the numbers
/// after the end of a head.
///
/// # Safety
///
/// `source` is valid for reads of `shape.tokens` rows of `shape.head_width` elements, `stride` apart;
/// `output` for writes of the packed keys of `layout`.
#[inline(always)]
pub(super) unsafe fn pack_keys<S: Simd>(
    shape: &AttentionShape,
    layout: &AttentionLayout,
    source: *const S::Element,
    stride: usize,
    output: *mut S::Element,
) {
    let whole_steps = shape.head_width / S::STEP;
    for first in (0..layout.token_vectors).step_by(layout.panel_vectors) {
        let vectors = layout.panel_vectors.min(layout.token_vectors - first);
        let panel_keys = vectors * S::LANES;
        // SAFETY: panel by panel, the vectors before this one have `head_steps * LANES` steps each.
        let panel = unsafe { output.add(first * layout.head_steps * S::LANES * S::STEP) };
        for key in 0..panel_keys {
            let token = first * S::LANES + key;
            let count = if token < shape.tokens { whole_steps } else { 0 };
            for step in 0..layout.head_steps {
                // SAFETY: `step < head_steps` and `key < panel_keys`, so the step is in the panel. Only
                // whole steps of existing keys are read at once.
                unsafe {
                    let target = panel.add((step * panel_keys + key) * S::STEP);
                    if step < count {
                        let start = source.add(token * stride + step * S::STEP);
                        std::ptr::copy_nonoverlapping(start, target, S::STEP);
                        continue;
                    }
                    for i in 0..S::STEP {
                        let column = step * S::STEP + i;
                        let is_inside = token < shape.tokens && column < shape.head_width;
                        *target.add(i) = if is_inside {
                            *source.add(token * stride + column)
                        } else {
                            S::Element::default()
                        };
                    }
                }
            }
        }
    }
}

/// Packs the values in panels. Tokens after the last are 0, and so are columns after the last.
///
/// # Safety
///
/// As [`pack_keys`], for the packed values.
#[inline(always)]
pub(super) unsafe fn pack_values<S: Simd>(
    shape: &AttentionShape,
    layout: &AttentionLayout,
    source: *const S::Element,
    stride: usize,
    output: *mut S::Element,
) {
    for first in (0..layout.head_vectors).step_by(layout.panel_vectors) {
        let vectors = layout.panel_vectors.min(layout.head_vectors - first);
        let panel_columns = vectors * S::LANES;
        let columns = panel_columns.min(shape.head_width - first * S::LANES);
        for step in 0..layout.token_steps {
            for i in 0..S::STEP {
                let token = step * S::STEP + i;
                let count = if token < shape.tokens { columns } else { 0 };
                // SAFETY: the step is in the panel, whose vectors have `token_steps * LANES` steps each.
                // Only columns of existing tokens are read.
                unsafe {
                    let panel = output.add(first * layout.token_steps * S::LANES * S::STEP);
                    let target = panel.add(step * panel_columns * S::STEP + i);
                    let start = source.add(token.min(shape.tokens - 1) * stride + first * S::LANES);
                    for column in 0..count {
                        *target.add(column * S::STEP) = *start.add(column);
                    }
                    for column in count..panel_columns {
                        *target.add(column * S::STEP) = S::Element::default();
                    }
                }
            }
        }
    }
}
