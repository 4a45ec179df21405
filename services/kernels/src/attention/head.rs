//! Attention of the queries of one head.

use std::ops::Range;

use super::block::attend_block;
use super::pack::{pack_keys, pack_values};
use super::shape::{AttentionLayout, AttentionShape, BLOCK_ROWS};
use crate::simd::{Kernel, Simd};

/// Computes the outputs of one head for the queries `rows`.
///
/// # Safety
///
/// - `qkv` is valid for reads of `tokens` rows of `input_pitch()` elements: the queries of all heads, then
///   the keys, then the values.
/// - `output` is valid for writes of `tokens` rows of `output_pitch()` elements. No other thread accesses
///   the columns of `head` in `rows`, or the padding if it is the last head.
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
        let Self {
            shape,
            qkv,
            output,
            head,
            rows,
            scratch,
        } = self;
        debug_assert!(head < shape.heads && rows.end <= shape.tokens);
        let layout = AttentionLayout::new::<S>(&shape);
        // SAFETY: the head's columns are inside of the rows. The scratch has the bytes of the layout.
        unsafe {
            let parts = layout.split::<S>(scratch);
            let width = shape.width();
            let queries = qkv.add(head * shape.head_width);
            let keys = queries.add(width);
            let values = keys.add(width);
            let pitch = shape.input_pitch();
            pack_keys::<S>(&shape, &layout, keys, pitch, parts.keys);
            pack_values::<S>(&shape, &layout, values, pitch, parts.values);
            if head == shape.heads - 1 {
                for row in rows.clone() {
                    let padding = output.add(row * shape.output_pitch() + width);
                    padding.write_bytes(0, shape.output_pitch() - width);
                }
            }
            let output = output.add(head * shape.head_width);
            for first in rows.clone().step_by(BLOCK_ROWS) {
                let block = first..(first + BLOCK_ROWS).min(rows.end);
                attend_block::<S>(&shape, &layout, queries, block, output, &parts);
            }
        }
    }
}
