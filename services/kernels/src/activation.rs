//! Activation functions on vectors, and the exponential that attention uses.
//!
//! All functions keep NaN, so that a check of the final vectors detects it.

use crate::simd::{Kernel, Simd};

/// The function that a convolution or a linear layer applies to its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KernelActivation {
    /// `x`.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x Φ(x)`, where `Φ` is the distribution function of the normal distribution.
    Gelu,
    /// The approximation of [`Self::Gelu`] by a hyperbolic tangent: `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
    GeluTanh,
    /// `x σ(1.702 x)`.
    QuickGelu,
}

impl KernelActivation {
    /// All functions.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::Relu,
        Self::Relu6,
        Self::Gelu,
        Self::GeluTanh,
        Self::QuickGelu,
    ];

    /// Returns the least and the greatest result of a function that only clamps.
    pub(crate) fn clamp_limits(self) -> Option<(f32, f32)> {
        match self {
            Self::None => Some((f32::NEG_INFINITY, f32::INFINITY)),
            Self::Relu => Some((0.0, f32::INFINITY)),
            Self::Relu6 => Some((0.0, 6.0)),
            Self::Gelu | Self::GeluTanh | Self::QuickGelu => None,
        }
    }

    /// Does the same as [`Self::apply`] with less code at the place of the call: clamps are inlined, the other
    /// functions are called.
    #[inline(always)]
    pub(crate) fn apply_compactly<S: Simd, const ROWS: usize, const VECTORS: usize>(
        self,
        vectors: &mut [[S::F32; VECTORS]; ROWS],
    ) {
        if self == Self::None {
            return;
        }
        if let Some((lower, upper)) = self.clamp_limits() {
            let (lower, upper) = (S::splat(lower), S::splat(upper));
            for row in vectors {
                for x in row {
                    // In this order NaN stays NaN.
                    *x = S::min(upper, S::max(lower, *x));
                }
            }
        } else {
            // A reference to `vectors` would keep them in memory, also while the caller computes them.
            let mut copies = *vectors;
            let vectors_in_memory = copies.as_flattened_mut();
            // SAFETY: this code runs inside `Simd::enter`.
            unsafe {
                S::enter(ApplyToAll::<S> {
                    activation: self,
                    vectors: vectors_in_memory,
                });
            }
            *vectors = copies;
        }
    }

    /// Applies the function to each vector. It selects the function once, so callers pass as many
    /// vectors at a time as they have.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, vectors: &mut [S::F32]) {
        match self {
            Self::None => {}
            Self::Relu => {
                for x in vectors {
                    *x = keep_above::<S>(0.0, *x);
                }
            }
            Self::Relu6 => {
                for x in vectors {
                    *x = keep_below::<S>(6.0, keep_above::<S>(0.0, *x));
                }
            }
            Self::Gelu => {
                for x in vectors {
                    *x = gelu::<S>(*x);
                }
            }
            Self::GeluTanh => {
                for x in vectors {
                    *x = gelu_tanh::<S>(*x);
                }
            }
            Self::QuickGelu => {
                for x in vectors {
                    *x = quick_gelu::<S>(*x);
                }
            }
        }
    }
}

/// Applies a function in a function of its own.
struct ApplyToAll<'a, S: Simd> {
    activation: KernelActivation,
    vectors: &'a mut [S::F32],
}

impl<S: Simd> Kernel<S> for ApplyToAll<'_, S> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        self.activation.apply::<S>(self.vectors);
    }
}

/// Returns `max(limit, x)`, or NaN where `x` is NaN.
#[inline(always)]
fn keep_above<S: Simd>(limit: f32, x: S::F32) -> S::F32 {
    S::max(S::splat(limit), x)
}

/// Returns `min(limit, x)`, or NaN where `x` is NaN.
#[inline(always)]
fn keep_below<S: Simd>(limit: f32, x: S::F32) -> S::F32 {
    S::min(S::splat(limit), x)
}

/// Whether the results are rounded to the 8 bits of bfloat16. Shorter polynomials are accurate enough then.
const fn is_rounded<S: Simd>() -> bool {
    S::STEP > 1
}

