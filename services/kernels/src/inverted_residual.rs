//! Inverted residual blocks (Sandler et al., 2018): a 1×1 convolution to many channels, a depthwise convolution, and a
//! 1×1 convolution back to few.
//!
//! The map with many channels is several times as large as the others. The step computes it a few lines at a time into a
//! ring that stays in the cache of the core.

use crate::activation::KernelActivation;
use crate::depthwise::{DepthwiseLine, DepthwiseWeights};
use crate::gemm::{Extent, PackedWeights, Product, Segments, Strides};
use crate::memory::Scratch;
use crate::simd::Simd;
use crate::step::{MapSlot, Run, Step, clear_border};

/// A 1×1 convolution.
pub(crate) struct PixelWeights<S: Simd> {
    pub(crate) weights: PackedWeights<S>,
    pub(crate) activation: KernelActivation,
}

/// The maps outside the block.
pub(crate) struct BlockSlots {
    pub(crate) input: MapSlot,
    pub(crate) output: MapSlot,
    pub(crate) residual: Option<MapSlot>,
}

/// A block as one step.
pub(crate) struct InvertedResidualStep<S: Simd> {
    /// The first convolution. Without it, the depthwise convolution reads the input.
    expand: Option<PixelWeights<S>>,
    depthwise: DepthwiseWeights,
    /// Zeros above and to the left of the expanded map.
    padding: [usize; 2],
    project: PixelWeights<S>,
    slots: BlockSlots,
    /// Output lines that the step computes at a time.
    strip: usize,
}

/// The size of the ring that is aimed at: a part of the second-level cache.
const RING_BYTES: usize = 256 << 10;

/// The parts of the scratch memory.
struct Buffers<S: Simd> {
    /// Lines of f32, each with its left and right padding.
    ring: *mut f32,
    /// Numbers per line of the ring.
    ring_line: usize,
    ring_lines: usize,
    /// A line of zeros.
    zeros: *const f32,
    /// Results of the depthwise convolution for a strip.
    strip: *mut S::Element,
}

impl<S: Simd> InvertedResidualStep<S> {
    pub(crate) fn new(
        expand: Option<PixelWeights<S>>,
        depthwise: DepthwiseWeights,
        padding: [usize; 2],
        project: PixelWeights<S>,
        slots: BlockSlots,
    ) -> Self {
        let mut step = Self {
            expand,
            depthwise,
            padding,
            project,
            slots,
            strip: 1,
        };
        let line_bytes = step.ring_line() * size_of::<f32>();
        let height = step.slots.output.height;
        while step.strip < height && (step.ring_lines() + 2) * line_bytes <= RING_BYTES {
            step.strip += 1;
        }
        // Strips of equal height.
        step.strip = height.div_ceil(height.div_ceil(step.strip));
        step
    }

    /// Numbers per line of the ring.
    fn ring_line(&self) -> usize {
        let [_, kernel_width] = self.depthwise.kernel();
        let needed = (self.slots.output.width - 1) * self.depthwise.stride()[1] + kernel_width;
        needed.max(self.padding[1] + self.slots.input.width) * self.depthwise.channels()
    }

    /// Lines of the expanded map that a strip reads.
    fn ring_lines(&self) -> usize {
        (self.strip - 1) * self.depthwise.stride()[0] + self.depthwise.kernel()[0]
    }

