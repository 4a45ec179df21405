//! Activation functions, where burn's own are slow on a CPU.
//!
//! burn's CPU backend computes `erf` and `clamp` number by number, in several passes over memory. Here
//! they are one pass of plain arithmetic that the compiler vectorises with the widest instructions of
//! the CPU, in place. On other devices, burn's operations run.

use burn::tensor::{Device, Tensor, activation};
use rayon::prelude::*;

use crate::model::towers::Activation;

/// Numbers per task of a thread: enough to be worth waking the thread.
const CHUNK_LENGTH: usize = 32 * 1024;

impl Activation {
    pub(in crate::network) fn apply_to_tensor<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        let device = input.device();
        if device != Device::flex() {
            return self.apply_on_any_device(input);
        }
        let mut data = input.into_data();
        self.apply_in_place(
            data.as_mut_slice::<f32>()
                .expect("all networks compute in single precision"),
        );
        Tensor::from_data(data, &device)
    }

    fn apply_on_any_device<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Relu6 => input.clamp(0.0, 6.0),
            Self::Gelu => activation::gelu(input),
            Self::GeluTanh => {
                let cube = input.clone() * input.clone() * input.clone();
                let inner = (input.clone() + cube * CUBIC) * ROOT_2_PI;
                input * (inner.tanh() + 1.0) * 0.5
            }
            Self::QuickGelu => input.clone() * activation::sigmoid(input * 1.702),
        }
    }

    fn apply_in_place(self, numbers: &mut [f32]) {
        let run: fn(&mut [f32]) = match self {
            Self::Relu6 => |chunk| apply_with_simd(chunk, relu6),
            Self::Gelu => |chunk| apply_with_simd(chunk, gelu),
            Self::GeluTanh => |chunk| apply_with_simd(chunk, gelu_tanh),
            Self::QuickGelu => |chunk| apply_with_simd(chunk, quick_gelu),
        };
        numbers.par_chunks_mut(CHUNK_LENGTH).for_each(run);
    }
}

/// √(2/π) and the factor of the cube in [`Activation::GeluTanh`].
const ROOT_2_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

#[inline(always)]
fn relu6(x: f32) -> f32 {
    // Unlike `max` and `min`, `clamp` keeps NaN, which the check of the vectors then detects.
    x.clamp(0.0, 6.0)
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    0.5 * x * (1.0 + tanh(ROOT_2_PI * (x + CUBIC * x * x * x)))
}

#[inline(always)]
fn quick_gelu(x: f32) -> f32 {
    // σ(y) is (1 + tanh(y / 2)) / 2.
    0.5 * x * (1.0 + tanh(0.851 * x))
}

/// The error function as a quotient of polynomials, accurate to a few units in the last place.
#[inline(always)]
fn erf(x: f32) -> f32 {
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
    let x = x.clamp(-4.0, 4.0);
    x * evaluate_polynomial(&NUMERATOR, x * x) / evaluate_polynomial(&DENOMINATOR, x * x)
}

/// The hyperbolic tangent as a quotient of polynomials, accurate to a few units in the last place.
#[inline(always)]
fn tanh(x: f32) -> f32 {
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
    let x = x.clamp(-7.998_811_7, 7.998_811_7);
    x * evaluate_polynomial(&NUMERATOR, x * x) / evaluate_polynomial(&DENOMINATOR, x * x)
}

/// Evaluates a polynomial with Horner's rule, highest power first.
#[inline(always)]
fn evaluate_polynomial(coefficients: &[f32], x: f32) -> f32 {
    coefficients.iter().fold(0.0, |sum, c| sum * x + c)
}

/// Applies `f` to the numbers, compiled for the widest instructions of the CPU.
#[inline]
fn apply_with_simd(numbers: &mut [f32], f: impl Fn(f32) -> f32) {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the CPU has AVX-512F, as checked above.
            return unsafe { apply_with_avx512(numbers, f) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the CPU has AVX2, as checked above.
            return unsafe { apply_with_avx2(numbers, f) };
        }
    }
    apply_portably(numbers, f);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn apply_with_avx512(numbers: &mut [f32], f: impl Fn(f32) -> f32) {
    apply_portably(numbers, f);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn apply_with_avx2(numbers: &mut [f32], f: impl Fn(f32) -> f32) {
    apply_portably(numbers, f);
}

#[inline(always)]
fn apply_portably(numbers: &mut [f32], f: impl Fn(f32) -> f32) {
    for x in numbers {
        *x = f(*x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_functions_equal_those_of_burn() {
        let numbers: Vec<f32> = (-60_000..60_000).map(|i| i as f32 * 2e-4).collect();
        let device = Device::flex();
        for activation in [
            Activation::Relu6,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::QuickGelu,
        ] {
            let input = Tensor::<1>::from_data(numbers.as_slice(), &device);
            let fast = activation.apply_to_tensor(input.clone()).into_data();
            let slow = activation.apply_on_any_device(input.clone()).into_data();
            let worst = fast
                .as_slice::<f32>()
                .unwrap()
                .iter()
                .zip(slow.as_slice::<f32>().unwrap())
                .map(|(a, b)| (a - b).abs() / b.abs().max(1.0))
                .fold(0.0, f32::max);
            assert!(worst < 2e-6, "{activation:?}: off by {worst}");
            // A tensor with other owners is not changed.
            let kept = input.into_data();
            assert_eq!(kept.as_slice::<f32>().unwrap(), numbers);
        }
    }

    #[test]
    fn nan_stays_nan() {
        for activation in [
            Activation::Relu6,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::QuickGelu,
        ] {
            let mut numbers = [f32::NAN; 3];
            activation.apply_in_place(&mut numbers);
            assert!(numbers.iter().all(|x| x.is_nan()), "{activation:?}");
        }
    }
}
