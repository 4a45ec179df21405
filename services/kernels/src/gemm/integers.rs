//! Products of 16-bit integers, for sets that multiply pairs of them faster than f32.
//!
//! Each row of the input and each output's weights are scaled, so that the products of a row and an output have a sum of less
//! than 2³¹: after Cauchy and Schwarz, the sum is at most the product of their lengths. Partial sums may wrap around.

use super::pack::Block;
use super::product::Pixel;
use super::shape::{Extent, Segments, Strides};
use crate::memory::{AlignedArray, Scratch};
use crate::simd::{Kernel, Simd};
use crate::step::pad_channels;

/// The greatest length of a row. An integer of a row is at most as great.
const ROW_LENGTH: f32 = 32_700.0;

/// The greatest length of the weights of an output.
const WEIGHTS_LENGTH: f32 = 65_400.0;

/// The greatest weight.
const MAX_WEIGHT: f32 = 32_767.0;

/// Added to a number below 2²², it leaves no bits for a fraction. The functions that round are slow without SSE4.1.
const ROUNDING: f32 = (3 << 22) as f32;

/// Shorter rows count as that long, so that the scale is a number. They become 0.
const MIN_LENGTH: f32 = 1e-30;

/// Inputs per row with which rounding cannot lengthen a row or the weights by more than 34.
const MAX_INPUTS: usize = 4_600;

/// Fewer outputs cost less time than scaling the rows.
const MIN_OUTPUTS: usize = 32;

/// Integers that are scaled at a time. Segments of rows are read up to a multiple of this: what follows the inputs must be
/// readable and 0, or belong to the row.
pub(crate) const INTEGERS: usize = 16;

/// The size of the scaled rows that are multiplied at a time: a part of the second-level cache.
const GROUP_BYTES: usize = 96 << 10;

/// Rows that are scaled at a time are a multiple of this, so that they fill the tiles of the product.
const ROW_UNIT: usize = 6;

/// Weights as integers.
pub(super) struct IntegerWeights {
    /// Blocks of outputs, each with pairs of inputs one after the other.
    elements: AlignedArray<i16>,
    /// A number for each output, by which its sums are multiplied.
    factors: AlignedArray<f32>,
    /// Integers per segment of a row: a multiple of [`INTEGERS`].
    segment: usize,
    segments: usize,
}

impl IntegerWeights {
    /// Returns whether integers are faster for rows of some segments.
    pub(super) fn are_faster<S: Simd>(outputs: usize, segments: usize, segment: usize) -> bool {
        let inputs = segments * segment.next_multiple_of(INTEGERS);
        // Segments must not consist mostly of padding.
        S::MULTIPLIES_INTEGERS
            && outputs >= MIN_OUTPUTS
            && (INTEGERS..=MAX_INPUTS).contains(&inputs)
            && inputs * 3 <= segments * segment * 4
    }

    /// Packs a matrix. `weight(output, input)` returns its elements for inputs below `segments * segment`.
    pub(super) fn pack(
        outputs: usize,
        [segments, segment]: [usize; 2],
        weight: impl Fn(usize, usize) -> f32,
        blocks: &[Block],
        lanes: usize,
    ) -> Self {
        let padded_segment = segment.next_multiple_of(INTEGERS);
        let inputs = segments * padded_segment;
        let exact = |output: usize, input: usize| {
            let (index, place) = (input / padded_segment, input % padded_segment);
            if output < outputs && place < segment {
                weight(output, index * segment + place)
            } else {
                0.0
            }
        };
        let scales: Vec<f32> = (0..pad_channels(outputs))
            .map(|output| {
                let weights = (0..inputs).map(|input| exact(output, input));
                let (squares, greatest) = weights.fold((0.0, 0.0_f32), |(squares, greatest), x| {
                    (squares + f64::from(x) * f64::from(x), greatest.max(x.abs()))
                });
                let length = (squares.sqrt() as f32).max(MIN_LENGTH);
                (WEIGHTS_LENGTH / length).min(MAX_WEIGHT / greatest.max(MIN_LENGTH))
            })
            .collect();
        let mut elements = Vec::with_capacity(scales.len() * inputs);
        for block in blocks {
            let last_output = block.first_output + block.vectors * lanes;
            for pair in 0..inputs / 2 {
                for output in block.first_output..last_output {
                    for input in [2 * pair, 2 * pair + 1] {
                        let scaled = exact(output, input) * scales[output];
                        elements.push((scaled + ROUNDING - ROUNDING) as i16);
                    }
                }
            }
        }
        let factors: Vec<f32> = scales.iter().map(|scale| scale.recip()).collect();
        Self {
            elements: AlignedArray::from_slice(&elements),
            factors: AlignedArray::from_slice(&factors),
            segment: padded_segment,
            segments,
        }
    }

