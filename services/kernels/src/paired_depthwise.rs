//! Depthwise convolutions of pairs of pixels, for sets that multiply pairs of elements.
//!
//! A line contains the pixels 0 and 1, then 2 and 3, and so on: for each channel, the element of the first pixel and that of
//! the second. One instruction then multiplies two neighbours of a window. A window of 3 pixels needs 2 pairs, one of 5
//! needs 3. Windows that start at the second pixel of a pair have factors of their own, which start with 0.
//!
//! The factors of a window are rounded so that their sum hardly changes. Maps change slowly from pixel to pixel, so an error
//! of the sum shifts the whole channel, while errors that cancel each other have little effect. With all windows rounded
//! separately, EfficientNet-Lite0's vector of one picture has a cosine of 0.986 to the one in f32, with this rounding 0.998.

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
        let area = height * width;
        let windows: Vec<Vec<S::Element>> = (0..weights.channels())
            .map(|channel| {
                let window: Vec<f32> = (0..area).map(|at| weights.factor(at, channel)).collect();
                round_window(&window)
            })
            .collect();
        let mut factors = Vec::new();
        for start in 0..2 {
            for (y, pair) in (0..height).flat_map(|y| (0..width.div_ceil(2)).map(move |p| (y, p))) {
                for (channel, pixel) in (0..weights.channels()).flat_map(|c| [(c, 0), (c, 1)]) {
                    let x = (2 * pair + pixel).checked_sub(start).filter(|x| *x < width);
                    factors.push(
                        x.map_or_else(S::Element::default, |x| windows[channel][y * width + x]),
                    );
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

/// Rounds the factors of a window. From the largest factor to the smallest, the error of each rounding is added to the next
/// factor.
fn round_window<E: Element>(window: &[f32]) -> Vec<E> {
    let mut order: Vec<usize> = (0..window.len()).collect();
    order.sort_by(|a, b| window[*b].abs().total_cmp(&window[*a].abs()));
    let mut rounded = vec![E::default(); window.len()];
    let mut error = 0.0;
    for place in order {
        let wanted = window[place] + error;
        rounded[place] = E::from_f32(wanted);
        error = wanted - rounded[place].to_f32();
    }
    rounded
}

/// Lines of outputs.
pub(crate) struct PairedLines<'a, S: Simd> {
    pub(crate) weights: &'a DepthwiseWeights,
    pub(crate) paired: &'a PairedWeights<S>,
    /// For each line that the windows read, the pair with the first pixel of the first output's window.
    pub(crate) inputs: &'a [*const S::Element],
    /// 1 if that window starts at the second pixel of the pair, else 0.
    pub(crate) start: usize,
    pub(crate) output: *mut S::Element,
    /// Elements from one output line to the next.
    pub(crate) output_line: usize,
    /// Output lines.
    pub(crate) height: usize,
    /// Output pixels per line.
    pub(crate) width: usize,
}

impl<S: Simd> PairedLines<'_, S> {
    /// # Safety
    ///
    /// The processor supports the set. The inputs are readable for all windows of the lines, the outputs writable.
    pub(crate) unsafe fn compute(self) {
        let ([window, _], [stride, _]) = (self.weights.kernel(), self.weights.stride());
        assert!(self.height > 0 && self.inputs.len() >= (self.height - 1) * stride + window);
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
    PairedLines<'a, S>,
);

impl<S: Simd, const SIZE: usize, const PAIRS: usize, const OUTPUTS: usize>
    Pairs<'_, S, SIZE, PAIRS, OUTPUTS>
{
    /// Computes the `COUNT` windows that start in each of `GROUPS` pairs for a vector of channels. The first of them starts at
    /// the pixel `start` of the pair `pair`, and is the output `x` of the line `y`.
    #[inline(always)]
    unsafe fn compute_part<const GROUPS: usize, const COUNT: usize>(
        &self,
        channel: usize,
        y: usize,
        [x, pair]: [usize; 2],
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
            let first_row = y * line.weights.stride()[0];
            for row in 0..SIZE {
                let mut input = *line.inputs.get_unchecked(first_row + row);
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
                    factors = factors.wrapping_add(2 * channels);
                    input = input.wrapping_add(2 * channels);
                }
            }
            line.weights
                .activation()
                .apply_compactly::<S, GROUPS, COUNT>(&mut sums);
            let mut output = line
                .output
                .add(y * line.output_line + x * channels + channel);
            let end = line
                .output
                .add((y * line.output_line) + line.width * channels);
            for group in &sums {
                for sum in group {
                    // The last pair of a line may have only one window.
                    if output < end {
                        S::store_elements(output, *sum);
                    }
                    output = output.wrapping_add(channels);
                }
            }
        }
    }

    /// Computes a line for a vector of channels.
    #[inline(always)]
    unsafe fn compute_line(&self, channel: usize, y: usize) {
        let width = self.0.width;
        let (mut x, mut pair) = (0, 0);
        // SAFETY: the caller's promise.
        unsafe {
            if OUTPUTS == 1 {
                let start = self.0.start;
                while x + 7 <= width {
                    self.compute_part::<7, 1>(channel, y, [x, x], start);
                    x += 7;
                }
                while x + 2 <= width {
                    self.compute_part::<2, 1>(channel, y, [x, x], start);
                    x += 2;
                }
                if x < width {
                    self.compute_part::<1, 1>(channel, y, [x, x], start);
                }
                return;
            }
            if self.0.start == 1 {
                self.compute_part::<1, 1>(channel, y, [0, 0], 1);
                (x, pair) = (1, 1);
            }
            while x + 14 <= width {
                self.compute_part::<7, 2>(channel, y, [x, pair], 0);
                (x, pair) = (x + 14, pair + 7);
            }
            while x + 7 <= width {
                self.compute_part::<4, 2>(channel, y, [x, pair], 0);
                (x, pair) = (x + 8, pair + 4);
            }
            while x < width {
                self.compute_part::<1, 2>(channel, y, [x, pair], 0);
                (x, pair) = (x + 2, pair + 1);
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
        let mut channel = 0;
        // All lines for some channels, so that their factors stay in the first-level cache.
        while channel < self.0.weights.channels() {
            for y in 0..self.0.height {
                // SAFETY: the caller's promise.
                unsafe { self.compute_line(channel, y) };
            }
            channel += S::LANES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Bf16;

    #[test]
    fn rounding_keeps_the_sum_of_a_window() {
        let window: Vec<f32> = (0..25)
            .map(|i| ((i * 37 % 25) as f32 - 7.0) / 7.3)
            .collect();
        let rounded: Vec<Bf16> = round_window(&window);
        let rounded: Vec<f32> = rounded.into_iter().map(Bf16::to_f32).collect();
        let sum = |numbers: &[f32]| numbers.iter().sum::<f32>();
        assert!((sum(&window) - sum(&rounded)).abs() < 1e-5);
        for (factor, rounded) in window.iter().zip(&rounded) {
            assert!((factor - rounded).abs() < 0.02, "{factor} became {rounded}");
        }
        let separately: Vec<f32> = window
            .iter()
            .map(|factor| Bf16::from_f32(*factor).to_f32())
            .collect();
        assert!((sum(&window) - sum(&separately)).abs() > 1e-5);
    }
}
