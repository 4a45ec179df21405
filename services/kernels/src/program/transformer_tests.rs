//! Compares transformers with plain loops in f64, for every instruction set that this processor supports.

use super::*;
use crate::{InstructionSet, KernelActivation, RowPlace, random::TestNumbers};

type Rows = Vec<Vec<f64>>;

/// Builds a program, and computes the same for each image or text with plain loops.
struct TestTransformer {
    builder: ProgramBuilder,
    random: TestNumbers,
    value: Value,
    /// The rows of each image.
    images: Vec<Rows>,
}

/// Widths that are no multiples of the vectors.
const WIDTH: usize = 42;
const HEADS: usize = 3;
const MLP: usize = 75;

fn multiply(row: &[f64], weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let sums = weight
        .chunks_exact(row.len())
        .zip(bias)
        .map(|(weight, bias)| {
            let products = weight.iter().zip(row).map(|(w, x)| f64::from(*w) * x);
            f64::from(*bias) + products.sum::<f64>()
        });
    sums.collect()
}

/// Attention of one query of all heads to the keys and values.
fn attend(query: &[f64], keys: &[&[f64]], values: &[&[f64]], heads: usize) -> Vec<f64> {
    let width = query.len() / heads;
    let mut output = Vec::new();
    for head in 0..heads {
        let columns = head * width..(head + 1) * width;
        let scores = keys.iter().map(|key| {
            let pairs = key[columns.clone()].iter().zip(&query[columns.clone()]);
            (pairs.map(|(a, b)| a * b).sum::<f64>() / (width as f64).sqrt()).exp()
        });
        let weights: Vec<f64> = scores.collect();
        let sum: f64 = weights.iter().sum();
        for column in columns {
            let products = weights.iter().zip(values).map(|(w, v)| w * v[column]);
            output.push(products.sum::<f64>() / sum);
        }
    }
    output
}

impl TestTransformer {
    fn update(&mut self, value: Value, update: impl Fn(&Rows) -> Rows) {
        self.value = value;
        self.images = self.images.iter().map(update).collect();
    }

    fn linear(
        &mut self,
        outputs: usize,
        activation: KernelActivation,
        residual: Option<&(Value, Vec<Rows>)>,
    ) {
        let inputs = self.images[0][0].len();
        let scale = (inputs as f32).powf(-0.5);
        let weight = self.random.normals(outputs * inputs);
        let weight: Vec<f32> = weight.iter().map(|x| x * scale).collect();
        let bias = self.random.normals(outputs);
        let added = residual.map(|residual| residual.0);
        let value = self
            .builder
            .linear(self.value, &weight, &bias, outputs, activation, added)
            .unwrap();
        self.update(value, |rows| {
            let rows = rows.iter().map(|row| multiply(row, &weight, &bias));
            rows.collect()
        });
        for (image, rows) in self.images.iter_mut().enumerate() {
            for (index, row) in rows.iter_mut().enumerate() {
                for (column, number) in row.iter_mut().enumerate() {
                    if let Some((_, images)) = residual {
                        *number += images[image][index][column];
                    }
                    if activation == KernelActivation::QuickGelu {
                        *number /= 1.0 + (-1.702 * *number).exp();
                    }
                }
            }
        }
    }

    fn layer_norm(&mut self) {
        let width = self.images[0][0].len();
        let (gamma, beta) = (self.random.normals(width), self.random.normals(width));
        let value = self
            .builder
            .layer_norm(self.value, &gamma, &beta, 1e-5)
            .unwrap();
        self.update(value, |rows| {
            let rows = rows.iter().map(|row| {
                let mean = row.iter().sum::<f64>() / width as f64;
                let squares: f64 = row.iter().map(|x| (x - mean).powi(2)).sum();
                let deviation = (squares / width as f64 + 1e-5).sqrt();
                let parameters = gamma.iter().zip(&beta);
                let normed = row.iter().zip(parameters).map(|(x, (gamma, beta))| {
                    (x - mean) / deviation * f64::from(*gamma) + f64::from(*beta)
                });
                normed.collect()
            });
            rows.collect()
        });
    }

    fn attention(&mut self, is_causal: bool) {
        let value = self
            .builder
            .attention(self.value, HEADS, is_causal)
            .unwrap();
        self.update(value, |rows| {
            let width = rows[0].len() / 3;
            let part = |i: usize| -> Vec<&[f64]> {
                rows.iter().map(|row| &row[i * width..][..width]).collect()
            };
            let (queries, keys, values) = (part(0), part(1), part(2));
            let outputs = queries.iter().enumerate().map(|(index, query)| {
                let count = if is_causal { index + 1 } else { rows.len() };
                attend(query, &keys[..count], &values[..count], HEADS)
            });
            outputs.collect()
        });
    }