    /// Divides the scratch memory.
    unsafe fn prepare_buffers(&self, scratch: &mut Scratch) -> Buffers<S> {
        let (ring_line, ring_lines) = match self.expand {
            Some(_) => (self.ring_line(), self.ring_lines()),
            None => (0, 0),
        };
        let channels = self.depthwise.channels();
        let ring = (ring_lines + 1) * ring_line;
        let strip = self.strip * self.slots.output.width * channels;
        let bytes = ring * size_of::<f32>() + strip * size_of::<S::Element>() + 64;
        let memory = scratch.take(bytes);
        let ring_start = memory.cast::<f32>();
        // SAFETY: the memory has room for both parts. Only the padding must be 0, and the line of zeros.
        unsafe {
            let [left, width] = [self.padding[1], self.slots.input.width].map(|n| n * channels);
            for line in 0..ring_lines {
                let start = ring_start.add(line * ring_line);
                start.write_bytes(0, left);
                start
                    .add(left + width)
                    .write_bytes(0, ring_line - left - width);
            }
            let zeros = ring_start.add(ring_lines * ring_line);
            zeros.write_bytes(0, ring_line);
            Buffers {
                ring: ring_start,
                ring_line,
                ring_lines,
                zeros,
                strip: ring_start.add(ring).cast(),
            }
        }
    }

    /// Computes lines of the expanded map into the ring.
    unsafe fn expand_lines(
        &self,
        expand: &PixelWeights<S>,
        buffers: &Buffers<S>,
        input: *const S::Element,
        lines: std::ops::Range<usize>,
    ) {
        let slot = &self.slots.input;
        let channels = self.depthwise.channels();
        let mut first = lines.start;
        while first < lines.end {
            let place = first % buffers.ring_lines;
            let count = (lines.end - first).min(buffers.ring_lines - place);
            let start = place * buffers.ring_line + self.padding[1] * channels;
            let output = buffers.ring.wrapping_add(start);
            let output_strides = Strides {
                pixel: channels,
                line: buffers.ring_line,
                image: 0,
            };
            let product = Product {
                weights: &expand.weights,
                extent: Extent {
                    height: count,
                    width: slot.width,
                },
                input: input.wrapping_add(first * slot.line()),
                input_strides: Strides {
                    pixel: slot.pitch,
                    line: slot.line(),
                    image: 0,
                },
                segments: Segments {
                    count: 1,
                    step: 0,
                    steps: expand.weights.steps(),
                },
                output: output.cast(),
                output_strides,
                is_wide: true,
                residual: std::ptr::null(),
                residual_strides: output_strides,
                activation: expand.activation,
            };
            // SAFETY: the lines are inside the map, the ring has room for them.
            unsafe { product.run(0..count * slot.width, 0..expand.weights.blocks().len()) };
            first += count;
        }
    }

    /// Computes a line of the depthwise convolution.
    unsafe fn filter_line(
        &self,
        buffers: &Buffers<S>,
        input: *const S::Element,
        y: usize,
        output: *mut S::Element,
    ) {
        let slot = &self.slots.input;
        let channels = self.depthwise.channels();
        let kernel_height = self.depthwise.kernel()[0];
        let mut inputs = [std::ptr::null(); MAX_KERNEL];
        for (row, pointer) in inputs.iter_mut().enumerate().take(kernel_height) {
            let place = y * self.depthwise.stride()[0] + row;
            *pointer = if self.expand.is_none() {
                // The border of the input contains the padding.
                let line = input.wrapping_add(place * slot.line());
                line.wrapping_sub(self.padding[0] * slot.line() + self.padding[1] * slot.pitch)
                    .cast()
            } else if place < self.padding[0] || place >= self.padding[0] + slot.height {
                buffers.zeros.cast()
            } else {
                let line = (place - self.padding[0]) % buffers.ring_lines;
                buffers
                    .ring
                    .wrapping_add(line * buffers.ring_line)
                    .cast_const()
                    .cast()
            };
        }
        let line = DepthwiseLine::<S> {
            weights: &self.depthwise,
            inputs: &inputs[..kernel_height],
            is_wide: self.expand.is_some(),
            input_pitch: channels,
            output,
            output_pitch: channels,
            width: self.slots.output.width,
            channels: 0..channels,
        };
        // SAFETY: the caller's promise.
        unsafe { line.compute() };
    }

