//! The product of rows in memory with packed weights, with bias, residual and activation.

use std::ops::Range;

use super::integers::{IntegerRows, IntegerWeights, ScaleRows};
use super::pack::PackedWeights;
use super::shape::{Block, Extent, OutputForm, Pixel, Segments, Strides};
use super::tile::{accumulate, accumulate_integers};
use crate::activation::KernelActivation;
use crate::memory::Scratch;
use crate::simd::{Kernel, Simd};

/// The same as numbers, for constants of functions.
const NARROW: u8 = 0;
const WIDE: u8 = 1;
const PAIRED: u8 = 2;
/// The elements are f32, the inputs are scaled rows.
const SCALED: u8 = 3;

/// A product. Row `r` of the output belongs to pixel `r` of the images.
pub(crate) struct Product<'a, S: Simd> {
    pub(crate) weights: &'a PackedWeights<S>,
    pub(crate) extent: Extent,
    /// The inputs of the first pixel of the first image.
    pub(crate) input: *const S::Element,
    pub(crate) input_strides: Strides,
    pub(crate) segments: Segments,
    /// The outputs of the first pixel of the first image.
    pub(crate) output: *mut u8,
    pub(crate) output_strides: Strides,
    pub(crate) form: OutputForm,
    /// Numbers of the same type as the outputs that are added before the activation. May be null.
    pub(crate) residual: *const u8,
    pub(crate) residual_strides: Strides,
    pub(crate) activation: KernelActivation,
}

impl<S: Simd> Product<'_, S> {
    /// Computes rows for some blocks of output channels.
    ///
    /// # Safety
    ///
    /// The processor supports the set. The pointers are valid for all pixels of the rows: inputs for all segments,
    /// outputs and residual for the padded output channels. Nothing else uses the outputs meanwhile.
    pub(crate) unsafe fn run(
        &self,
        rows: Range<usize>,
        blocks: Range<usize>,
        scratch: &mut Scratch,
    ) {
        let product = self.join_lines();
        let blocks = &self.weights.blocks()[blocks];
        // SAFETY: the caller's promise.
        unsafe {
            if S::MULTIPLIES_INTEGERS
                && let Some(weights) = self.weights.integers()
            {
                return product.run_integers(weights, rows, blocks, scratch);
            }
            for block in blocks {
                match self.form {
                    OutputForm::Wide if S::STEP > 1 => {
                        product.run_block::<WIDE>(rows.clone(), block, None);
                    }
                    OutputForm::Paired if S::STEP > 1 => {
                        product.run_block::<PAIRED>(rows.clone(), block, None);
                    }
                    // If elements are f32, both forms are the same.
                    _ => product.run_block::<NARROW>(rows.clone(), block, None),
                }
            }
        }
    }

    /// Computes rows with weights that are integers. See [`Self::run`].
    unsafe fn run_integers(
        &self,
        weights: &IntegerWeights,
        rows: Range<usize>,
        blocks: &[Block],
        scratch: &mut Scratch,
    ) {
        let to = weights.take_rows(scratch);
        let mut first = rows.start;
        while first < rows.end {
            let count = weights.panel_rows().min(rows.end - first);
            // SAFETY: the scratch memory has room for the rows; the rest is the caller's promise.
            unsafe {
                S::enter(ScaleRows {
                    weights,
                    input: self.input,
                    strides: self.input_strides,
                    extent: self.extent,
                    segments: self.segments,
                    first,
                    count,
                    to,
                });
                for block in blocks {
                    self.run_block::<SCALED>(first..first + count, block, Some(to));
                }
            }
            first += count;
        }
    }

    /// Treats lines and images that follow each other without a gap as one long line, which needs less arithmetic.
    fn join_lines(&self) -> Self {
        let Extent { height, width } = self.extent;
        let all = [
            self.input_strides,
            self.output_strides,
            self.residual_strides,
        ];
        let all = &all[..if self.residual.is_null() { 2 } else { 3 }];
        let mut extent = self.extent;
        if all
            .iter()
            .all(|strides| strides.line == width * strides.pixel)
        {
            extent = Extent {
                height: 1,
                width: width * height,
            };
            if all
                .iter()
                .all(|strides| strides.image == extent.width * strides.pixel)
            {
                extent.width = usize::MAX / 2;
            }
        }
        Self { extent, ..*self }
    }

    /// See [`Self::run`].
    unsafe fn run_block<const FORM: u8>(
        &self,
        rows: Range<usize>,
        block: &Block,
        integers: Option<IntegerRows>,
    ) {
        let panel = (rows, block, integers);
        // SAFETY: the caller's promise.
        unsafe {
            if S::REGISTERS < 32 {
                match block.vectors {
                    2 => self.enter::<6, 2, FORM>(panel),
                    _ => self.enter::<6, 1, FORM>(panel),
                }
                return;
            }
            match block.vectors {
                4 => self.enter::<6, 4, FORM>(panel),
                3 => self.enter::<8, 3, FORM>(panel),
                2 => self.enter::<12, 2, FORM>(panel),
                _ => self.enter::<12, 1, FORM>(panel),
            }
        }
    }

    /// See [`Self::run`].
    unsafe fn enter<const ROWS: usize, const VECTORS: usize, const FORM: u8>(
        &self,
        (rows, block, integers): (Range<usize>, &Block, Option<IntegerRows>),
    ) {
        debug_assert_eq!(block.vectors, VECTORS);
        // SAFETY: the caller's promise.
        unsafe {
            S::enter(Panel::<S, ROWS, VECTORS, FORM> {
                product: self,
                rows,
                block,
                integers,
            });
        }
    }

    /// See [`Self::run`].
    #[inline(always)]
    unsafe fn run_tile<const ROWS: usize, const VECTORS: usize, const FORM: u8>(
        &self,
        pixel: &mut Pixel,
        block: &Block,
        integers: &mut Option<IntegerRows>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let bias = self.weights.block_bias(block);
            let mut sums = if FORM == SCALED {
                let (Some(rows), Some(weights)) = (integers, self.weights.integers()) else {
                    unreachable!("the form needs integers");
                };
                accumulate_integers::<S, ROWS, VECTORS>(rows, weights, block, bias)
            } else {
                let offsets = pixel.offsets::<ROWS>(self.extent, self.input_strides);
                let mut rows = [self.input; ROWS];
                for (row, offset) in rows.iter_mut().zip(offsets) {
                    *row = self.input.add(offset);
                }
                let weights = self.weights.block_elements(block);
                accumulate::<S, ROWS, VECTORS>(rows, self.segments, weights, bias)
            };
            if !self.residual.is_null() {
                let residual = Cells::<S, FORM>::new(self.residual.cast_mut());
                let offsets = pixel.offsets::<ROWS>(self.extent, self.residual_strides);
                for (sums, offset) in sums.iter_mut().zip(offsets) {
                    let mut at = offset + block.first_output;
                    for sum in sums {
                        *sum = S::add(*sum, residual.load(at));
                        at += S::LANES;
                    }
                }
            }
            self.activation
                .apply_compactly::<S, ROWS, VECTORS>(&mut sums);
            let output = Cells::<S, FORM>::new(self.output);
            let offsets = pixel.offsets::<ROWS>(self.extent, self.output_strides);
            if FORM == PAIRED {
                let mut row = 0;
                while row < ROWS {
                    let mut at = offsets[row] + 2 * block.first_output;
                    for (vector, first) in sums[row].iter().enumerate() {
                        // A line with an odd number of pixels ends with half a pair.
                        let is_whole = row + 1 < ROWS;
                        let second = if is_whole {
                            sums[row + 1][vector]
                        } else {
                            S::zero()
                        };
                        S::store_pairs(self.output.cast::<S::Element>().add(at), *first, second);
                        at += 2 * S::LANES;
                    }
                    row += 2;
                }
            } else {
                for (sums, offset) in sums.iter().zip(offsets) {
                    let mut at = offset + block.first_output;
                    for sum in sums {
                        output.store(at, *sum);
                        at += S::LANES;
                    }
                }
            }
        }
        pixel.advance(ROWS, self.extent);
    }
}

