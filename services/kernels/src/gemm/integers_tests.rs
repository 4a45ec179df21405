//! Products of integers compared with sums in f64.

use super::integers::MAX_GROUP;
use super::pack::PackedWeights;
use super::product::Product;
use super::shape::{Extent, OutputForm, Segments, Strides};
use crate::activation::KernelActivation;
use crate::instruction_set::InstructionSet;
use crate::memory::Scratch;
use crate::random::TestNumbers;
use crate::simd::{Simd, SimdVisitor, visit};
use crate::step::pad_channels;

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
        assert_eq!(
            outputs,
            pad_channels(outputs),
            "the product writes the padding"
        );
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

/// Compares products with sums in f64. `error` is in relation to the norms of row and weights.
fn check(name: &str, inputs: usize, rows: &[f32], weights: &[f32], error: f64) {
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
        let norm = |numbers: &[f32]| {
            let squares = numbers.iter().map(|x| f64::from(*x) * f64::from(*x));
            squares.sum::<f64>().sqrt()
        };
        for row in rows.chunks_exact(inputs) {
            for weights in weights.chunks_exact(inputs) {
                let products = row.iter().zip(weights);
                let expected: f64 = products.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let limit = error * norm(row) * norm(weights);
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
            check(
                "like rows",
                inputs,
                &numbers.repeat(7),
                &alike.repeat(96),
                1e-4,
            );
            let equal = vec![sign * 3.5; inputs];
            // Equal numbers round alike, so that their errors add up.
            check(
                "equal numbers",
                inputs,
                &equal.repeat(3),
                &equal.repeat(96),
                1e-3,
            );
            let mut single = vec![0.0; inputs];
            single[inputs - 1] = 1e9 * sign;
            check("one number", inputs, &single, &single.repeat(96), 1e-4);
        }
    }
}

#[test]
fn rows_of_zeros_stay_zero() {
    check("zeros", 32, &[0.0; 64], &[0.0; 64 * 32], 0.0);
    // The squares of these are 0 in f32, and the norms of the weights are below the least one.
    check("tiny", 32, &[1e-23; 64], &[1e-16; 64 * 32], 1.0);
}

#[test]
fn random_rows_have_small_errors() {
    for (seed, inputs) in [16, 32, 176, 384, 400, 784, 1_152].into_iter().enumerate() {
        let mut random = TestNumbers::new(seed as u64);
        let (rows, weights) = (random.normals(inputs * 13), random.normals(inputs * 96));
        check("random", inputs, &rows, &weights, 5e-5);
    }
    let mut random = TestNumbers::new(77);
    for _ in 0..12 {
        let (count, inputs) = (1 + random.below(40), 16 * (1 + random.below(60)));
        let (rows, weights) = (random.normals(inputs * count), random.normals(inputs * 96));
        check("random shape", inputs, &rows, &weights, 5e-5);
    }
}

#[test]
fn a_great_input_spoils_only_its_group() {
    let mut random = TestNumbers::new(1);
    let inputs = 2 * MAX_GROUP;
    let (mut rows, mut weights) = (random.normals(inputs), random.normals(inputs * 32));
    rows[0] = 1e4;
    for weights in weights.chunks_exact_mut(inputs) {
        weights[..MAX_GROUP].fill(0.0);
    }
    // In relation to the norm of the row, which the great input dominates.
    check("great input", inputs, &rows, &weights, 3e-7);
}

#[test]
fn numbers_that_are_not_finite_give_nan() {
    let ones = [1.0; 64];
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut row = ones;
        row[40] = bad;
        let mut weights = ones.repeat(32);
        weights[64 + 3] = bad;
        for set in InstructionSet::ALL
            .into_iter()
            .filter(|set| set.is_supported())
        {
            let multiply = |rows: &[f32], weights: &[f32]| {
                let multiply = Multiply {
                    rows,
                    inputs: 64,
                    weights,
                };
                visit(set, multiply)
            };
            let Some(results) = multiply(&[ones, row].concat(), &ones.repeat(32)) else {
                continue;
            };
            let (good, spoilt) = results.split_at(32);
            assert!(good.iter().all(|x| (x - 64.0).abs() < 0.1), "{good:?}");
            assert!(spoilt.iter().all(|x| x.is_nan()), "{spoilt:?}");
            let results = multiply(&ones, &weights).unwrap();
            for (output, x) in results.iter().enumerate() {
                assert_eq!(x.is_nan(), output == 1, "output {output}: {x}");
            }
        }
    }
}
