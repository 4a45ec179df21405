//! Layer normalisation (Ba et al., 2016): each row gets the mean 0 and the variance 1, then a factor and
//! an offset per column.

use crate::{
    memory::AlignedArray,
    simd::{Kernel, Simd},
    step::pad_channels,
};

/// The parameters of a layer normalisation.
pub(crate) struct LayerNormWeights {
    /// The factor of each column, 0 in the columns that pad a row.
    gamma: AlignedArray<f32>,
    /// The offset of each column, 0 in the columns that pad a row.
    beta: AlignedArray<f32>,
    width: usize,
    /// Added to the variance.
    epsilon: f32,
}

impl LayerNormWeights {
    /// # Panics
    ///
    /// If the lengths differ or are 0.
    pub(crate) fn new(gamma: &[f32], beta: &[f32], epsilon: f32) -> Self {
        assert!(
            !gamma.is_empty() && gamma.len() == beta.len(),
            "a layer norm needs one factor and one offset per column"
        );
        let pad = |numbers: &[f32]| {
            let mut padded = numbers.to_vec();
            padded.resize(pad_channels(numbers.len()), 0.0);
            AlignedArray::from_slice(&padded)
        };
        Self {
            gamma: pad(gamma),
            beta: pad(beta),
            width: gamma.len(),
            epsilon,
        }
    }

    /// The size of the parameters in bytes.
    pub(crate) fn size(&self) -> usize {
        self.gamma.size() + self.beta.size()
    }

    /// The numbers from one row to the next.
    fn pitch(&self) -> usize {
        pad_channels(self.width)
    }

    /// Returns the mean, and the inverse of the standard deviation.
    ///
    /// Squares of the distances to the mean are summed in a second pass over the row, which is in the
    /// L1 cache then: one pass over the squares would cancel for rows with a large mean.
    #[inline(always)]
    fn measure_row<S: Simd>(&self, row: &[f32]) -> (f32, f32) {
        let count = self.width as f32;
        let whole = self.width - self.width % S::LANES;
        let pointer = row.as_ptr();
        // SAFETY: whole vectors end at `whole`, and the row is at least as long.
        unsafe {
            let mut sums = [S::zero(); 4];
            for (i, column) in (0..whole).step_by(S::LANES).enumerate() {
                sums[i % 4] = S::add(sums[i % 4], S::load(pointer.add(column)));
            }
            let total = S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
            let mut total = S::sum_lanes(total);
            for number in &row[whole..self.width] {
                total += number;
            }
            let mean = total / count;
            let center = S::splat(mean);
            let mut sums = [S::zero(); 4];
            for (i, column) in (0..whole).step_by(S::LANES).enumerate() {
                let distance = S::sub(S::load(pointer.add(column)), center);
                sums[i % 4] = S::mul_add(distance, distance, sums[i % 4]);
            }
            let total = S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
            let mut squares = S::sum_lanes(total);
            for number in &row[whole..self.width] {
                squares += (number - mean) * (number - mean);
            }
            (mean, 1.0 / (squares / count + self.epsilon).sqrt())
        }
    }
}

/// Normalises rows of the norm's width, padded to a multiple of 16. The output has the same shape.
///
/// # Safety
///
/// `input` and `output` are valid for `rows` rows. They are the same memory, or do not overlap.
pub(crate) struct NormalizeRows<'a, E> {
    pub(crate) norm: &'a LayerNormWeights,
    pub(crate) rows: usize,
    pub(crate) input: *const f32,
    pub(crate) output: NormalizedRows<E>,
}

pub(crate) enum NormalizedRows<E> {
    /// For a matrix product.
    Elements(*mut E),
    /// For the residual stream, or as a result.
    F32(*mut f32),
}

impl<S: Simd> Kernel<S> for NormalizeRows<'_, S::Element> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.output {
                NormalizedRows::Elements(output) => {
                    self.normalize_rows::<S, false>(output.cast(), size_of::<S::Element>());
                }
                NormalizedRows::F32(output) => {
                    self.normalize_rows::<S, true>(output.cast(), size_of::<f32>());
                }
            }
        }
    }
}