    fn pooled_attention(&mut self) {
        let query = self.random.normals(self.images[0][0].len() / 2);
        let value = self
            .builder
            .pooled_attention(self.value, &query, HEADS)
            .unwrap();
        let query: Vec<f64> = query.iter().map(|x| f64::from(*x)).collect();
        self.update(value, |rows| {
            let (keys, values): (Vec<_>, Vec<_>) =
                rows.iter().map(|row| row.split_at(query.len())).unzip();
            vec![attend(&query, &keys, &values, HEADS)]
        });
    }

    fn select_row(&mut self, place: RowPlace) {
        let value = self.builder.select_row(self.value, place).unwrap();
        self.update(value, |rows| vec![rows[place.index(rows.len())].clone()]);
    }

    /// Adds a transformer block. After attention, only the row of `place` is computed further.
    fn block(&mut self, is_causal: bool, place: Option<RowPlace>) {
        let start = (self.value, self.images.clone());
        self.layer_norm();
        self.linear(3 * WIDTH, KernelActivation::None, None);
        self.attention(is_causal);
        let mut residual = start;
        if let Some(place) = place {
            self.select_row(place);
            let attended = (self.value, self.images.clone());
            (self.value, self.images) = residual;
            self.select_row(place);
            residual = (self.value, std::mem::take(&mut self.images));
            (self.value, self.images) = attended;
        }
        self.linear(WIDTH, KernelActivation::None, Some(&residual));
        let residual = (self.value, self.images.clone());
        self.layer_norm();
        self.linear(MLP, KernelActivation::QuickGelu, None);
        self.linear(WIDTH, KernelActivation::None, Some(&residual));
    }

    fn check(self, set: InstructionSet, run: impl Fn(&KernelProgram) -> Vec<f32> + Sync) {
        let program = self.builder.finish(self.value).unwrap();
        let expected: Vec<f64> = self.images.into_iter().flatten().flatten().collect();
        let tolerance = match set {
            InstructionSet::Avx512Bf16 => 8e-2,
            InstructionSet::Avx512Vnni | InstructionSet::Avx2 => 2e-3,
            _ => 2e-5,
        };
        for threads in [1, 2, 3, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let output = pool.build().unwrap().install(|| run(&program));
            assert_eq!(output.len(), expected.len());
            for (output, expected) in output.iter().zip(&expected) {
                let error = (f64::from(*output) - expected).abs();
                assert!(
                    error <= tolerance * expected.abs().max(1.0),
                    "{set}: {output} instead of {expected}"
                );
            }
        }
    }
}

const PATCH: usize = 4;
/// Height and width of the images.
const SIZE: [usize; 2] = [12, 20];

/// The pixels of images, and a network that turns them into the rows of a transformer: two rows of a
/// prefix, and the patches.
fn embed_patches(set: InstructionSet, batch: usize) -> (TestTransformer, Vec<u8>) {
    let mut random = TestNumbers::new(batch as u64);
    let mut builder = ProgramBuilder::new(set);
    let image_bytes = SIZE[0] * SIZE[1] * 3;
    let pixels: Vec<u8> = (0..batch * image_bytes)
        .map(|_| random.below(256) as u8)
        .collect();
    let table = std::array::from_fn(|_| std::array::from_fn(|byte| byte as f32 / 128.0 - 1.0));
    let input = builder.pixels(SIZE[0], SIZE[1], &table);
    let weight = random.normals(WIDTH * 3 * PATCH * PATCH);
    let weight: Vec<f32> = weight.iter().map(|x| x / 7.0).collect();
    let bias = random.normals(WIDTH);
    let spec = ConvSpec {
        weight: &weight,
        bias: &bias,
        outputs: WIDTH,
        kernel: [PATCH; 2],
        stride: [PATCH; 2],
        padding: [0; 4],
        groups: 1,
        activation: KernelActivation::None,
        residual: None,
    };
    let map = builder.conv(input, &spec).unwrap();
    let [lines, columns] = SIZE.map(|size| size / PATCH);
    let prefix = random.normals(2 * WIDTH);
    let positions = random.normals(lines * columns * WIDTH);
    let value = builder.tokens(map, &prefix, &positions).unwrap();
    let images = pixels.chunks_exact(image_bytes).map(|bytes| {
        let to_rows = |numbers: &[f32]| -> Rows {
            let rows = numbers.chunks_exact(WIDTH);
            rows.map(|row| row.iter().map(|x| f64::from(*x)).collect())
                .collect()
        };
        let mut rows = to_rows(&prefix);
        for (patch, position) in to_rows(&positions).into_iter().enumerate() {
            let mut window = Vec::new();
            for channel in 0..3 {
                for y in 0..PATCH {
                    for x in 0..PATCH {
                        let y = patch / columns * PATCH + y;
                        let x = patch % columns * PATCH + x;
                        let byte = bytes[(y * SIZE[1] + x) * 3 + channel];
                        window.push(f64::from(byte) / 128.0 - 1.0);
                    }
                }
            }
            let patch = multiply(&window, &weight, &bias);
            rows.push(patch.iter().zip(position).map(|(a, b)| a + b).collect());
        }
        rows
    });
    let images = images.collect();
    let network = TestTransformer {
        builder,
        random,
        value,
        images,
    };
    (network, pixels)
}

