//! Inverted residual blocks (Sandler et al., 2018): a convolution to many channels, a depthwise convolution, and a 1×1
//! convolution back to few.
//!
//! The map with many channels is several times as large as the others. The step computes it a few lines at a time into a
//! ring that stays in the cache of the core. The ring contains f32 or, if the set multiplies pairs of elements and their
//! precision is enough, pairs of pixels.

use std::ops::Range;

use crate::activation::KernelActivation;
use crate::convolution::WindowWeights;
use crate::depthwise::{DepthwiseLine, DepthwiseWeights};
use crate::gemm::{Extent, OutputForm, PackedWeights, Product, Segments, Strides};
use crate::memory::Scratch;
use crate::paired_depthwise::{PairedLines, PairedWeights};
use crate::simd::{Element, Simd};
use crate::step::{MapSlot, Run, Step, chunk_range, clear_border};

/// The first convolution of a block.
pub(crate) struct ExpandWeights<S: Simd> {
    pub(crate) weights: WindowWeights<S>,
    pub(crate) stride: [usize; 2],
    /// Zeros above and to the left of the input.
    pub(crate) padding: [usize; 2],
    pub(crate) activation: KernelActivation,
    /// Height and width of the result.
    pub(crate) size: [usize; 2],
}

/// The last convolution of a block.
pub(crate) struct ProjectWeights<S: Simd> {
    packed: PackedWeights<S>,
    /// 2 if the sum of two elements is a weight. The product then reads its inputs twice.
    parts: usize,
    activation: KernelActivation,
}

impl<S: Simd> ProjectWeights<S> {
    /// Packs weights `[output][channel]`. With `is_precise`, the rounding error of each weight is an element, too.
    pub(crate) fn pack(
        weight: &[f32],
        bias: &[f32],
        is_precise: bool,
        activation: KernelActivation,
    ) -> Self {
        let channels = weight.len() / bias.len();
        // Elements that are f32 have no rounding error.
        let parts = if is_precise && S::STEP > 1 { 2 } else { 1 };
        let part_inputs = channels.next_multiple_of(S::STEP);
        let element = |output: usize, input: usize| {
            let (part, channel) = (input / part_inputs, input % part_inputs);
            if channel >= channels {
                return 0.0;
            }
            let exact = weight[output * channels + channel];
            match part {
                0 => exact,
                _ => exact - S::Element::from_f32(exact).to_f32(),
            }
        };
        Self {
            packed: PackedWeights::pack_segments(bias.len(), [parts, part_inputs], element, bias),
            parts,
            activation,
        }
    }

    /// Returns the inputs of a pixel, once for each part of the weights.
    fn segments(&self) -> Segments {
        Segments {
            count: self.parts,
            step: 0,
            steps: self.packed.steps() / self.parts,
        }
    }
}

/// The maps outside the block.
pub(crate) struct BlockSlots {
    pub(crate) input: MapSlot,
    pub(crate) output: MapSlot,
    pub(crate) residual: Option<MapSlot>,
}

/// A block as one step.
pub(crate) struct InvertedResidualStep<S: Simd> {
    /// Without it, the depthwise convolution reads the input.
    expand: Option<ExpandWeights<S>>,
    depthwise: DepthwiseWeights,
    /// The factors for a ring of pairs. Without them, the ring contains f32.
    paired: Option<PairedWeights<S>>,
    /// Zeros above and to the left of the expanded map.
    padding: [usize; 2],
    project: ProjectWeights<S>,
    slots: BlockSlots,
    /// Output lines that the step computes at a time.
    strip: usize,
}

/// The size of the ring that is aimed at: a part of the second-level cache.
const RING_BYTES: usize = 256 << 10;

/// The parts of the scratch memory.
struct Buffers<S: Simd> {
    /// Lines of the expanded map, with zeros before and after.
    ring: *mut u8,
    /// Bytes per line of the ring.
    line_bytes: usize,
    lines: usize,
    /// A line of zeros.
    zeros: *const u8,
    /// Results of the depthwise convolution for a strip.
    strip: *mut S::Element,
}

