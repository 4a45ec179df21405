//! The steps of transformers other than linear layers: layer norm, attention, tokens.

use crate::attention::{AttendHead, AttendWithQuery, AttentionShape, PooledAttention};
use crate::layer_norm::{LayerNormWeights, NormalizeRows, NormalizedRows};
use crate::memory::Scratch;
use crate::simd::{Element, Simd};
use crate::step::{MapSlot, RowsSlot, Run, Step, chunk_range};
use crate::tokens::{EmbedTokens, RowPlace, TokenEmbedding};

/// Rows per chunk of steps with little work per row.
const ROW_UNIT: usize = 16;

/// Queries per chunk of attention are a multiple of this.
const QUERY_UNIT: usize = 24;

/// Normalises rows.
pub(super) struct NormalizeStep {
    pub(super) norm: LayerNormWeights,
    /// Wide.
    pub(super) input: RowsSlot,
    pub(super) output: RowsSlot,
}

impl<S: Simd> Step<S> for NormalizeStep {
    fn count_chunks(&self, run: &Run<'_>) -> usize {
        let rows = run.images.len() * run.count_rows(&self.input);
        rows.div_ceil(ROW_UNIT).clamp(1, run.threads)
    }

    unsafe fn run_chunk(&self, run: &Run<'_>, chunk: usize, chunks: usize, _: &mut Scratch) {
        let rows = run.images.len() * run.count_rows(&self.input);
        let rows = chunk_range(rows, 1, chunk, chunks);
        let (first, start) = (run.images.start, rows.start * self.input.pitch);
        let input = run.floats(&self.input, first).wrapping_add(start);
        let output = if self.output.is_wide {
            NormalizedRows::F32(run.floats(&self.output, first).wrapping_add(start))
        } else {
            NormalizedRows::Elements(run.elements::<S>(&self.output, first).wrapping_add(start))
        };
        // SAFETY: both slots have room for all rows, with the same pitch; the rest is the caller's
        // promise.
        unsafe {
            S::enter(NormalizeRows {
                norm: &self.norm,
                rows: rows.len(),
                input,
                output,
            });
        }
    }

    fn weight_bytes(&self) -> usize {
        self.norm.size()
    }
}

/// Attention of all rows of an image, or of a text, to each other.
pub(super) struct AttentionStep {
    /// Queries, keys and values of all heads: elements.
    pub(super) input: RowsSlot,
    /// Elements.
    pub(super) output: RowsSlot,
    pub(super) heads: usize,
    pub(super) is_causal: bool,
}

impl AttentionStep {
    fn shape(&self, run: &Run<'_>) -> AttentionShape {
        AttentionShape {
            tokens: run.count_rows(&self.input),
            heads: self.heads,
            head_width: self.output.width / self.heads,
            is_causal: self.is_causal,
        }
    }

    /// Returns the parts of the queries of a head that are computed separately.
    fn query_parts(&self, run: &Run<'_>) -> usize {
        let heads = run.images.len() * self.heads;
        if run.threads == 1 || heads >= 2 * run.threads {
            return 1;
        }
        // Each part packs the keys again, so there are only as many as the threads need.
        let parts = (2 * run.threads).div_ceil(heads);
        parts.min(run.count_rows(&self.input).div_ceil(QUERY_UNIT))
    }
}

impl<S: Simd> Step<S> for AttentionStep {
    fn count_chunks(&self, run: &Run<'_>) -> usize {
        match run.threads {
            1 => 1,
            _ => run.images.len() * self.heads * self.query_parts(run),
        }
    }

    unsafe fn run_chunk(&self, run: &Run<'_>, chunk: usize, chunks: usize, scratch: &mut Scratch) {
        let shape = self.shape(run);
        let scratch = scratch.take(shape.scratch_bytes::<S>());
        let parts = self.query_parts(run);
        let all = run.images.len() * self.heads * parts;
        for index in chunk_range(all, 1, chunk, chunks) {
            let (part, head) = (index % parts, index / parts % self.heads);
            let image = run.images.start + index / parts / self.heads;
            // SAFETY: the slots have room for all rows, with the pitches of the shape; the scratch has
            // room; the rest is the caller's promise.
            unsafe {
                S::enter(AttendHead {
                    shape,
                    qkv: run.elements::<S>(&self.input, image).cast_const(),
                    output: run.elements::<S>(&self.output, image),
                    head,
                    rows: chunk_range(shape.tokens, QUERY_UNIT, part, parts),
                    scratch,
                });
            }
        }
    }
}