    /// Integers per row.
    pub(super) fn row_length(&self) -> usize {
        self.segments * self.segment
    }

    /// Returns the weights of a block.
    pub(super) fn block_elements(&self, block: &Block) -> *const i16 {
        let offset = block.first_output * self.row_length();
        self.elements.as_ptr().wrapping_add(offset)
    }

    /// Returns the factors of a block.
    pub(super) fn block_factors(&self, block: &Block) -> *const f32 {
        self.factors.as_ptr().wrapping_add(block.first_output)
    }

    /// Rows that are scaled and multiplied at a time.
    pub(super) fn group_rows(&self) -> usize {
        let bytes = self.row_length() * size_of::<i16>();
        (GROUP_BYTES / bytes / ROW_UNIT * ROW_UNIT).max(ROW_UNIT)
    }

    /// Takes memory for a group of rows.
    pub(super) fn take_rows(&self, scratch: &mut Scratch) -> IntegerRows {
        let rows = self.group_rows();
        let bytes = self.row_length() * size_of::<i16>();
        let memory = scratch.take_rows(rows * (bytes + size_of::<f32>()));
        IntegerRows {
            start: memory.cast(),
            length: self.row_length(),
            // A multiple of the alignment of f32.
            factors: memory.wrapping_add(rows * bytes).cast(),
        }
    }

    /// The size in bytes.
    pub(super) fn size(&self) -> usize {
        self.elements.size() + self.factors.size()
    }
}

/// Rows as integers, and for each row the factor by which its sums are multiplied.
#[derive(Clone, Copy)]
pub(super) struct IntegerRows {
    start: *mut i16,
    /// Integers per row.
    length: usize,
    factors: *mut f32,
}

impl IntegerRows {
    /// Returns the first row, which the others follow.
    #[inline(always)]
    pub(super) fn start(&self) -> *const i16 {
        self.start.cast_const()
    }

    /// Makes a later row the first.
    #[inline(always)]
    pub(super) fn advance(&mut self, rows: usize) {
        self.start = self.start.wrapping_add(rows * self.length);
        self.factors = self.factors.wrapping_add(rows);
    }

    /// # Safety
    ///
    /// The row was scaled.
    #[inline(always)]
    pub(super) unsafe fn factor(&self, index: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { self.factors.add(index).read() }
    }
}

/// Scales rows of the input.
pub(super) struct ScaleRows<'a, S: Simd> {
    pub(super) weights: &'a IntegerWeights,
    pub(super) input: *const S::Element,
    pub(super) strides: Strides,
    pub(super) extent: Extent,
    pub(super) segments: Segments,
    /// The pixel of the first row.
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) to: IntegerRows,
}