impl<S: Simd> Buffers<S> {
    fn line(&self, y: usize) -> *mut u8 {
        self.ring.wrapping_add(y % self.lines * self.line_bytes)
    }
}

impl<S: Simd> InvertedResidualStep<S> {
    /// With `is_wide`, the expanded map is f32 with every set.
    pub(crate) fn new(
        expand: Option<ExpandWeights<S>>,
        is_wide: bool,
        depthwise: DepthwiseWeights,
        padding: [usize; 2],
        project: ProjectWeights<S>,
        slots: BlockSlots,
    ) -> Self {
        let paired = match expand {
            Some(_) if !is_wide => PairedWeights::pack(&depthwise),
            _ => None,
        };
        let mut step = Self {
            expand,
            depthwise,
            paired,
            padding,
            project,
            slots,
            strip: 1,
        };
        let height = step.slots.output.height;
        if step.expand.is_none() {
            step.strip = height.min(4);
        }
        while step.strip < height && (step.ring_lines() + 2) * step.line_bytes() <= RING_BYTES {
            step.strip += 1;
        }
        // Strips of equal height.
        step.strip = height.div_ceil(height.div_ceil(step.strip));
        step
    }

    /// Pixels of zeros before a line of the ring.
    fn left(&self) -> usize {
        match self.paired {
            Some(_) => self.padding[1].next_multiple_of(2),
            None => self.padding[1],
        }
    }

    /// The place in a line of the ring where the first window starts.
    fn first_window(&self) -> usize {
        self.left() - self.padding[1]
    }

    fn pixel_bytes(&self) -> usize {
        let number = match self.paired {
            Some(_) => size_of::<S::Element>(),
            None => size_of::<f32>(),
        };
        self.depthwise.channels() * number
    }

    /// Pixels per line of the ring.
    fn line_pixels(&self, width: usize) -> usize {
        let [_, window] = self.depthwise.kernel();
        let last = self.first_window() + (self.slots.output.width - 1) * self.depthwise.stride()[1];
        match self.paired {
            // A window reads whole pairs.
            Some(_) => (last / 2 * 2 + window + 1).max(self.left() + width.next_multiple_of(2)),
            None => (last + window).max(self.left() + width),
        }
    }

    fn line_bytes(&self) -> usize {
        match &self.expand {
            Some(expand) => self.line_pixels(expand.size[1]) * self.pixel_bytes(),
            None => 0,
        }
    }

    /// Lines of the expanded map that a strip reads.
    fn ring_lines(&self) -> usize {
        match self.expand {
            Some(_) => (self.strip - 1) * self.depthwise.stride()[0] + self.depthwise.kernel()[0],
            None => 0,
        }
    }

    /// Divides the scratch memory.
    unsafe fn prepare_buffers(&self, scratch: &mut Scratch) -> Buffers<S> {
        let (lines, line_bytes) = (self.ring_lines(), self.line_bytes());
        let channels = self.depthwise.channels();
        let strip = self.strip * self.slots.output.width * channels * size_of::<S::Element>();
        let ring_bytes = (lines + 1) * line_bytes;
        let ring = scratch.take(ring_bytes + strip + 64);
        // SAFETY: the memory has room for both parts.
        unsafe {
            if let Some(expand) = &self.expand {
                let before = self.left() * self.pixel_bytes();
                let after = before + expand.size[1] * self.pixel_bytes();
                for line in 0..lines {
                    let start = ring.add(line * line_bytes);
                    start.write_bytes(0, before);
                    start.add(after).write_bytes(0, line_bytes - after);
                }
            }
            let zeros = ring.add(lines * line_bytes);
            zeros.write_bytes(0, line_bytes);
            Buffers {
                ring,
                line_bytes,
                lines,
                zeros,
                strip: ring.add(ring_bytes).cast(),
            }
        }
    }