    /// Computes output lines of an image.
    unsafe fn run_lines(
        &self,
        run: &Run<'_>,
        image: usize,
        lines: std::ops::Range<usize>,
        buffers: &Buffers<S>,
    ) {
        let BlockSlots {
            input: input_slot,
            output: output_slot,
            residual,
        } = &self.slots;
        let input = run.map::<S>(input_slot, image).cast_const();
        let output = run.map::<S>(output_slot, image);
        let [stride, _] = self.depthwise.stride();
        let [top, _] = self.padding;
        let channels = self.depthwise.channels();
        let first_needed = |y: usize| (y * stride).saturating_sub(top).min(input_slot.height);
        let mut ready = first_needed(lines.start);
        let strides = |slot: &MapSlot| Strides {
            pixel: slot.pitch,
            line: slot.line(),
            image: 0,
        };
        let mut y = lines.start;
        while y < lines.end {
            let count = self.strip.min(lines.end - y);
            // SAFETY: the lines are inside the maps; the rest is the caller's promise.
            unsafe {
                if let Some(expand) = &self.expand {
                    let last = (y + count - 1) * stride + self.depthwise.kernel()[0];
                    let last = last.saturating_sub(top).min(input_slot.height);
                    ready = ready.max(first_needed(y));
                    self.expand_lines(expand, buffers, input, ready..last.max(ready));
                    ready = last.max(ready);
                }
                for line in 0..count {
                    let strip = buffers.strip.add(line * output_slot.width * channels);
                    self.filter_line(buffers, input, y + line, strip);
                }
                let product = Product {
                    weights: &self.project.weights,
                    extent: Extent {
                        height: count,
                        width: output_slot.width,
                    },
                    input: buffers.strip.cast_const(),
                    input_strides: Strides {
                        pixel: channels,
                        line: output_slot.width * channels,
                        image: 0,
                    },
                    segments: Segments {
                        count: 1,
                        step: 0,
                        steps: self.project.weights.steps(),
                    },
                    output: output.add(y * output_slot.line()).cast(),
                    output_strides: strides(output_slot),
                    is_wide: false,
                    residual: residual.as_ref().map_or(std::ptr::null(), |slot| {
                        let line = run.map::<S>(slot, image).wrapping_add(y * slot.line());
                        line.cast_const().cast()
                    }),
                    residual_strides: strides(residual.as_ref().unwrap_or(output_slot)),
                    activation: self.project.activation,
                };
                let rows = count * output_slot.width;
                product.run(0..rows, 0..self.project.weights.blocks().len());
            }
            y += count;
        }
    }

    /// Returns the parts into which the lines of an image are divided.
    fn count_parts(&self, run: &Run<'_>) -> usize {
        match run.threads {
            1 => 1,
            threads => threads.min(self.slots.output.height),
        }
    }
}

/// The greatest height of a window.
pub(crate) const MAX_KERNEL: usize = 16;

impl<S: Simd> Step<S> for InvertedResidualStep<S> {
    fn count_chunks(&self, run: &Run<'_>) -> usize {
        run.images.len() * self.count_parts(run)
    }

    unsafe fn run_chunk(&self, run: &Run<'_>, chunk: usize, _: usize, scratch: &mut Scratch) {
        let parts = self.count_parts(run);
        let (image, part) = (run.images.start + chunk / parts, chunk % parts);
        let lines = crate::step::chunk_range(self.slots.output.height, 1, part, parts);
        // SAFETY: the parts of an image write different lines, and one part the border.
        unsafe {
            if part == 0 {
                clear_border::<S>(run.map::<S>(&self.slots.output, image), &self.slots.output);
            }
            let buffers = self.prepare_buffers(scratch);
            self.run_lines(run, image, lines, &buffers);
        }
    }

    fn weight_bytes(&self) -> usize {
        let expand = self
            .expand
            .as_ref()
            .map_or(0, |expand| expand.weights.size());
        expand + self.depthwise.size() + self.project.weights.size()
    }
}