#[inline(always)]
fn gelu<S: Simd>(x: S::F32) -> S::F32 {
    if is_rounded::<S>() {
        // erf(x / √2) between -3.8 and 3.8, with an error below 1.3e-4 (Remez).
        const POLYNOMIAL: [f32; 7] = [
            7.331_541e-8,
            -4.544_917_4e-6,
            1.213_694_9e-4,
            -1.863_094_3e-3,
            1.863_326_7e-2,
            -1.314_395_7e-1,
            7.973_535e-1,
        ];
        return scale_by_odd_polynomial::<S>(x, 3.8, &POLYNOMIAL);
    }
    let half = S::mul(x, S::splat(0.5));
    let erf = erf::<S>(S::mul(x, S::splat(std::f32::consts::FRAC_1_SQRT_2)));
    S::mul_add(half, erf, half)
}

#[inline(always)]
fn gelu_tanh<S: Simd>(x: S::F32) -> S::F32 {
    /// √(2/π).
    const ROOT_2_PI: f32 = 0.797_884_6;
    const CUBIC: f32 = ROOT_2_PI * 0.044_715;
    if is_rounded::<S>() {
        // The hyperbolic tangent in the formula, as a function of x between -3.7 and 3.7, with an error
        // below 1.2e-4 (Remez).
        const POLYNOMIAL: [f32; 7] = [
            9.094_589e-8,
            -5.336_230_5e-6,
            1.351_852_6e-4,
            -1.980_067_7e-3,
            1.910_984e-2,
            -1.321_688_4e-1,
            7.973_981_5e-1,
        ];
        return scale_by_odd_polynomial::<S>(x, 3.7, &POLYNOMIAL);
    }
    let half = S::mul(x, S::splat(0.5));
    let factor = S::mul_add(S::mul(x, x), S::splat(CUBIC), S::splat(ROOT_2_PI));
    S::mul_add(half, tanh::<S>(S::mul(x, factor)), half)
}

/// `x/2 (1 + y P(y²))`, where `y` is `x` clamped to `limit`.
#[inline(always)]
fn scale_by_odd_polynomial<S: Simd>(x: S::F32, limit: f32, polynomial: &[f32]) -> S::F32 {
    let half = S::mul(x, S::splat(0.5));
    let y = keep_below::<S>(limit, keep_above::<S>(-limit, x));
    let even = evaluate_polynomial::<S>(polynomial, S::mul(y, y));
    S::mul_add(half, S::mul(y, even), half)
}

#[inline(always)]
fn quick_gelu<S: Simd>(x: S::F32) -> S::F32 {
    // σ(y) is (1 + tanh(y / 2)) / 2.
    let half = S::mul(x, S::splat(0.5));
    S::mul_add(half, tanh::<S>(S::mul(x, S::splat(0.851))), half)
}

/// The error function as a quotient of polynomials, accurate to a few units in the last place. The
/// coefficients are those of Eigen's `erf`.
#[inline(always)]
fn erf<S: Simd>(x: S::F32) -> S::F32 {
    const NUMERATOR: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_3e-5,
        -7.349_906_5e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const DENOMINATOR: [f32; 5] = [
        -1.456_607_2e-5,
        -2.133_740_6e-4,
        -1.682_827e-3,
        -7.373_329e-3,
        -1.426_473_9e-2,
    ];
    let x = keep_below::<S>(4.0, keep_above::<S>(-4.0, x));
    evaluate_odd_quotient::<S>(&NUMERATOR, &DENOMINATOR, x)
}

/// The hyperbolic tangent as a quotient of polynomials, accurate to a few units in the last place. The
/// coefficients are those of Eigen's `tanh`.
#[inline(always)]
fn tanh<S: Simd>(x: S::F32) -> S::F32 {
    const LIMIT: f32 = 7.998_811_7;
    const NUMERATOR: [f32; 7] = [
        -2.760_768_5e-16,
        2.000_188e-13,
        -8.604_672e-11,
        5.122_297e-8,
        1.485_722_4e-5,
        6.372_619_3e-4,
        4.893_524_6e-3,
    ];
    const DENOMINATOR: [f32; 4] = [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];
    let x = keep_below::<S>(LIMIT, keep_above::<S>(-LIMIT, x));
    evaluate_odd_quotient::<S>(&NUMERATOR, &DENOMINATOR, x)
}

