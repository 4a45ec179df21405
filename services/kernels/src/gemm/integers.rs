//! Products of 16-bit integers, for sets that multiply pairs of them faster than f32.
//!
//! Inputs and weights are divided into groups of inputs. Each group of a row has a scale, and each output's weights have one,
//! so that the sum of a group's products is less than 2³¹: by the Cauchy–Schwarz inequality, it is at most the product of the
//! two norms. Partial sums may wrap around. The sums of the groups are added in f32.

use super::shape::{Block, Extent, Pixel, Segments, Strides};
use crate::memory::{AlignedArray, Scratch};
use crate::simd::{Kernel, Simd};
use crate::step::pad_channels;

/// The norm of a scaled group of a row, and so the limit of each of its integers.
const ROW_NORM: f32 = 32_750.0;

/// The greatest norm of the scaled weights of a group.
const WEIGHTS_NORM: f32 = 65_500.0;

/// The greatest scaled weight.
const MAX_WEIGHT: f32 = 32_767.0;

/// Rounding adds at most half of the root of [`MAX_GROUP`] to a norm.
const _: () =
    assert!((ROW_NORM as f64 + 10.0) * (WEIGHTS_NORM as f64 + 10.0) < (1u64 << 31) as f64);

/// A smaller norm counts as this one, so that the scale is a number. The squares of f32 this small are no longer exact.
const MIN_NORM: f32 = 1e-15;

/// Added to a number below 2²², it leaves no bits for a fraction. The functions that round are slow without SSE4.1.
const ROUNDING: f32 = (3 << 22) as f32;

/// With fewer outputs, scaling the rows takes longer than the integers save.
const MIN_OUTPUTS: usize = 32;

/// With fewer weights, too: the least product of inputs and outputs.
const MIN_WEIGHTS: usize = 16 * 96;

/// Segments of rows are read up to a multiple of this. What is read beyond a segment must be 0, or inside the row.
pub(crate) const INTEGER_UNIT: usize = 16;

/// Inputs per group at most. More inputs have larger sums, and so smaller scales.
pub(super) const MAX_GROUP: usize = 384;

/// The size of the scaled rows that are multiplied at a time: a part of the second-level cache.
const PANEL_BYTES: usize = 96 << 10;

/// Rows that are scaled at a time are a multiple of this, so that they fill tiles of 6, 8 or 12 rows.
const ROW_UNIT: usize = 24;

/// The same for sets with less than 32 registers, whose tiles have 6 rows.
const SMALL_ROW_UNIT: usize = 6;

/// How rows are divided into segments, which follow each other in memory at any distance, and these into groups.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups {
    segments: usize,
    /// Integers per segment: a multiple of [`INTEGER_UNIT`].
    segment: usize,
    /// Integers per group, but the last of a segment may have fewer.
    group: usize,
    per_segment: usize,
}

impl Groups {
    fn new(segments: usize, inputs: usize) -> Self {
        let segment = inputs.next_multiple_of(INTEGER_UNIT);
        // Groups of about the same size.
        let group = segment.div_ceil(segment.div_ceil(MAX_GROUP));
        let group = group.next_multiple_of(INTEGER_UNIT);
        Self {
            segments,
            segment,
            group,
            per_segment: segment.div_ceil(group),
        }
    }

    #[inline(always)]
    pub(super) fn segments(&self) -> usize {
        self.segments
    }

    /// Groups per segment.
    #[inline(always)]
    pub(super) fn per_segment(&self) -> usize {
        self.per_segment
    }

    /// Groups per row.
    pub(super) fn count(&self) -> usize {
        self.segments * self.per_segment
    }

    /// Integers per row.
    #[inline(always)]
    pub(super) fn row_integers(&self) -> usize {
        self.segments * self.segment
    }

    /// Returns the place of a group in its segment, and its integers.
    #[inline(always)]
    pub(super) fn group_in_segment(&self, index: usize) -> (usize, usize) {
        let start = index * self.group;
        (start, self.group.min(self.segment - start))
    }
}

