//! Convolutions over all channels: a product of matrices whose rows are the windows of the map.

use crate::activation::KernelActivation;
use crate::gemm::{Extent, INTEGER_UNIT, OutputForm, PackedWeights, Product, Segments, Strides};
use crate::memory::Scratch;
use crate::simd::Simd;
use crate::step::{MapSlot, Run, Step, chunk_range, clear_border};

/// Weights of a convolution in the order of the product, and the shape of its windows.
pub(crate) struct WindowWeights<S: Simd> {
    packed: PackedWeights<S>,
    kernel: [usize; 2],
    /// Steps of the sum per line of the window.
    line_steps: usize,
}

impl<S: Simd> WindowWeights<S> {
    /// Packs weights `[output][channel][y][x]` for maps with `pitch` elements per pixel.
    pub(crate) fn pack(
        weight: &[f32],
        bias: &[f32],
        channels: usize,
        pitch: usize,
        kernel: [usize; 2],
    ) -> Self {
        let [height, width] = kernel;
        let outputs = weight.len() / (channels * height * width);
        // A window of one column ends with its channels, a wider one includes the padding between its pixels.
        let line = (width - 1) * pitch + channels;
        let line_steps = line.div_ceil(S::STEP);
        let padded_line = line_steps * S::STEP;
        let element = |output: usize, input: usize| {
            let (y, place) = (input / padded_line, input % padded_line);
            let (x, channel) = (place / pitch, place % pitch);
            if x < width && channel < channels {
                weight[((output * channels + channel) * height + y) * width + x]
            } else {
                0.0
            }
        };
        // Lines of a window are read up to a multiple of the unit, which must end within the last pixel.
        let packed = if pitch.is_multiple_of(INTEGER_UNIT) || line.is_multiple_of(INTEGER_UNIT) {
            PackedWeights::pack_segments(outputs, [height, padded_line], element, bias)
        } else {
            PackedWeights::pack(outputs, height * padded_line, element, bias)
        };
        Self {
            packed,
            kernel,
            line_steps,
        }
    }

    pub(crate) fn packed(&self) -> &PackedWeights<S> {
        &self.packed
    }

    /// Returns the segments of a window in a map.
    pub(crate) fn segments(&self, line: usize) -> Segments {
        Segments {
            count: self.kernel[0],
            step: line,
            steps: self.line_steps,
        }
    }
}

/// A convolution from one map to another.
pub(crate) struct Convolution<S: Simd> {
    pub(crate) weights: WindowWeights<S>,
    pub(crate) input: MapSlot,
    pub(crate) output: MapSlot,
    pub(crate) residual: Option<MapSlot>,
    pub(crate) stride: [usize; 2],
    /// Zeros above and to the left of the input.
    pub(crate) padding: [usize; 2],
    pub(crate) activation: KernelActivation,
}

impl<S: Simd> Convolution<S> {
    /// Returns whether the chunks are blocks of output channels, and not lines.
    fn splits_outputs(&self, run: &Run<'_>) -> bool {
        let rows = run.images.len() * self.output.pixels();
        let blocks = self.weights.packed().blocks().len();
        let lines = rows.div_ceil(ROW_UNIT);
        blocks >= 2 * run.threads
            && (self.weights.packed().steps() > rows || lines < 4 * run.threads)
    }
}

/// Rows per chunk are a multiple of this.
const ROW_UNIT: usize = 24;

impl<S: Simd> Step<S> for Convolution<S> {
    fn count_chunks(&self, run: &Run<'_>) -> usize {
        if run.threads == 1 {
            return 1;
        }
        if self.splits_outputs(run) {
            return self.weights.packed().count_chunks(run.threads, usize::MAX);
        }
        let rows = run.images.len() * self.output.pixels();
        rows.div_ceil(ROW_UNIT).min(4 * run.threads)
    }

    unsafe fn run_chunk(&self, run: &Run<'_>, chunk: usize, chunks: usize, scratch: &mut Scratch) {
        let first_image = run.images.start;
        let input = run.map::<S>(&self.input, first_image);
        let output = run.map::<S>(&self.output, first_image);
        if chunk == 0 {
            for image in run.images.clone() {
                // SAFETY: only this chunk writes the border.
                unsafe { clear_border::<S>(run.map::<S>(&self.output, image), &self.output) };
            }
        }
        let strides = |slot: &MapSlot, stride: [usize; 2]| Strides {
            pixel: stride[1] * slot.pitch,
            line: stride[0] * slot.line(),
            image: slot.image_step / size_of::<S::Element>(),
        };
        let corner = self.padding[0] * self.input.line() + self.padding[1] * self.input.pitch;
        let output_strides = strides(&self.output, [1, 1]);
        let product = Product {
            weights: self.weights.packed(),
            extent: Extent {
                height: self.output.height,
                width: self.output.width,
            },
            input: input.wrapping_sub(corner).cast_const(),
            input_strides: strides(&self.input, self.stride),
            segments: self.weights.segments(self.input.line()),
            output: output.cast(),
            output_strides,
            form: OutputForm::Narrow,
            residual: match &self.residual {
                Some(slot) => run.map::<S>(slot, first_image).cast_const().cast(),
                None => std::ptr::null(),
            },
            residual_strides: match &self.residual {
                Some(slot) => strides(slot, [1, 1]),
                None => output_strides,
            },
            activation: self.activation,
        };
        let rows = run.images.len() * self.output.pixels();
        let blocks = product.weights.blocks().len();
        let (rows, blocks) = if run.threads > 1 && self.splits_outputs(run) {
            (0..rows, chunk_range(blocks, 1, chunk, chunks))
        } else {
            (chunk_range(rows, ROW_UNIT, chunk, chunks), 0..blocks)
        };
        // SAFETY: the border of the input contains all windows, so the pointers stay in the slots; the rest is the
        // caller's promise.
        unsafe { product.run(rows, blocks, scratch) };
    }

    fn weight_bytes(&self) -> usize {
        self.weights.packed().size()
    }
}