/// `x P(x²) / Q(x²)`.
#[inline(always)]
fn evaluate_odd_quotient<S: Simd>(numerator: &[f32], denominator: &[f32], x: S::F32) -> S::F32 {
    let square = S::mul(x, x);
    let above = S::mul(x, evaluate_polynomial::<S>(numerator, square));
    S::div(above, evaluate_polynomial::<S>(denominator, square))
}

/// Evaluates a polynomial with Horner's rule, highest power first.
#[inline(always)]
fn evaluate_polynomial<S: Simd>(coefficients: &[f32], x: S::F32) -> S::F32 {
    // No closure: one would be compiled without the instruction set of the caller.
    let mut sum = S::splat(coefficients[0]);
    for coefficient in &coefficients[1..] {
        sum = S::mul_add(sum, x, S::splat(*coefficient));
    }
    sum
}

/// `2^x` for `x <= 0`, accurate to two units in the last place, or to 8e-5 if the results are rounded to
/// bfloat16. Below `2^-125` it returns `2^-125`.
#[inline(always)]
pub(crate) fn exp2_of_negative<S: Simd>(x: S::F32) -> S::F32 {
    /// The coefficients of `exp2f` in the Cephes library.
    const POLYNOMIAL: [f32; 7] = [
        1.535_336_2e-4,
        1.339_887_4e-3,
        9.618_437e-3,
        5.550_332_5e-2,
        2.402_264_8e-1,
        6.931_472e-1,
        1.0,
    ];
    /// Between -0.5 and 0.5, with a relative error below 7.5e-5 (Remez).
    const SHORT_POLYNOMIAL: [f32; 4] = [5.517_167e-2, 2.426_111_4e-1, 6.932_61e-1, 9.999_28e-1];
    let x = keep_above::<S>(-125.0, x);
    let whole = S::round(x);
    let fraction = S::sub(x, whole);
    let power = if is_rounded::<S>() {
        evaluate_polynomial::<S>(&SHORT_POLYNOMIAL, fraction)
    } else {
        evaluate_polynomial::<S>(&POLYNOMIAL, fraction)
    };
    S::scale_by_power_of_two(power, whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        InstructionSet,
        simd::{self, Kernel, SimdVisitor},
    };

    struct ApplyActivation<'a> {
        activation: KernelActivation,
        numbers: &'a mut [f32],
    }

    impl<S: Simd> Kernel<S> for ApplyActivation<'_> {
        type Output = ();

        #[inline(always)]
        unsafe fn run(self) {
            for numbers in self.numbers.chunks_mut(S::LANES) {
                // SAFETY: the chunk has `numbers.len()` numbers.
                unsafe {
                    let mut vectors = [S::load_partial(numbers.as_ptr(), numbers.len())];
                    self.activation.apply::<S>(&mut vectors);
                    S::store_partial(numbers.as_mut_ptr(), vectors[0], numbers.len());
                }
            }
        }
    }

    struct ComputeExp2<'a>(&'a mut [f32]);

    impl<S: Simd> Kernel<S> for ComputeExp2<'_> {
        type Output = ();

        #[inline(always)]
        unsafe fn run(self) {
            for numbers in self.0.chunks_mut(S::LANES) {
                // SAFETY: the chunk has `numbers.len()` numbers.
                unsafe {
                    let vector = S::load_partial(numbers.as_ptr(), numbers.len());
                    let power = exp2_of_negative::<S>(vector);
                    S::store_partial(numbers.as_mut_ptr(), power, numbers.len());
                }
            }
        }
    }

    impl SimdVisitor for ApplyActivation<'_> {
        type Output = ();

        fn visit<S: Simd>(self) {
            // SAFETY: `visit` checks that the processor supports the set.
            unsafe { S::enter(self) }
        }
    }

    impl SimdVisitor for ComputeExp2<'_> {
        type Output = ();

        fn visit<S: Simd>(self) {
            // SAFETY: `visit` checks that the processor supports the set.
            unsafe { S::enter(self) }
        }
    }

    fn supported_sets() -> impl Iterator<Item = InstructionSet> {
        InstructionSet::ALL
            .into_iter()
            .filter(|set| set.is_supported())
    }

    /// The error function by Simpson's rule.
    fn integrate_erf(x: f64) -> f64 {
        let steps = 200;
        let width = x / f64::from(steps);
        let density = |i: i32| (-(f64::from(i) * width).powi(2)).exp();
        let inner: f64 = (1..steps)
            .map(|i| density(i) * if i % 2 == 1 { 4.0 } else { 2.0 })
            .sum();
        (density(0) + inner + density(steps)) * width / 3.0 * std::f64::consts::FRAC_2_SQRT_PI
    }

    fn apply_naively(activation: KernelActivation, x: f64) -> f64 {
        let sigmoid = |y: f64| 1.0 / (1.0 + (-y).exp());
        match activation {
            KernelActivation::None => x,
            KernelActivation::Relu => x.max(0.0),
            KernelActivation::Relu6 => x.clamp(0.0, 6.0),
            KernelActivation::Gelu => {
                let erf = integrate_erf((x / 2f64.sqrt()).clamp(-6.0, 6.0));
                0.5 * x * (1.0 + erf)
            }
            KernelActivation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + inner.tanh())
            }
            KernelActivation::QuickGelu => x * sigmoid(1.702 * x),
        }
    }

    #[test]
    fn activations_equal_their_formulas() {
        let numbers: Vec<f32> = (-12_003..12_000).map(|i| i as f32 * 1e-3).collect();
        for activation in KernelActivation::ALL {
            let expected: Vec<f64> = numbers
                .iter()
                .map(|x| apply_naively(activation, f64::from(*x)))
                .collect();
            for set in supported_sets() {
                let mut outputs = numbers.clone();
                let numbers = &mut outputs[..];
                simd::visit(
                    set,
                    ApplyActivation {
                        activation,
                        numbers,
                    },
                );
                for (output, expected) in outputs.iter().zip(&expected) {
                    let error = (f64::from(*output) - expected).abs();
                    let tolerance = match set {
                        InstructionSet::Avx512Bf16 => 3e-4,
                        _ => 2e-6,
                    };
                    assert!(
                        error <= tolerance * expected.abs().max(1.0),
                        "{activation:?} with {set}: {output} instead of {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn nan_stays_nan() {
        for activation in KernelActivation::ALL {
            for set in supported_sets() {
                let mut numbers = [f32::NAN; 19];
                simd::visit(
                    set,
                    ApplyActivation {
                        activation,
                        numbers: &mut numbers,
                    },
                );
                assert!(
                    numbers.iter().all(|x| x.is_nan()),
                    "{activation:?} with {set}"
                );
            }
        }
    }

    #[test]
    fn powers_of_two_are_accurate() {
        let exponents: Vec<f32> = (0..50_000).map(|i| i as f32 * -2.9e-3).collect();
        for set in supported_sets() {
            let mut powers = exponents.clone();
            simd::visit(set, ComputeExp2(&mut powers));
            for (power, exponent) in powers.iter().zip(&exponents) {
                let expected = f64::from(exponent.max(-125.0)).exp2();
                let error = (f64::from(*power) - expected).abs() / expected;
                let tolerance = match set {
                    InstructionSet::Avx512Bf16 => 8e-5,
                    _ => 2e-7,
                };
                assert!(error < tolerance, "2^{exponent} with {set}: {power}");
            }
            let mut special = [f32::NAN, f32::NEG_INFINITY, f32::MIN];
            simd::visit(set, ComputeExp2(&mut special));
            assert!(special[0].is_nan() && special[1] < 1e-37 && special[2] < 1e-37);
        }
    }
}