/// Weights as integers.
pub(super) struct IntegerWeights {
    /// Blocks of outputs, each with pairs of inputs one after the other.
    elements: AlignedArray<i16>,
    /// A number for each output, by which its sums are multiplied.
    factors: AlignedArray<f32>,
    groups: Groups,
    /// Rows that are scaled and multiplied at a time.
    panel_rows: usize,
}

impl IntegerWeights {
    /// Returns whether integers are faster for rows of `segments` segments with `inputs` inputs each.
    pub(super) fn are_faster<S: Simd>(outputs: usize, segments: usize, inputs: usize) -> bool {
        const {
            let fits = INTEGER_UNIT.is_multiple_of(S::LANES) && S::STEP == 1;
            assert!(fits || !S::MULTIPLIES_INTEGERS);
        }
        S::MULTIPLIES_INTEGERS
            && outputs >= MIN_OUTPUTS
            && outputs * segments * inputs >= MIN_WEIGHTS
            // At most a quarter of a segment may be padding.
            && inputs.next_multiple_of(INTEGER_UNIT) * 3 <= inputs * 4
    }

    /// Packs a matrix. `weight(output, input)` returns its elements for inputs below `segments * inputs`. If a weight of an
    /// output is not finite, its results are NaN.
    pub(super) fn pack<S: Simd>(
        outputs: usize,
        [segments, inputs]: [usize; 2],
        weight: impl Fn(usize, usize) -> f32,
        blocks: &[Block],
    ) -> Self {
        let groups = Groups::new(segments, inputs);
        let row_integers = groups.row_integers();
        let exact = |output: usize, place: usize| {
            let (segment, input) = (place / groups.segment, place % groups.segment);
            if output < outputs && input < inputs {
                weight(output, segment * inputs + input)
            } else {
                0.0
            }
        };
        let scales: Vec<f32> = (0..pad_channels(outputs))
            .map(|output| {
                let (mut start, mut norm, mut greatest) = (0, 0.0_f32, 0.0_f32);
                for group in 0..groups.count() {
                    let end = start + groups.group_in_segment(group % groups.per_segment).1;
                    let mut squares = 0.0;
                    for weight in (start..end).map(|place| exact(output, place)) {
                        squares += f64::from(weight) * f64::from(weight);
                        greatest = greatest.max(weight.abs());
                    }
                    if !squares.is_finite() {
                        return f32::NAN;
                    }
                    norm = norm.max(squares.sqrt() as f32);
                    start = end;
                }
                (WEIGHTS_NORM / norm.max(MIN_NORM)).min(MAX_WEIGHT / greatest.max(MIN_NORM))
            })
            .collect();
        let mut elements = Vec::with_capacity(scales.len() * row_integers);
        for block in blocks {
            let first = block.first_output;
            let block_scales = &scales[first..first + block.vectors * S::LANES];
            for pair in 0..row_integers / 2 {
                for (index, scale) in block_scales.iter().enumerate() {
                    for place in [2 * pair, 2 * pair + 1] {
                        let scaled = exact(first + index, place) * scale;
                        elements.push((scaled + ROUNDING - ROUNDING) as i16);
                    }
                }
            }
        }
        let factors: Vec<f32> = scales.iter().map(|scale| scale.recip()).collect();
        let row_unit = if S::REGISTERS < 32 {
            SMALL_ROW_UNIT
        } else {
            ROW_UNIT
        };
        let panel_rows = PANEL_BYTES / (row_integers * size_of::<i16>()) / row_unit * row_unit;
        Self {
            elements: AlignedArray::from_slice(&elements),
            factors: AlignedArray::from_slice(&factors),
            groups,
            panel_rows: panel_rows.max(row_unit),
        }
    }

    #[inline(always)]
    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Returns the weights of a block.
    pub(super) fn block_elements(&self, block: &Block) -> *const i16 {
        let offset = block.first_output * self.groups.row_integers();
        self.elements.as_ptr().wrapping_add(offset)
    }

