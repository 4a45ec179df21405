//! Layer normalisation (Ba et al., 2016): each row gets the mean 0 and the variance 1, then a factor and
//! an offset per column.

use crate::simd::{Kernel, Simd};

/// The parameters of a layer normalisation.
#[derive(Debug, Clone)]
pub(crate) struct LayerNorm {
    /// The factor of each column.
    gamma: Vec<f32>,
    /// The offset of each column.
    beta: Vec<f32>,
    /// Added to the variance.
    epsilon: f32,
}

/// Normalises the rows of `input`. The output has as many numbers.
pub(crate) struct NormalizeRows<'a, E> {
    pub(crate) norm: &'a LayerNorm,
    pub(crate) input: &'a [f32],
    pub(crate) output: NormalizedRows<'a, E>,
}

pub(crate) enum NormalizedRows<'a, E> {
    /// For a matrix product.
    Elements(&'a mut [E]),
    /// For the residual stream, or as a result.
    F32(&'a mut [f32]),
}

impl<S: Simd> Kernel<S> for NormalizeRows<'_, S::Element> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        let (norm, input) = (self.norm, self.input);
        match self.output {
            NormalizedRows::Elements(output) => {
                assert_eq!(input.len(), output.len(), "one output per input");
                // SAFETY: both slices have the same length, and `false` stands for elements.
                unsafe { norm.normalize_rows::<S, false>(input, output.as_mut_ptr().cast()) }
            }
            NormalizedRows::F32(output) => {
                assert_eq!(input.len(), output.len(), "one output per input");
                // SAFETY: both slices have the same length, and `true` stands for `f32`.
                unsafe { norm.normalize_rows::<S, true>(input, output.as_mut_ptr().cast()) }
            }
        }
    }
}

impl LayerNorm {
    /// # Panics
    ///
    /// If the lengths differ or are 0.
    pub(crate) fn new(gamma: Vec<f32>, beta: Vec<f32>, epsilon: f32) -> Self {
        assert!(
            !gamma.is_empty() && gamma.len() == beta.len(),
            "a layer norm needs one factor and one offset per column"
        );
        Self {
            gamma,
            beta,
            epsilon,
        }
    }

    /// The numbers in a row.
    pub(crate) fn width(&self) -> usize {
        self.gamma.len()
    }

    /// # Safety
    ///
    /// `output` is valid for writes of `input.len()` numbers: `f32` if `AS_F32`, elements of `S`
    /// otherwise.
    #[inline(always)]
    unsafe fn normalize_rows<S: Simd, const AS_F32: bool>(&self, input: &[f32], output: *mut u8) {
        let width = self.width();
        assert_eq!(input.len() % width, 0, "the input consists of whole rows");
        let size = if AS_F32 {
            size_of::<f32>()
        } else {
            size_of::<S::Element>()
        };
        for row in 0..input.len() / width {
            let numbers = &input[row * width..][..width];
            let (mean, scale) = self.measure_row::<S>(numbers);
            // SAFETY: the row starts `row * width` numbers into the output, which has as many rows as
            // the input.
            unsafe {
                let output = output.add(row * width * size);
                self.store_row::<S, AS_F32>(numbers, mean, scale, output);
            }
        }
    }

    /// Returns the mean, and the inverse of the standard deviation.
    ///
    /// Squares of the distances to the mean are summed in a second pass over the row, which is in the
    /// L1 cache then: one pass over the squares would cancel for rows with a large mean.
    #[inline(always)]
    fn measure_row<S: Simd>(&self, row: &[f32]) -> (f32, f32) {
        let count = row.len() as f32;
        let whole = row.len() - row.len() % S::LANES;
        let pointer = row.as_ptr();
        // SAFETY: whole vectors end at `whole`, and the rest has `row.len() - whole` numbers.
        unsafe {
            let mut sums = [S::zero(); 4];
            for (i, column) in (0..whole).step_by(S::LANES).enumerate() {
                sums[i % 4] = S::add(sums[i % 4], S::load(pointer.add(column)));
            }
            let rest = S::load_partial(pointer.add(whole), row.len() - whole);
            let total = S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
            let mean = S::sum_lanes(S::add(total, rest)) / count;
            let center = S::splat(mean);
            let mut sums = [S::zero(); 4];
            for (i, column) in (0..whole).step_by(S::LANES).enumerate() {
                let distance = S::sub(S::load(pointer.add(column)), center);
                sums[i % 4] = S::mul_add(distance, distance, sums[i % 4]);
            }
            let total = S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
            let mut squares = S::sum_lanes(total);
            for number in &row[whole..] {
                squares += (number - mean) * (number - mean);
            }
            (mean, 1.0 / (squares / count + self.epsilon).sqrt())
        }
    }

