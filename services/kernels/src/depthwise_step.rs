//! The depthwise convolution as a step of its own.

use std::ops::Range;

use crate::depthwise::{DepthwiseLine, DepthwiseWeights};
use crate::memory::Scratch;
use crate::paired_depthwise::{PairedLine, PairedWeights};
use crate::simd::{Kernel, Simd};
use crate::step::{MapSlot, Run, Step, chunk_range, clear_border};

/// A depthwise convolution from one map to another.
pub(crate) struct DepthwiseConvolution<S: Simd> {
    weights: DepthwiseWeights,
    /// With these, the step first copies lines of the input as pairs of pixels.
    paired: Option<PairedWeights<S>>,
    input: MapSlot,
    output: MapSlot,
    /// Zeros above and to the left of the input.
    padding: [usize; 2],
}

/// Output lines whose inputs are copied as pairs at a time.
const STRIP: usize = 8;

impl<S: Simd> DepthwiseConvolution<S> {
    pub(crate) fn new(
        weights: DepthwiseWeights,
        input: MapSlot,
        output: MapSlot,
        padding: [usize; 2],
    ) -> Self {
        Self {
            paired: PairedWeights::pack(&weights),
            weights,
            input,
            output,
            padding,
        }
    }

    /// Returns the upper left corner of the first window of a line.
    fn first_window(&self, run: &Run<'_>, image: usize, y: usize) -> *const S::Element {
        let (line, [top, left]) = (self.input.line(), self.padding);
        let first = run.map::<S>(&self.input, image).cast_const();
        let first = first.wrapping_add(y * self.weights.stride()[0] * line);
        first.wrapping_sub(top * line + left * self.input.pitch)
    }

    /// Computes lines of an image.
    unsafe fn run_lines(&self, run: &Run<'_>, image: usize, lines: Range<usize>) {
        let line = self.input.line();
        let output = run.map::<S>(&self.output, image);
        let mut inputs = vec![std::ptr::null(); self.weights.kernel()[0]];
        for y in lines {
            let first = self.first_window(run, image, y);
            for (row, pointer) in inputs.iter_mut().enumerate() {
                *pointer = first.wrapping_add(row * line).cast();
            }
            let line = DepthwiseLine::<S> {
                weights: &self.weights,
                inputs: &inputs,
                is_wide: false,
                input_pitch: self.input.pitch,
                output: output.wrapping_add(y * self.output.line()),
                output_pitch: self.output.pitch,
                width: self.output.width,
                channels: 0..self.weights.channels(),
            };
            // SAFETY: the border of the input contains the windows; the rest is the caller's promise.
            unsafe { line.compute() };
        }
    }

    /// Computes up to [`STRIP`] lines of an image through pairs of pixels.
    unsafe fn run_pairs(
        &self,
        paired: &PairedWeights<S>,
        run: &Run<'_>,
        image: usize,
        lines: Range<usize>,
        scratch: &mut Scratch,
    ) {
        let ([height, width], [stride, _]) = (self.weights.kernel(), self.weights.stride());
        let rows = (lines.len() - 1) * stride + height;
        let last = (self.output.width - 1) * self.weights.stride()[1];
        let pairs = last / 2 + width.div_ceil(2);
        let line = 2 * pairs * self.input.pitch;
        let copies = scratch
            .take(rows * line * size_of::<S::Element>())
            .cast::<S::Element>();
        // SAFETY: the border of the input contains the windows, the scratch memory has room for the copies; the rest is the
        // caller's promise.
        unsafe {
            S::enter(CopyPairs::<S> {
                from: self.first_window(run, image, lines.start),
                from_line: self.input.line(),
                pitch: self.input.pitch,
                // The last pair may extend beyond the border.
                pixels: self.padding[1] + self.input.width + self.input.border.right,
                rows,
                pairs,
                to: copies,
            });
            let output = run.map::<S>(&self.output, image);
            let mut inputs = vec![std::ptr::null(); height];
            for (index, y) in lines.enumerate() {
                for (row, pointer) in inputs.iter_mut().enumerate() {
                    *pointer = copies.add((index * stride + row) * line).cast_const();
                }
                let line = PairedLine {
                    weights: &self.weights,
                    paired,
                    inputs: &inputs,
                    start: 0,
                    output: output.add(y * self.output.line()),
                    width: self.output.width,
                };
                line.compute();
            }
        }
    }
}

/// Copies pixels as pairs.
struct CopyPairs<S: Simd> {
    from: *const S::Element,
    from_line: usize,
    /// Elements per pixel.
    pitch: usize,
    /// Pixels of a line. Those beyond are 0.
    pixels: usize,
    rows: usize,
    pairs: usize,
    to: *mut S::Element,
}

impl<S: Simd> Kernel<S> for CopyPairs<S> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        let pitch = self.pitch;
        for row in 0..self.rows {
            for pair in 0..self.pairs {
                let mut channel = 0;
                while channel < pitch {
                    // SAFETY: the pixels are in the map with its border; `to` has room for all pairs.
                    unsafe {
                        let first = self
                            .from
                            .add(row * self.from_line + 2 * pair * pitch + channel);
                        let to = self
                            .to
                            .add((row * self.pairs + pair) * 2 * pitch + 2 * channel);
                        let second = if 2 * pair + 1 < self.pixels {
                            S::load_elements(first.add(pitch))
                        } else {
                            S::zero()
                        };
                        S::store_pairs(to, S::load_elements(first), second);
                    }
                    channel += S::LANES;
                }
            }
        }
    }
}

impl<S: Simd> Step<S> for DepthwiseConvolution<S> {
    fn count_chunks(&self, run: &Run<'_>) -> usize {
        let lines = run.images.len() * self.output.height;
        match run.threads {
            1 => 1,
            // Chunks of small maps share most of their inputs.
            threads if self.output.pixels() < 400 => lines.min(threads),
            threads => lines.min(4 * threads),
        }
    }

    unsafe fn run_chunk(&self, run: &Run<'_>, chunk: usize, chunks: usize, scratch: &mut Scratch) {
        let height = self.output.height;
        let lines = chunk_range(run.images.len() * height, 1, chunk, chunks);
        let mut line = lines.start;
        while line < lines.end {
            let (image, y) = (run.images.start + line / height, line % height);
            let count = (lines.end - line).min(height - y).min(STRIP);
            // SAFETY: the chunks write different lines; the rest is the caller's promise.
            unsafe {
                if y == 0 {
                    clear_border::<S>(run.map::<S>(&self.output, image), &self.output);
                }
                match &self.paired {
                    Some(paired) => self.run_pairs(paired, run, image, y..y + count, scratch),
                    None => self.run_lines(run, image, y..y + count),
                }
            }
            line += count;
        }
    }

    fn weight_bytes(&self) -> usize {
        self.weights.size() + self.paired.as_ref().map_or(0, PairedWeights::size)
    }
}
