//! Convolutions of each channel with its own window.

use crate::activation::KernelActivation;
use crate::memory::AlignedArray;
use crate::simd::{Kernel, Simd};
use crate::step::pad_channels;

/// Windows of all channels and what follows the sum.
pub(crate) struct DepthwiseWeights {
    /// Window height and width.
    kernel: [usize; 2],
    /// Pixels from one window to the next, downwards and to the right.
    stride: [usize; 2],
    /// Channels with padding.
    channels: usize,
    /// A vector of all channels for each place of the window.
    factors: AlignedArray<f32>,
    bias: AlignedArray<f32>,
    activation: KernelActivation,
}

impl DepthwiseWeights {
    /// Packs windows `[channel][y][x]`. `bias` has a number per channel.
    pub(crate) fn pack(
        windows: &[f32],
        bias: &[f32],
        kernel: [usize; 2],
        stride: [usize; 2],
        activation: KernelActivation,
    ) -> Self {
        let area = kernel[0] * kernel[1];
        let channels = pad_channels(bias.len());
        let mut factors = vec![0.0; area * channels];
        for (channel, window) in windows.chunks_exact(area).enumerate() {
            for (place, factor) in window.iter().enumerate() {
                factors[place * channels + channel] = *factor;
            }
        }
        let mut padded_bias = bias.to_vec();
        padded_bias.resize(channels, 0.0);
        Self {
            kernel,
            stride,
            channels,
            factors: AlignedArray::from_slice(&factors),
            bias: AlignedArray::from_slice(&padded_bias),
            activation,
        }
    }

    pub(crate) fn kernel(&self) -> [usize; 2] {
        self.kernel
    }

    pub(crate) fn stride(&self) -> [usize; 2] {
        self.stride
    }

    /// Channels with padding.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Returns a factor of a window, whose places count from left to right and then downwards.
    pub(crate) fn factor(&self, place: usize, channel: usize) -> f32 {
        assert!(place < self.kernel[0] * self.kernel[1] && channel < self.channels);
        // SAFETY: the index is inside the array.
        unsafe {
            self.factors
                .as_ptr()
                .add(place * self.channels + channel)
                .read()
        }
    }

    /// Returns the bias of all channels.
    pub(crate) fn bias(&self) -> *const f32 {
        self.bias.as_ptr()
    }

    pub(crate) fn activation(&self) -> KernelActivation {
        self.activation
    }

    /// The size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.factors.size() + self.bias.size()
    }
}

/// A line of outputs.
pub(crate) struct DepthwiseLine<'a, S: Simd> {
    pub(crate) weights: &'a DepthwiseWeights,
    /// For each line of the window, its place for the first output. f32 if `is_wide`, else elements.
    pub(crate) inputs: &'a [*const u8],
    pub(crate) is_wide: bool,
    /// Numbers per input pixel.
    pub(crate) input_pitch: usize,
    pub(crate) output: *mut S::Element,
    /// Elements per output pixel.
    pub(crate) output_pitch: usize,
    /// Output pixels.
    pub(crate) width: usize,
    /// The first channel to compute and the one after the last. Multiples of 16.
    pub(crate) channels: std::ops::Range<usize>,
}

impl<S: Simd> DepthwiseLine<'_, S> {
    /// # Safety
    ///
    /// The processor supports the set. The inputs are readable for all windows of the line, the outputs writable.
    pub(crate) unsafe fn compute(self) {
        let weights = self.weights;
        debug_assert_eq!(self.inputs.len(), weights.kernel[0]);
        let is_wide = self.is_wide && S::STEP > 1;
        // SAFETY: the caller's promise.
        unsafe {
            match (weights.kernel, weights.stride[1], is_wide) {
                ([3, 3], 1, true) => S::enter(Line::<S, 3, 1, true>(self)),
                ([3, 3], 2, true) => S::enter(Line::<S, 3, 2, true>(self)),
                ([5, 5], 1, true) => S::enter(Line::<S, 5, 1, true>(self)),
                ([5, 5], 2, true) => S::enter(Line::<S, 5, 2, true>(self)),
                ([3, 3], 1, false) => S::enter(Line::<S, 3, 1, false>(self)),
                ([3, 3], 2, false) => S::enter(Line::<S, 3, 2, false>(self)),
                ([5, 5], 1, false) => S::enter(Line::<S, 5, 1, false>(self)),
                ([5, 5], 2, false) => S::enter(Line::<S, 5, 2, false>(self)),
                (_, _, true) => S::enter(AnyLine::<S, true>(self)),
                (_, _, false) => S::enter(AnyLine::<S, false>(self)),
            }
        }
    }
}