impl<S: Simd> Kernel<S> for ScaleRows<'_, S> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        let mut pixel = Pixel::new(self.first, self.extent);
        let step = self.segments.step;
        for index in 0..self.count {
            let [offset] = pixel.offsets::<1>(self.extent, self.strides);
            pixel.advance(1, self.extent);
            // SAFETY: the segments are readable up to whole vectors of the padding of their last pixel.
            unsafe {
                let row = self.input.add(offset);
                let mut squares = [S::zero(); 2];
                for segment in 0..self.weights.segments {
                    let start = row.wrapping_add(segment * step);
                    let mut at = 0;
                    while at < self.weights.segment {
                        for (part, sum) in squares.iter_mut().enumerate() {
                            let x = S::load_elements(start.add(at + part * S::LANES));
                            *sum = S::mul_add(x, x, *sum);
                        }
                        at += 2 * S::LANES;
                    }
                }
                let length = S::sum_lanes(S::add(squares[0], squares[1])).sqrt();
                // A NaN stays one, also in the factor.
                let length = if length < MIN_LENGTH {
                    MIN_LENGTH
                } else {
                    length
                };
                let scale = S::splat(ROW_LENGTH / length);
                self.to.factors.add(index).write(length / ROW_LENGTH);
                let mut to = self.to.start.add(index * self.to.length);
                for segment in 0..self.weights.segments {
                    let start = row.wrapping_add(segment * step);
                    let mut at = 0;
                    while at < self.weights.segment {
                        S::store_integers(to, start.add(at), scale);
                        to = to.add(INTEGERS);
                        at += INTEGERS;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pack::PackedWeights;
    use super::super::product::Product;
    use super::super::shape::OutputForm;
    use super::*;
    use crate::activation::KernelActivation;
    use crate::instruction_set::InstructionSet;
    use crate::random::TestNumbers;
    use crate::simd::{SimdVisitor, visit};

    /// Multiplies rows of `inputs` numbers with the weights of each output.
    struct Multiply<'a> {
        rows: &'a [f32],
        inputs: usize,
        weights: &'a [f32],
    }

    impl SimdVisitor for Multiply<'_> {
        type Output = Option<Vec<f32>>;

        fn visit<S: Simd>(self) -> Option<Vec<f32>> {
            if !S::MULTIPLIES_INTEGERS {
                return None;
            }
            let Self { rows, inputs, .. } = self;
            let outputs = self.weights.len() / inputs;
            let element = |output: usize, input: usize| self.weights[output * inputs + input];
            let weights = PackedWeights::<S>::pack_segments(outputs, [1, inputs], element, &[]);
            assert!(weights.integers().is_some());
            let count = rows.len() / inputs;
            let mut results = vec![0.0_f32; count * outputs];
            let strides = |pixel| Strides {
                pixel,
                line: 0,
                image: 0,
            };
            let product = Product {
                weights: &weights,
                extent: Extent {
                    height: 1,
                    width: count,
                },
                // The elements of sets with integers are f32.
                input: rows.as_ptr().cast(),
                input_strides: strides(inputs),
                segments: Segments {
                    count: 1,
                    step: 0,
                    steps: weights.steps(),
                },
                output: results.as_mut_ptr().cast(),
                output_strides: strides(outputs),
                form: OutputForm::Wide,
                residual: std::ptr::null(),
                residual_strides: strides(outputs),
                activation: KernelActivation::None,
            };
            let blocks = 0..weights.blocks().len();
            // SAFETY: `visit` checks the set; rows and results have the sizes of the product.
            unsafe { product.run(0..count, blocks, &mut Scratch::default()) };
            Some(results)
        }
    }

    /// Compares products with sums in f64. Equal numbers round alike, so that their errors add up.
    fn check(name: &str, inputs: usize, rows: &[f32], weights: &[f32]) {
        let sets = InstructionSet::ALL.into_iter();
        for set in sets.filter(|set| set.is_supported()) {
            let multiply = Multiply {
                rows,
                inputs,
                weights,
            };
            let Some(results) = visit(set, multiply) else {
                continue;
            };
            let mut results = results.into_iter();
            let length = |numbers: &[f32]| {
                let squares = numbers.iter().map(|x| f64::from(*x) * f64::from(*x));
                squares.sum::<f64>().sqrt()
            };
            for row in rows.chunks_exact(inputs) {
                for weights in weights.chunks_exact(inputs) {
                    let products = row.iter().zip(weights);
                    let expected: f64 = products.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    let limit = 1e-3 * length(row) * length(weights);
                    let result = f64::from(results.next().unwrap());
                    assert!(
                        (result - expected).abs() <= limit,
                        "{name} on {set}: {result} instead of {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_greatest_sums_do_not_overflow() {
        for inputs in [16, 48, 512, 4_592] {
            for sign in [1.0, -1.0] {
                // Weights that are a multiple of the row have the greatest sum after Cauchy and Schwarz.
                let mut random = TestNumbers::new(inputs as u64);
                let numbers: Vec<f32> = random.normals(inputs);
                let alike: Vec<f32> = numbers.iter().map(|x| x * sign * 7.0).collect();
                check("like rows", inputs, &numbers.repeat(7), &alike.repeat(48));
                let equal = vec![sign * 3.5; inputs];
                check("equal numbers", inputs, &equal.repeat(3), &equal.repeat(32));
                let mut single = vec![0.0; inputs];
                single[inputs - 1] = 1e9 * sign;
                check("one number", inputs, &single, &single.repeat(32));
            }
        }
    }

    #[test]
    fn rows_of_zeros_stay_zero() {
        check("zeros", 32, &[0.0; 64], &[0.0; 32 * 32]);
    }
}