    /// Returns the factors of a block.
    pub(super) fn block_factors(&self, block: &Block) -> *const f32 {
        self.factors.as_ptr().wrapping_add(block.first_output)
    }

    /// Rows that are scaled and multiplied at a time.
    pub(super) fn panel_rows(&self) -> usize {
        self.panel_rows
    }

    /// Takes memory for the rows that are scaled at a time.
    pub(super) fn take_rows(&self, scratch: &mut Scratch) -> IntegerRows {
        let rows = self.panel_rows;
        let bytes = self.groups.row_integers() * size_of::<i16>();
        let factors = self.groups.count();
        let memory = scratch.take_rows(rows * (bytes + factors * size_of::<f32>()));
        IntegerRows {
            start: memory.cast(),
            row_integers: self.groups.row_integers(),
            // A multiple of the alignment of f32.
            factors: memory.wrapping_add(rows * bytes).cast(),
            groups: factors,
        }
    }

    /// The size in bytes.
    pub(super) fn size(&self) -> usize {
        self.elements.size() + self.factors.size()
    }
}

/// Scaled rows, and for each group of a row the factor by which its sums are multiplied.
#[derive(Clone, Copy)]
pub(super) struct IntegerRows {
    start: *mut i16,
    row_integers: usize,
    factors: *mut f32,
    /// Groups per row.
    groups: usize,
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
        self.start = self.start.wrapping_add(rows * self.row_integers);
        self.factors = self.factors.wrapping_add(rows * self.groups);
    }

    /// # Safety
    ///
    /// The row was scaled.
    #[inline(always)]
    pub(super) unsafe fn factor(&self, row: usize, group: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { self.factors.add(row * self.groups + group).read() }
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
        let groups = self.weights.groups;
        let (mut to, mut factors) = (self.to.start, self.to.factors);
        for _ in 0..self.count {
            let [offset] = pixel.offsets::<1>(self.extent, self.strides);
            pixel.advance(1, self.extent);
            for segment in 0..groups.segments() {
                let segment_start = offset + segment * self.segments.step;
                for group in 0..groups.per_segment() {
                    let (place, integers) = groups.group_in_segment(group);
                    // SAFETY: the segments are readable up to a multiple of `INTEGER_UNIT`, the memory of the rows has
                    // room for all groups.
                    unsafe {
                        let from = self.input.add(segment_start + place);
                        factors.write(scale_group::<S>(from, integers, to));
                        to = to.add(integers);
                        factors = factors.add(1);
                    }
                }
            }
        }
    }
}

/// Scales a group of a row and returns the factor by which its sums are multiplied: NaN if an input is not finite.
///
/// # Safety
///
/// `integers` elements are readable, and as many integers writable.
#[inline(always)]
unsafe fn scale_group<S: Simd>(from: *const S::Element, integers: usize, to: *mut i16) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let mut squares = [S::zero(); 2];
        let mut at = 0;
        while at + 2 * S::LANES <= integers {
            for (part, sum) in squares.iter_mut().enumerate() {
                let x = S::load_elements(from.add(at + part * S::LANES));
                *sum = S::mul_add(x, x, *sum);
            }
            at += 2 * S::LANES;
        }
        if at < integers {
            let x = S::load_elements(from.add(at));
            squares[0] = S::mul_add(x, x, squares[0]);
        }
        let norm = S::sum_lanes(S::add(squares[0], squares[1])).sqrt();
        // NaN stays NaN.
        let norm = if norm < MIN_NORM { MIN_NORM } else { norm };
        let scale = S::splat(ROW_NORM / norm);
        at = 0;
        while at < integers {
            S::store_integers(to.add(at), from.add(at), scale);
            at += INTEGER_UNIT;
        }
        if norm < f32::INFINITY {
            norm * const { 1.0 / ROW_NORM }
        } else {
            f32::NAN
        }
    }
}