/// Reads a vector of an input.
///
/// # Safety
///
/// `LANES` numbers after `offset` are readable.
#[inline(always)]
unsafe fn load_input<S: Simd, const WIDE: bool>(start: *const u8, offset: usize) -> S::F32 {
    // SAFETY: the caller's promise.
    unsafe {
        if WIDE {
            S::load(start.cast::<f32>().add(offset))
        } else {
            S::load_elements(start.cast::<S::Element>().add(offset))
        }
    }
}

/// Square windows of a known size and stride.
struct Line<'a, S: Simd, const SIZE: usize, const STRIDE: usize, const WIDE: bool>(
    DepthwiseLine<'a, S>,
);

impl<S: Simd, const SIZE: usize, const STRIDE: usize, const WIDE: bool>
    Line<'_, S, SIZE, STRIDE, WIDE>
{
    /// Computes outputs from `x` for one vector of channels.
    #[inline(always)]
    unsafe fn compute_part<const OUTPUTS: usize>(&self, channel: usize, x: usize) {
        let line = &self.0;
        let weights = line.weights;
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[S::load(weights.bias.as_ptr().add(channel)); OUTPUTS]];
            let mut factors = weights.factors.as_ptr().add(channel);
            for y in 0..SIZE {
                let input = *line.inputs.get_unchecked(y);
                let mut offset = x * STRIDE * line.input_pitch + channel;
                for _ in 0..SIZE {
                    let factor = S::load(factors);
                    for (output, sum) in sums[0].iter_mut().enumerate() {
                        let at = offset + output * STRIDE * line.input_pitch;
                        *sum = S::mul_add(load_input::<S, WIDE>(input, at), factor, *sum);
                    }
                    factors = factors.wrapping_add(weights.channels);
                    offset += line.input_pitch;
                }
            }
            weights
                .activation
                .apply_compactly::<S, 1, OUTPUTS>(&mut sums);
            for (output, sum) in sums[0].iter().enumerate() {
                let at = (x + output) * line.output_pitch + channel;
                S::store_elements(line.output.add(at), *sum);
            }
        }
    }
}

impl<S: Simd, const SIZE: usize, const STRIDE: usize, const WIDE: bool> Kernel<S>
    for Line<'_, S, SIZE, STRIDE, WIDE>
{
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        let mut channel = self.0.channels.start;
        while channel < self.0.channels.end {
            let mut x = 0;
            // SAFETY: the caller's promise.
            unsafe {
                while x + 7 <= self.0.width {
                    self.compute_part::<7>(channel, x);
                    x += 7;
                }
                while x + 2 <= self.0.width {
                    self.compute_part::<2>(channel, x);
                    x += 2;
                }
                if x < self.0.width {
                    self.compute_part::<1>(channel, x);
                }
            }
            channel += S::LANES;
        }
    }
}

/// Windows of any size.
struct AnyLine<'a, S: Simd, const WIDE: bool>(DepthwiseLine<'a, S>);

impl<S: Simd, const WIDE: bool> Kernel<S> for AnyLine<'_, S, WIDE> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        let line = self.0;
        let weights = line.weights;
        let mut channel = line.channels.start;
        while channel < line.channels.end {
            for x in 0..line.width {
                // SAFETY: the caller's promise.
                unsafe {
                    let mut sums = [[S::load(weights.bias.as_ptr().add(channel))]];
                    let mut factors = weights.factors.as_ptr().add(channel);
                    for input in line.inputs {
                        let mut offset = x * weights.stride[1] * line.input_pitch + channel;
                        for _ in 0..weights.kernel[1] {
                            let value = load_input::<S, WIDE>(*input, offset);
                            sums[0][0] = S::mul_add(value, S::load(factors), sums[0][0]);
                            factors = factors.wrapping_add(weights.channels);
                            offset += line.input_pitch;
                        }
                    }
                    weights.activation.apply_compactly::<S, 1, 1>(&mut sums);
                    let output = line.output.add(x * line.output_pitch + channel);
                    S::store_elements(output, sums[0][0]);
                }
            }
            channel += S::LANES;
        }
    }
}
