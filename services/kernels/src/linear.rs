//! Linear layers: products of rows with a matrix.

use crate::activation::KernelActivation;
use crate::gemm::{Extent, OutputForm, PackedWeights, Product, Segments, Strides};
use crate::memory::Scratch;
use crate::simd::{Element, Simd};
use crate::step::{RowsSlot, Run, Step, chunk_range};

/// A linear layer from rows to rows.
pub(crate) struct LinearLayer<S: Simd> {
    pub(crate) weights: PackedWeights<S>,
    /// Elements.
    pub(crate) input: RowsSlot,
    pub(crate) output: RowsSlot,
    /// Of the same type as the output.
    pub(crate) residual: Option<RowsSlot>,
    pub(crate) activation: KernelActivation,
}

/// Rows per chunk are a multiple of this.
const ROW_UNIT: usize = 24;

impl<S: Simd> LinearLayer<S> {
    /// Returns whether the chunks are blocks of output channels, and not rows.
    fn splits_outputs(&self, run: &Run<'_>) -> bool {
        // Each thread then reads only its part of the weights, which are most of the memory that a linear layer reads.
        let rows = run.images.len() * run.count_rows(&self.input);
        self.weights.blocks().len() >= 2 * run.threads && rows < 2 * self.weights.steps() * S::STEP
    }
}

impl<S: Simd> Step<S> for LinearLayer<S> {
    fn count_chunks(&self, run: &Run<'_>) -> usize {
        if run.threads == 1 {
            return 1;
        }
        if self.splits_outputs(run) {
            return self.weights.count_chunks(run.threads, 4);
        }
        let rows = run.images.len() * run.count_rows(&self.input);
        rows.div_ceil(ROW_UNIT).clamp(1, 4 * run.threads)
    }

    unsafe fn run_chunk(&self, run: &Run<'_>, chunk: usize, chunks: usize, scratch: &mut Scratch) {
        let first_image = run.images.start;
        let start = |slot: &RowsSlot| -> *mut u8 {
            if slot.is_wide {
                run.floats(slot, first_image).cast()
            } else {
                run.elements::<S>(slot, first_image).cast()
            }
        };
        // Rows of a slot follow each other, also over the images.
        let strides = |slot: &RowsSlot| Strides {
            pixel: slot.pitch,
            line: 0,
            image: 0,
        };
        let rows = run.images.len() * run.count_rows(&self.input);
        let product = Product {
            weights: &self.weights,
            extent: Extent {
                height: 1,
                width: rows.max(1),
            },
            input: run.elements::<S>(&self.input, first_image).cast_const(),
            input_strides: strides(&self.input),
            segments: Segments {
                count: 1,
                step: 0,
                steps: self.weights.steps(),
            },
            output: start(&self.output),
            output_strides: strides(&self.output),
            form: if self.output.is_wide {
                OutputForm::Wide
            } else {
                OutputForm::Narrow
            },
            residual: self
                .residual
                .as_ref()
                .map_or(std::ptr::null(), |slot| start(slot).cast_const()),
            residual_strides: strides(self.residual.as_ref().unwrap_or(&self.output)),
            activation: self.activation,
        };
        let blocks = self.weights.blocks().len();
        let (rows, blocks) = if run.threads > 1 && self.splits_outputs(run) {
            (0..rows, chunk_range(blocks, 1, chunk, chunks))
        } else {
            (chunk_range(rows, ROW_UNIT, chunk, chunks), 0..blocks)
        };
        // SAFETY: the slots have room for all rows; the rest is the caller's promise.
        unsafe { product.run(rows, blocks, scratch) };
    }

    fn weight_bytes(&self) -> usize {
        self.weights.size()
    }
}

/// Converts rows between f32 and elements.
pub(crate) struct ConvertRows {
    pub(crate) input: RowsSlot,
    /// Wide if the input is not.
    pub(crate) output: RowsSlot,
}

impl<S: Simd> Step<S> for ConvertRows {
    fn count_chunks(&self, _: &Run<'_>) -> usize {
        1
    }

    unsafe fn run_chunk(&self, run: &Run<'_>, _: usize, _: usize, _: &mut Scratch) {
        let numbers = run.images.len() * run.count_rows(&self.input) * self.input.pitch;
        let first_image = run.images.start;
        // SAFETY: both slots have room for the rows.
        unsafe {
            if self.input.is_wide {
                let input = run.floats(&self.input, first_image);
                let output = run.elements::<S>(&self.output, first_image);
                for index in 0..numbers {
                    output
                        .add(index)
                        .write(S::Element::from_f32(input.add(index).read()));
                }
            } else {
                let input = run.elements::<S>(&self.input, first_image);
                let output = run.floats(&self.output, first_image);
                for index in 0..numbers {
                    output.add(index).write(input.add(index).read().to_f32());
                }
            }
        }
    }
}
