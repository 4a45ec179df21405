//! Depthwise convolutions of pairs of pixels, for sets that multiply pairs of elements.
//!
//! A line contains the pixels 0 and 1, then 2 and 3, and so on: for each channel, the element of the first pixel and that of
//! the second. One instruction then multiplies two neighbours of a window. A window of 3 pixels needs 2 pairs, one of 5
//! needs 3. Windows that start at the second pixel of a pair have factors of their own, which start with 0.

use crate::depthwise::DepthwiseWeights;
use crate::memory::AlignedArray;
use crate::simd::{Element, Kernel, Simd};

/// The factors of windows that start at a first pixel, and of those that start at a second one.
pub(crate) struct PairedWeights<S: Simd> {
    /// `[start][y][pair][channel][pixel of the pair]`.
    factors: AlignedArray<S::Element>,
}

impl<S: Simd> PairedWeights<S> {
    /// Packs the windows, if this set and these windows allow it.
    pub(crate) fn pack(weights: &DepthwiseWeights) -> Option<Self> {
        let [height, width] = weights.kernel();
        let is_known = height == width && [3, 5].contains(&width);
        if S::STEP != 2 || !is_known || weights.stride()[1] > 2 {
            return None;
        }
        let mut factors = Vec::new();
        for start in 0..2 {
            for (y, pair) in (0..height).flat_map(|y| (0..width.div_ceil(2)).map(move |p| (y, p))) {
                for (channel, pixel) in (0..weights.channels()).flat_map(|c| [(c, 0), (c, 1)]) {
                    let x = (2 * pair + pixel).checked_sub(start).filter(|x| *x < width);
                    let factor = x.map_or(0.0, |x| weights.factor(y * width + x, channel));
                    factors.push(S::Element::from_f32(factor));
                }
            }
        }
        Some(Self {
            factors: AlignedArray::from_slice(&factors),
        })
    }

    /// The size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.factors.size()
    }
}

/// A line of outputs.
pub(crate) struct PairedLine<'a, S: Simd> {
    pub(crate) weights: &'a DepthwiseWeights,
    pub(crate) paired: &'a PairedWeights<S>,
    /// For each line of the window, the pair with the first pixel of the first output's window.
    pub(crate) inputs: &'a [*const S::Element],
    /// 1 if that window starts at the second pixel of the pair, else 0.
    pub(crate) start: usize,
    pub(crate) output: *mut S::Element,
    /// Output pixels.
    pub(crate) width: usize,
}

impl<S: Simd> PairedLine<'_, S> {
    /// # Safety
    ///
    /// The processor supports the set. The inputs are readable for all windows of the line, the outputs writable.
    pub(crate) unsafe fn compute(self) {
        debug_assert_eq!(self.inputs.len(), self.weights.kernel()[0]);
        // SAFETY: the caller's promise.
        unsafe {
            match (self.weights.kernel()[0], self.weights.stride()[1]) {
                (3, 1) => S::enter(Pairs::<S, 3, 2, 2>(self)),
                (3, _) => S::enter(Pairs::<S, 3, 2, 1>(self)),
                (_, 1) => S::enter(Pairs::<S, 5, 3, 2>(self)),
                _ => S::enter(Pairs::<S, 5, 3, 1>(self)),
            }
        }
    }
}

/// `SIZE` lines and `PAIRS` pairs per window. `OUTPUTS` windows start in each pair: 2 at stride 1, 1 at stride 2.
struct Pairs<'a, S: Simd, const SIZE: usize, const PAIRS: usize, const OUTPUTS: usize>(
    PairedLine<'a, S>,
);

impl<S: Simd, const SIZE: usize, const PAIRS: usize, const OUTPUTS: usize>
    Pairs<'_, S, SIZE, PAIRS, OUTPUTS>
{
    /// Computes the `COUNT` windows that start in each of `GROUPS` pairs for a vector of channels. The first of them starts at
    /// the pixel `start` of the pair `pair`, and is the output `x`.
    #[inline(always)]
    unsafe fn compute_part<const GROUPS: usize, const COUNT: usize>(
        &self,
        channel: usize,
        x: usize,
        pair: usize,
        start: usize,
    ) {
        let line = &self.0;
        let channels = line.weights.channels();
        // SAFETY: the caller's promise.
        unsafe {
            let bias = S::load(line.weights.bias().add(channel));
            let mut sums = [[bias; COUNT]; GROUPS];
            let next_start = SIZE * PAIRS * 2 * channels;
            let mut factors = line.paired.factors.as_ptr();
            factors = factors.add(start * next_start + 2 * channel);
            for y in 0..SIZE {
                let mut input = *line.inputs.get_unchecked(y);
                input = input.add(2 * (pair * channels + channel));
                for _ in 0..PAIRS {
                    let mut factor = [S::load_steps(factors); COUNT];
                    if COUNT > 1 {
                        factor[COUNT - 1] = S::load_steps(factors.add(next_start));
                    }
                    for (group, sums) in sums.iter_mut().enumerate() {
                        let pixels = S::load_steps(input.add(2 * group * channels));
                        for (sum, factor) in sums.iter_mut().zip(factor) {
                            *sum = S::multiply_add_steps(*sum, pixels, factor);
                        }
                    }
                    factors = factors.add(2 * channels);
                    input = input.add(2 * channels);
                }
            }
            line.weights
                .activation()
                .apply_compactly::<S, GROUPS, COUNT>(&mut sums);
            let mut output = line.output.add(x * channels + channel);
            for group in &sums {
                for sum in group {
                    S::store_elements(output, *sum);
                    output = output.add(channels);
                }
            }
        }
    }
}

impl<S: Simd, const SIZE: usize, const PAIRS: usize, const OUTPUTS: usize> Kernel<S>
    for Pairs<'_, S, SIZE, PAIRS, OUTPUTS>
{
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        let width = self.0.width;
        let mut channel = 0;
        while channel < self.0.weights.channels() {
            let (mut x, mut pair) = (0, 0);
            // SAFETY: the caller's promise.
            unsafe {
                if OUTPUTS == 1 {
                    let start = self.0.start;
                    while x + 7 <= width {
                        self.compute_part::<7, 1>(channel, x, x, start);
                        x += 7;
                    }
                    while x + 2 <= width {
                        self.compute_part::<2, 1>(channel, x, x, start);
                        x += 2;
                    }
                    if x < width {
                        self.compute_part::<1, 1>(channel, x, x, start);
                    }
                } else {
                    if self.0.start == 1 {
                        self.compute_part::<1, 1>(channel, 0, 0, 1);
                        (x, pair) = (1, 1);
                    }
                    while x + 14 <= width {
                        self.compute_part::<7, 2>(channel, x, pair, 0);
                        (x, pair) = (x + 14, pair + 7);
                    }
                    while x + 6 <= width {
                        self.compute_part::<3, 2>(channel, x, pair, 0);
                        (x, pair) = (x + 6, pair + 3);
                    }
                    while x + 2 <= width {
                        self.compute_part::<1, 2>(channel, x, pair, 0);
                        (x, pair) = (x + 2, pair + 1);
                    }
                    if x < width {
                        self.compute_part::<1, 1>(channel, x, pair, 0);
                    }
                }
            }
            channel += S::LANES;
        }
    }
}
