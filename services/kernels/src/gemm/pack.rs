//! Weights in the order in which the product reads them.

use super::integers::IntegerWeights;
use super::shape::Block;
use crate::memory::AlignedArray;
use crate::simd::{Element, Simd};
use crate::step::pad_channels;

/// A matrix of weights: blocks of output channels, each with the elements of one step after the other.
pub(crate) struct PackedWeights<S: Simd> {
    /// Empty if there are integers.
    elements: AlignedArray<S::Element>,
    integers: Option<IntegerWeights>,
    bias: AlignedArray<f32>,
    blocks: Vec<Block>,
    /// Steps of the sum: inputs divided by [`Simd::STEP`].
    steps: usize,
}

impl<S: Simd> PackedWeights<S> {
    /// The widest block in vectors, so that the sums of a tile fit in the registers.
    const MAX_VECTORS: usize = if S::REGISTERS >= 32 { 4 } else { 2 };

    /// Packs a matrix for rows of some segments of some inputs each: as integers if they are faster, else as elements.
    pub(crate) fn pack_segments(
        outputs: usize,
        segments: [usize; 2],
        weight: impl Fn(usize, usize) -> f32,
        bias: &[f32],
    ) -> Self {
        let [count, length] = segments;
        let inputs = count * length;
        if !IntegerWeights::are_faster::<S>(outputs, count, length) {
            return Self::pack(outputs, inputs, weight, bias);
        }
        let mut packed = Self::pack(outputs, 0, &weight, bias);
        packed.steps = inputs;
        let blocks = &packed.blocks;
        let integers = IntegerWeights::pack::<S>(outputs, segments, weight, blocks);
        packed.integers = Some(integers);
        packed
    }

    /// Packs a matrix as elements. `weight(output, input)` returns its elements for inputs below `inputs`; each output has
    /// a number in `bias`, or `bias` is empty.
    pub(crate) fn pack(
        outputs: usize,
        inputs: usize,
        weight: impl Fn(usize, usize) -> f32,
        bias: &[f32],
    ) -> Self {
        let padded = pad_channels(outputs);
        let steps = inputs.div_ceil(S::STEP);
        let vectors = padded / S::LANES;
        let block_count = vectors.div_ceil(Self::MAX_VECTORS);
        let mut blocks = Vec::with_capacity(block_count);
        let mut elements = Vec::with_capacity(padded * steps * S::STEP);
        let mut first_vector = 0;
        for index in 0..block_count {
            // The widths differ by at most 1: 5 vectors are 3 and 2, which is faster than 4 and 1.
            let width = (vectors - first_vector).div_ceil(block_count - index);
            let first_output = first_vector * S::LANES;
            blocks.push(Block {
                first_output,
                vectors: width,
                offset: elements.len(),
            });
            for step in 0..steps {
                for output in first_output..first_output + width * S::LANES {
                    for input in step * S::STEP..(step + 1) * S::STEP {
                        let is_inside = output < outputs && input < inputs;
                        let value = if is_inside {
                            weight(output, input)
                        } else {
                            0.0
                        };
                        elements.push(S::Element::from_f32(value));
                    }
                }
            }
            first_vector += width;
        }
        let mut padded_bias = bias.to_vec();
        padded_bias.resize(padded, 0.0);
        Self {
            elements: AlignedArray::from_slice(&elements),
            integers: None,
            bias: AlignedArray::from_slice(&padded_bias),
            blocks,
            steps,
        }
    }

    pub(crate) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// Returns the number of chunks of blocks for some threads: `per_thread` for each if there are enough blocks.
    pub(crate) fn count_chunks(&self, threads: usize, per_thread: usize) -> usize {
        match self.integers {
            // Each chunk scales all rows, which takes as long as computing several outputs.
            Some(_) => self
                .blocks
                .len()
                .div_ceil(3)
                .min(threads * per_thread.min(2)),
            None => self.blocks.len().min(threads.saturating_mul(per_thread)),
        }
    }

    pub(super) fn integers(&self) -> Option<&IntegerWeights> {
        self.integers.as_ref()
    }

    /// Returns the weights of a block.
    pub(crate) fn block_elements(&self, block: &Block) -> *const S::Element {
        self.elements.as_ptr().wrapping_add(block.offset)
    }

    /// Returns the bias of a block.
    pub(crate) fn block_bias(&self, block: &Block) -> *const f32 {
        self.bias.as_ptr().wrapping_add(block.first_output)
    }

    /// The size in bytes.
    pub(crate) fn size(&self) -> usize {
        let integers = self.integers.as_ref().map_or(0, IntegerWeights::size);
        self.elements.size() + integers + self.bias.size()
    }
}