/// Attention of a constant query to all rows of an image.
pub(super) struct PooledAttentionStep {
    pub(super) attention: PooledAttention,
    /// Keys and values of all heads: elements.
    pub(super) input: RowsSlot,
    /// One row of elements.
    pub(super) output: RowsSlot,
}

impl<S: Simd> Step<S> for PooledAttentionStep {
    fn count_chunks(&self, run: &Run<'_>) -> usize {
        match run.threads {
            1 => 1,
            threads => (run.images.len() * self.attention.heads()).min(2 * threads),
        }
    }

    unsafe fn run_chunk(&self, run: &Run<'_>, chunk: usize, chunks: usize, scratch: &mut Scratch) {
        let heads = self.attention.heads();
        let tokens = run.count_rows(&self.input);
        let scratch = scratch.take(self.attention.scratch_bytes::<S>(tokens));
        for index in chunk_range(run.images.len() * heads, 1, chunk, chunks) {
            let image = run.images.start + index / heads;
            let head = index % heads;
            // SAFETY: as in `AttentionStep`.
            unsafe {
                S::enter(AttendWithQuery {
                    attention: &self.attention,
                    keys_values: run.elements::<S>(&self.input, image).cast_const(),
                    tokens,
                    heads: head..head + 1,
                    output: run.elements::<S>(&self.output, image),
                    scratch,
                });
            }
        }
    }
}

/// Turns the map of patches into rows.
pub(super) struct EmbedTokensStep {
    pub(super) embedding: TokenEmbedding,
    /// Has the pitch of the output.
    pub(super) input: MapSlot,
    /// Wide.
    pub(super) output: RowsSlot,
}

impl<S: Simd> Step<S> for EmbedTokensStep {
    fn count_chunks(&self, run: &Run<'_>) -> usize {
        match run.threads {
            1 => 1,
            threads => run.images.len() * threads,
        }
    }

    unsafe fn run_chunk(&self, run: &Run<'_>, chunk: usize, chunks: usize, _: &mut Scratch) {
        let parts = (chunks / run.images.len().max(1)).max(1);
        for index in chunk_range(run.images.len() * parts, 1, chunk, chunks) {
            let image = run.images.start + index / parts;
            let rows = self.embedding.count_rows();
            // SAFETY: the slots have room for the image; the rest is the caller's promise.
            unsafe {
                S::enter(EmbedTokens {
                    embedding: &self.embedding,
                    map: run.map::<S>(&self.input, image).cast_const(),
                    map_width: self.input.width,
                    map_line: self.input.line(),
                    output: run.floats(&self.output, image),
                    rows: chunk_range(rows, 1, index % parts, parts),
                });
            }
        }
    }

    fn weight_bytes(&self) -> usize {
        self.embedding.size()
    }
}

/// Copies one row of each image.
pub(super) struct SelectRowStep {
    pub(super) place: RowPlace,
    pub(super) input: RowsSlot,
    /// One row per image, of the pitch of the input.
    pub(super) output: RowsSlot,
}

impl<S: Simd> Step<S> for SelectRowStep {
    fn count_chunks(&self, _: &Run<'_>) -> usize {
        1
    }

    unsafe fn run_chunk(&self, run: &Run<'_>, _: usize, _: usize, _: &mut Scratch) {
        let pitch = self.input.pitch;
        let start = self.place.index(run.count_rows(&self.input)) * pitch;
        for image in run.images.clone() {
            // SAFETY: the row belongs to the image, and the output has room for a row per image.
            unsafe {
                for column in 0..pitch {
                    let number = if self.input.is_wide {
                        *run.floats(&self.input, image).add(start + column)
                    } else {
                        let row = run.elements::<S>(&self.input, image).add(start);
                        (*row.add(column)).to_f32()
                    };
                    if self.output.is_wide {
                        *run.floats(&self.output, image).add(column) = number;
                    } else {
                        let output = run.elements::<S>(&self.output, image).add(column);
                        *output = S::Element::from_f32(number);
                    }
                }
            }
        }
    }
}