    /// # Safety
    ///
    /// `output` is valid for writes of a row of `f32` if `AS_F32`, of elements otherwise.
    #[inline(always)]
    unsafe fn store_row<S: Simd, const AS_F32: bool>(
        &self,
        row: &[f32],
        mean: f32,
        scale: f32,
        output: *mut u8,
    ) {
        let (mean, scale) = (S::splat(mean), S::splat(scale));
        for column in (0..row.len()).step_by(S::LANES) {
            let count = S::LANES.min(row.len() - column);
            // SAFETY: `count` numbers from `column` on belong to the row, and to `gamma` and `beta`,
            // which are as long.
            unsafe {
                let load = (
                    S::load_partial(row.as_ptr().add(column), count),
                    S::load_partial(self.gamma.as_ptr().add(column), count),
                    S::load_partial(self.beta.as_ptr().add(column), count),
                );
                let (numbers, gamma, beta) = load;
                let normed = S::mul_add(S::mul(S::sub(numbers, mean), scale), gamma, beta);
                if AS_F32 {
                    S::store_partial(output.cast::<f32>().add(column), normed, count);
                } else {
                    let output = output.cast::<S::Element>().add(column);
                    S::store_elements_partial(output, normed, count);
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
        random::Random,
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
            let mut random = Random::new((rows * width) as u64);
            let numbers = random.normals(rows * width);
            let input: Vec<f32> = numbers.iter().map(|x| x * 3.0 + self.offset).collect();
            let (gamma, beta) = (random.normals(width), random.normals(width));
            let norm = LayerNorm::new(gamma.clone(), beta.clone(), 1e-5);
            let mut elements = vec![S::Element::default(); rows * width];
            let mut singles = vec![0.0; rows * width];
            for output in [
                NormalizedRows::Elements(&mut elements),
                NormalizedRows::F32(&mut singles),
            ] {
                // SAFETY: `visit` checks that the processor supports the set.
                unsafe {
                    S::enter(NormalizeRows {
                        norm: &norm,
                        input: &input,
                        output,
                    });
                }
            }
            let expected = normalize_naively(&input, &gamma, &beta);
            for (i, expected) in expected.iter().enumerate() {
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

    fn normalize_naively(input: &[f32], gamma: &[f32], beta: &[f32]) -> Vec<f64> {
        let width = gamma.len();
        let rows = input.chunks_exact(width).flat_map(|row| {
            let numbers: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
            let mean = numbers.iter().sum::<f64>() / width as f64;
            let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
            let deviation = (squares / width as f64 + 1e-5).sqrt();
            let normed = numbers.into_iter().zip(gamma.iter().zip(beta));
            normed.map(move |(x, (gamma, beta))| {
                (x - mean) / deviation * f64::from(*gamma) + f64::from(*beta)
            })
        });
        rows.collect()
    }

    #[test]
    fn layer_norm_equals_plain_loops() {
        for (rows, width, offset, tolerance) in [
            (197, 384, 0.5, 2e-6),
            (3, 1152, -2.0, 2e-6),
            (5, 72, 0.0, 2e-6),
            (4, 37, 0.0, 2e-6),
            (2, 1, 0.0, 2e-6),
            // The distances to the mean have 24 - 10 bits.
            (3, 130, 1000.0, 2e-4),
        ] {
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