    /// Computes lines of the expanded map into the ring.
    unsafe fn expand_lines(
        &self,
        expand: &ExpandWeights<S>,
        buffers: &Buffers<S>,
        input: *const S::Element,
        lines: Range<usize>,
        scratch: &mut Scratch,
    ) {
        let slot = &self.slots.input;
        let corner = expand.padding[0] * slot.line() + expand.padding[1] * slot.pitch;
        let width = expand.size[1];
        let number_bytes = self.pixel_bytes() / self.depthwise.channels();
        let output_strides = Strides {
            pixel: self.depthwise.channels(),
            line: buffers.line_bytes / number_bytes,
            image: 0,
        };
        let weights = expand.weights.packed();
        let mut first = lines.start;
        while first < lines.end {
            // The lines up to the end of the ring. A pair must not contain pixels of two lines.
            let count = (lines.end - first).min(buffers.lines - first % buffers.lines);
            let count = if width.is_multiple_of(2) || self.paired.is_none() {
                count
            } else {
                1
            };
            let start = self.left() * self.pixel_bytes();
            let product = Product {
                weights,
                extent: Extent {
                    height: count,
                    width,
                },
                input: input
                    .wrapping_add(first * expand.stride[0] * slot.line())
                    .wrapping_sub(corner),
                input_strides: Strides {
                    pixel: expand.stride[1] * slot.pitch,
                    line: expand.stride[0] * slot.line(),
                    image: 0,
                },
                segments: expand.weights.segments(slot.line()),
                output: buffers.line(first).wrapping_add(start),
                output_strides,
                form: match self.paired {
                    Some(_) => OutputForm::Paired,
                    None => OutputForm::Wide,
                },
                residual: std::ptr::null(),
                residual_strides: output_strides,
                activation: expand.activation,
            };
            // SAFETY: the windows are inside the map with its border, the ring has room for the lines.
            unsafe { product.run(0..count * width, 0..weights.blocks().len(), scratch) };
            first += count;
        }
    }

    /// Returns the start of a line of the expanded map for the depthwise convolution, counted from the first line of
    /// its padding.
    fn expanded_line(
        &self,
        buffers: &Buffers<S>,
        input: *const S::Element,
        place: usize,
    ) -> *const u8 {
        let Some(expand) = &self.expand else {
            // The border of the input contains the padding.
            let slot = &self.slots.input;
            let line = input.wrapping_add(place * slot.line());
            let corner = self.padding[0] * slot.line() + self.padding[1] * slot.pitch;
            return line.wrapping_sub(corner).cast();
        };
        let line = place.wrapping_sub(self.padding[0]);
        let line = if line < expand.size[0] {
            buffers.line(line)
        } else {
            buffers.zeros.cast_mut()
        };
        // For pairs, the pair that contains the first pixel.
        let first = match self.paired {
            Some(_) => self.first_window() / 2 * 2,
            None => 0,
        };
        line.wrapping_add(first * self.pixel_bytes()).cast_const()
    }