fn for_each_set(check: impl Fn(InstructionSet)) {
    InstructionSet::ALL
        .into_iter()
        .filter(|set| set.is_supported())
        .for_each(check);
}

#[test]
fn image_transformers_equal_plain_loops() {
    for_each_set(|set| {
        for batch in [1, 2, 5] {
            let (mut network, pixels) = embed_patches(set, batch);
            network.block(false, None);
            network.block(false, Some(RowPlace::First));
            network.layer_norm();
            network.check(set, |program| program.run_images(&pixels, batch));
        }
    });
}

#[test]
fn all_rows_can_be_the_output() {
    for_each_set(|set| {
        let (mut network, pixels) = embed_patches(set, 2);
        network.block(false, None);
        network.check(set, |program| program.run_images(&pixels, 2));
    });
}

#[test]
fn pooled_transformers_equal_plain_loops() {
    for_each_set(|set| {
        for batch in [1, 3] {
            let (mut network, pixels) = embed_patches(set, batch);
            network.block(false, None);
            network.layer_norm();
            network.linear(2 * WIDTH, KernelActivation::None, None);
            network.pooled_attention();
            network.linear(WIDTH, KernelActivation::None, None);
            let residual = (network.value, network.images.clone());
            network.layer_norm();
            network.linear(MLP, KernelActivation::QuickGelu, None);
            network.linear(WIDTH, KernelActivation::None, Some(&residual));
            network.check(set, |program| program.run_images(&pixels, batch));
        }
    });
}

#[test]
fn text_transformers_equal_plain_loops() {
    const MAX_ROWS: usize = 19;
    for_each_set(|set| {
        for count in [1, 7, MAX_ROWS] {
            let mut random = TestNumbers::new(count as u64);
            let mut builder = ProgramBuilder::new(set);
            let value = builder.token_rows(MAX_ROWS, WIDTH);
            let rows = random.normals(count * WIDTH);
            let text = rows.chunks_exact(WIDTH);
            let text = text.map(|row| row.iter().map(|x| f64::from(*x)).collect());
            let mut network = TestTransformer {
                builder,
                random,
                value,
                images: vec![text.collect()],
            };
            network.block(true, None);
            network.block(true, Some(RowPlace::Last));
            network.layer_norm();
            network.linear(50, KernelActivation::None, None);
            network.check(set, |program| program.run_tokens(&rows, count));
        }
    });
}

#[test]
fn wrong_shapes_of_transformers_are_errors() {
    let mut builder = ProgramBuilder::new(InstructionSet::Portable);
    let rows = builder.token_rows(9, 24);
    let errors = [
        builder.attention(rows, 7, false).unwrap_err(),
        builder.attention(rows, 0, false).unwrap_err(),
        builder.pooled_attention(rows, &[0.0; 12], 5).unwrap_err(),
        builder.pooled_attention(rows, &[0.0; 11], 2).unwrap_err(),
        builder
            .layer_norm(rows, &[1.0; 23], &[0.0; 24], 1e-5)
            .unwrap_err(),
        builder.tokens(rows, &[], &[]).unwrap_err(),
    ];
    let expected = [
        "rows of 24 numbers into queries, keys and values of 7 heads",
        "of 0 heads",
        "keys and values of 5 heads",
        "the query of an attention has 11 numbers: it needs 12",
        "the factor of a layer norm has 23 numbers: it needs 24",
        "cannot turn into tokens 9 rows of 24 numbers: give it a map",
    ];
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.contains(expected), "{error}");
    }
}