/// All rows for one block of output channels.
struct Panel<'a, S: Simd, const ROWS: usize, const VECTORS: usize, const FORM: u8> {
    product: &'a Product<'a, S>,
    rows: Range<usize>,
    block: &'a Block,
    integers: Option<IntegerRows>,
}

impl<S: Simd, const ROWS: usize, const VECTORS: usize, const FORM: u8> Kernel<S>
    for Panel<'_, S, ROWS, VECTORS, FORM>
{
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        let product = self.product;
        let mut pixel = Pixel::new(self.rows.start, product.extent);
        let mut left = self.rows.len();
        let mut integers = self.integers;
        // SAFETY: the caller's promise.
        unsafe {
            while left >= ROWS {
                product.run_tile::<ROWS, VECTORS, FORM>(&mut pixel, self.block, &mut integers);
                left -= ROWS;
            }
            while left >= 4 {
                product.run_tile::<4, VECTORS, FORM>(&mut pixel, self.block, &mut integers);
                left -= 4;
            }
            if left >= 2 {
                product.run_tile::<2, VECTORS, FORM>(&mut pixel, self.block, &mut integers);
                left -= 2;
            }
            if left > 0 {
                product.run_tile::<1, VECTORS, FORM>(&mut pixel, self.block, &mut integers);
            }
        }
    }
}

/// Numbers in memory: f32 or elements.
#[derive(Clone, Copy)]
struct Cells<S: Simd, const FORM: u8> {
    start: *mut u8,
    set: std::marker::PhantomData<S>,
}

impl<S: Simd, const FORM: u8> Cells<S, FORM> {
    #[inline(always)]
    fn new(start: *mut u8) -> Self {
        Self {
            start,
            set: std::marker::PhantomData,
        }
    }

    /// # Safety
    ///
    /// `LANES` numbers after `offset` are readable.
    #[inline(always)]
    unsafe fn load(self, offset: usize) -> S::F32 {
        // SAFETY: the caller's promise.
        unsafe {
            if FORM == WIDE {
                S::load(self.start.cast::<f32>().add(offset))
            } else {
                S::load_elements(self.start.cast::<S::Element>().add(offset))
            }
        }
    }

    /// # Safety
    ///
    /// `LANES` numbers after `offset` are writable.
    #[inline(always)]
    unsafe fn store(self, offset: usize, value: S::F32) {
        // SAFETY: the caller's promise.
        unsafe {
            if FORM == WIDE {
                S::store(self.start.cast::<f32>().add(offset), value);
            } else {
                S::store_elements(self.start.cast::<S::Element>().add(offset), value);
            }
        }
    }
}