    /// Computes the depthwise convolution of a strip.
    unsafe fn filter_strip(
        &self,
        buffers: &Buffers<S>,
        input: *const S::Element,
        lines: Range<usize>,
    ) {
        let channels = self.depthwise.channels();
        let ([window, _], [stride, _]) = (self.depthwise.kernel(), self.depthwise.stride());
        let first = lines.start * stride;
        let inputs = (first..first + (lines.len() - 1) * stride + window)
            .map(|place| self.expanded_line(buffers, input, place));
        let width = self.slots.output.width;
        let output_line = width * channels;
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(paired) = &self.paired {
                let inputs: Vec<_> = inputs.map(|input| input.cast()).collect();
                let lines = PairedLines::<S> {
                    weights: &self.depthwise,
                    paired,
                    inputs: &inputs,
                    start: self.first_window() % 2,
                    output: buffers.strip,
                    output_line,
                    height: lines.len(),
                    width,
                };
                return lines.compute();
            }
            let inputs: Vec<_> = inputs.collect();
            for index in 0..lines.len() {
                let line = DepthwiseLine::<S> {
                    weights: &self.depthwise,
                    inputs: &inputs[index * stride..][..window],
                    is_wide: self.expand.is_some(),
                    input_pitch: channels,
                    output: buffers.strip.add(index * output_line),
                    output_pitch: channels,
                    width,
                    channels: 0..channels,
                };
                line.compute();
            }
        }
    }

    /// Computes the results of the last convolution for a strip.
    unsafe fn project_strip(
        &self,
        run: &Run<'_>,
        image: usize,
        lines: Range<usize>,
        strip: *const S::Element,
        scratch: &mut Scratch,
    ) {
        let BlockSlots {
            output, residual, ..
        } = &self.slots;
        let channels = self.depthwise.channels();
        let strides = |slot: &MapSlot| Strides {
            pixel: slot.pitch,
            line: slot.line(),
            image: 0,
        };
        let first = |slot: &MapSlot| -> *mut u8 {
            let map = run.map::<S>(slot, image);
            map.wrapping_add(lines.start * slot.line()).cast()
        };
        let weights = &self.project.packed;
        let product = Product {
            weights,
            extent: Extent {
                height: lines.len(),
                width: output.width,
            },
            input: strip,
            input_strides: Strides {
                pixel: channels,
                line: output.width * channels,
                image: 0,
            },
            segments: self.project.segments(),
            output: first(output),
            output_strides: strides(output),
            form: OutputForm::Narrow,
            residual: residual
                .as_ref()
                .map_or(std::ptr::null(), |slot| first(slot).cast_const()),
            residual_strides: strides(residual.as_ref().unwrap_or(output)),
            activation: self.project.activation,
        };
        // SAFETY: the lines are inside the maps; the rest is the caller's promise.
        unsafe {
            product.run(
                0..lines.len() * output.width,
                0..weights.blocks().len(),
                scratch,
            )
        };
    }

    /// Computes output lines of an image.
    unsafe fn run_lines(
        &self,
        run: &Run<'_>,
        image: usize,
        lines: Range<usize>,
        buffers: &Buffers<S>,
        scratch: &mut Scratch,
    ) {
        let input = run.map::<S>(&self.slots.input, image).cast_const();
        let ([stride, _], [top, _]) = (self.depthwise.stride(), self.padding);
        let mut ready = 0;
        let mut y = lines.start;
        while y < lines.end {
            let count = self.strip.min(lines.end - y);
            // SAFETY: the lines are inside the maps; the rest is the caller's promise.
            unsafe {
                if let Some(expand) = &self.expand {
                    let [height, _] = expand.size;
                    let first = (y * stride).saturating_sub(top).min(height);
                    let last = (y + count - 1) * stride + self.depthwise.kernel()[0];
                    let last = last.saturating_sub(top).min(height);
                    ready = ready.max(first);
                    if ready < last {
                        self.expand_lines(expand, buffers, input, ready..last, scratch);
                        ready = last;
                    }
                }
                self.filter_strip(buffers, input, y..y + count);
                self.project_strip(run, image, y..y + count, buffers.strip, scratch);
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

impl<S: Simd> Step<S> for InvertedResidualStep<S> {
    fn count_chunks(&self, run: &Run<'_>) -> usize {
        run.images.len() * self.count_parts(run)
    }

    unsafe fn run_chunk(&self, run: &Run<'_>, chunk: usize, _: usize, scratch: &mut Scratch) {
        let parts = self.count_parts(run);
        let (image, part) = (run.images.start + chunk / parts, chunk % parts);
        let lines = chunk_range(self.slots.output.height, 1, part, parts);
        // SAFETY: the parts of an image write different lines, and one part the border.
        unsafe {
            if part == 0 {
                clear_border::<S>(run.map::<S>(&self.slots.output, image), &self.slots.output);
            }
            let buffers = self.prepare_buffers(scratch);
            self.run_lines(run, image, lines, &buffers, scratch);
        }
    }

    fn weight_bytes(&self) -> usize {
        let expand = self
            .expand
            .as_ref()
            .map_or(0, |expand| expand.weights.packed().size());
        let paired = self.paired.as_ref().map_or(0, PairedWeights::size);
        expand + self.depthwise.size() + paired + self.project.packed.size()
    }
}