impl<E> NormalizeRows<'_, E> {
    /// # Safety
    ///
    /// As [`NormalizeRows`]. `output` has numbers of `size` bytes: `f32` if `AS_F32`, elements of `S`
    /// otherwise.
    #[inline(always)]
    unsafe fn normalize_rows<S: Simd, const AS_F32: bool>(&self, output: *mut u8, size: usize) {
        let norm = self.norm;
        let pitch = norm.pitch();
        for row in 0..self.rows {
            // SAFETY: there are `rows` rows with `pitch` numbers, as in `gamma` and `beta`.
            unsafe {
                let numbers = self.input.add(row * pitch);
                let output = output.add(row * pitch * size);
                let (mean, scale) =
                    norm.measure_row::<S>(std::slice::from_raw_parts(numbers, pitch));
                let (mean, scale) = (S::splat(mean), S::splat(scale));
                for column in (0..pitch).step_by(S::LANES) {
                    let distance = S::sub(S::load(numbers.add(column)), mean);
                    let gamma = S::load(norm.gamma.as_ptr().add(column));
                    let beta = S::load(norm.beta.as_ptr().add(column));
                    let normed = S::mul_add(S::mul(distance, scale), gamma, beta);
                    if AS_F32 {
                        S::store(output.cast::<f32>().add(column), normed);
                    } else {
                        S::store_elements(output.cast::<S::Element>().add(column), normed);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        InstructionSet,
        random::TestNumbers,
        simd::{self, Element, SimdVisitor},
    };

    struct CheckLayerNorm {
        rows: usize,
        width: usize,
        /// Added to each number of the input.
        offset: f32,
        tolerance: f64,
    }

    impl SimdVisitor for CheckLayerNorm {
        type Output = ();

        fn visit<S: Simd>(self) {
            let (rows, width) = (self.rows, self.width);
            let pitch = pad_channels(width);
            let mut random = TestNumbers::new((rows * width) as u64);
            let mut input = vec![0.0; rows * pitch];
            for row in input.chunks_exact_mut(pitch) {
                row[..width].fill_with(|| random.next_normal() * 3.0 + self.offset);
            }
            let (gamma, beta) = (random.normals(width), random.normals(width));
            let norm = LayerNormWeights::new(&gamma, &beta, 1e-5);
            let mut elements = vec![S::Element::from_f32(-7.0); rows * pitch];
            let mut singles = vec![-7.0; rows * pitch];
            for output in [
                NormalizedRows::Elements(elements.as_mut_ptr()),
                NormalizedRows::F32(singles.as_mut_ptr()),
            ] {
                // SAFETY: `visit` checks that the processor supports the set. The slices have the same
                // length.
                unsafe {
                    S::enter(NormalizeRows {
                        norm: &norm,
                        rows,
                        input: input.as_ptr(),
                        output,
                    });
                }
            }
            let expected = input
                .chunks_exact(pitch)
                .flat_map(|row| normalize_naively(&row[..width], &gamma, &beta, pitch));
            for (i, expected) in expected.enumerate() {
                let limit = expected.abs().max(1.0);
                let error = (f64::from(singles[i]) - expected).abs();
                assert!(error <= self.tolerance * limit, "{} {expected}", singles[i]);
                assert_eq!(
                    elements[i].to_f32(),
                    S::Element::from_f32(singles[i]).to_f32()
                );
            }
        }
    }

    fn normalize_naively(row: &[f32], gamma: &[f32], beta: &[f32], pitch: usize) -> Vec<f64> {
        let numbers: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
        let count = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / count;
        let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
        let deviation = (squares / count + 1e-5).sqrt();
        let parameters = gamma.iter().zip(beta);
        let normed = numbers.iter().zip(parameters).map(|(x, (gamma, beta))| {
            (x - mean) / deviation * f64::from(*gamma) + f64::from(*beta)
        });
        let padding = std::iter::repeat(0.0);
        normed.chain(padding).take(pitch).collect()
    }

    #[test]
    fn layer_norm_equals_plain_loops() {
        let mut random = TestNumbers::new(3);
        let mut shapes = vec![
            (197, 384, 0.5, 2e-6),
            (3, 1152, -2.0, 2e-6),
            (5, 72, 0.0, 2e-6),
            (4, 37, 0.0, 2e-6),
            (2, 1, 0.0, 2e-6),
            // The distances to the mean have 24 - 10 bits.
            (3, 130, 1000.0, 2e-4),
        ];
        shapes.extend((0..12).map(|_| {
            let (rows, width) = (1 + random.below(9), 3 + random.below(300));
            (rows, width, random.next_normal(), 5e-6)
        }));
        for (rows, width, offset, tolerance) in shapes {
            for set in InstructionSet::ALL {
                if set.is_supported() {
                    let check = CheckLayerNorm {
                        rows,
                        width,
                        offset,
                        tolerance,
                    };
                    simd::visit(set, check);
                }
            }
        }
    }
}
