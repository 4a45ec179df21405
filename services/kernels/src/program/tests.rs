//! Compares programs with plain loops in f64, for every instruction set that this processor supports.

use super::*;
use crate::{InstructionSet, KernelActivation, random::Random};

/// A map or rows of all images: `[image][y][x][channel]`.
#[derive(Clone)]
struct Reference {
    height: usize,
    width: usize,
    channels: usize,
    images: Vec<Vec<f64>>,
}

impl Reference {
    fn at(&self, image: usize, y: isize, x: isize, channel: usize) -> Option<f64> {
        let (height, width) = (self.height as isize, self.width as isize);
        if !(0..height).contains(&y) || !(0..width).contains(&x) {
            return None;
        }
        let place = (y as usize * self.width + x as usize) * self.channels + channel;
        Some(self.images[image][place])
    }
}

fn activate(activation: KernelActivation, x: f64) -> f64 {
    match activation {
        KernelActivation::None => x,
        KernelActivation::Relu => x.max(0.0),
        KernelActivation::Relu6 => x.clamp(0.0, 6.0),
        _ => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            x / 2.0 * (1.0 + inner.tanh())
        }
    }
}

/// Builds a program and computes the same with plain loops.
struct Pair {
    builder: ProgramBuilder,
    random: Random,
    pixels: Vec<u8>,
    batch: usize,
}

type Both = (Value, Reference);

impl Pair {
    fn new(
        set: InstructionSet,
        seed: u64,
        height: usize,
        width: usize,
        batch: usize,
    ) -> (Self, Both) {
        let mut random = Random::new(seed);
        let pixels: Vec<u8> = (0..batch * height * width * 3)
            .map(|_| random.below(256) as u8)
            .collect();
        let table: [[f32; 256]; 3] = std::array::from_fn(|channel| {
            std::array::from_fn(|byte| (byte as f32 - 120.0) / (60.0 + channel as f32))
        });
        let mut builder = ProgramBuilder::new(set);
        let value = builder.pixels(height, width, &table);
        let images = pixels
            .chunks_exact(height * width * 3)
            .map(|bytes| {
                let numbers = bytes.iter().enumerate();
                numbers
                    .map(|(i, byte)| f64::from(table[i % 3][usize::from(*byte)]))
                    .collect()
            })
            .collect();
        let reference = Reference {
            height,
            width,
            channels: 3,
            images,
        };
        let pair = Self {
            builder,
            random,
            pixels,
            batch,
        };
        (pair, (value, reference))
    }

    #[allow(clippy::too_many_arguments)]
    fn conv(
        &mut self,
        input: &Both,
        outputs: usize,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 4],
        is_depthwise: bool,
        activation: KernelActivation,
        residual: Option<&Both>,
    ) -> Both {
        let map = &input.1;
        let per_output = if is_depthwise { 1 } else { map.channels };
        let area = kernel[0] * kernel[1];
        let scale = ((per_output * area) as f32).sqrt().recip();
        let weight: Vec<f32> = self.random.normals(outputs * per_output * area);
        let weight: Vec<f32> = weight.iter().map(|w| w * scale).collect();
        let bias = self.random.normals(outputs);
        let spec = ConvSpec {
            weight: &weight,
            bias: &bias,
            outputs,
            kernel,
            stride,
            padding,
            groups: if is_depthwise { map.channels } else { 1 },
            activation,
            residual: residual.map(|both| both.0),
        };
        let value = self.builder.conv(input.0, &spec).unwrap();
        let height = (map.height + padding[0] + padding[2] - kernel[0]) / stride[0] + 1;
        let width = (map.width + padding[1] + padding[3] - kernel[1]) / stride[1] + 1;
        let mut images = Vec::new();
        for image in 0..self.batch {
            let mut numbers = Vec::new();
            for (y, x, output) in places(height, width, outputs) {
                let mut sum = f64::from(bias[output]);
                for (ky, kx, channel) in places(kernel[0], kernel[1], per_output) {
                    let from = if is_depthwise { output } else { channel };
                    let iy = (y * stride[0] + ky) as isize - padding[0] as isize;
                    let ix = (x * stride[1] + kx) as isize - padding[1] as isize;
                    let weight =
                        weight[(output * per_output + channel) * area + ky * kernel[1] + kx];
                    sum += map.at(image, iy, ix, from).unwrap_or(0.0) * f64::from(weight);
                }
                if let Some((_, residual)) = residual {
                    sum += residual.images[image][numbers.len()];
                }
                numbers.push(activate(activation, sum));
            }
            images.push(numbers);
        }
        let reference = Reference {
            height,
            width,
            channels: outputs,
            images,
        };
        (value, reference)
    }

    fn max_pool(
        &mut self,
        input: &Both,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 4],
    ) -> Both {
        let map = &input.1;
        let value = self
            .builder
            .max_pool(input.0, kernel, stride, padding)
            .unwrap();
        let height = (map.height + padding[0] + padding[2] - kernel[0]) / stride[0] + 1;
        let width = (map.width + padding[1] + padding[3] - kernel[1]) / stride[1] + 1;
        let images = (0..self.batch).map(|image| {
            let numbers = places(height, width, map.channels).map(|(y, x, channel)| {
                let window = places(kernel[0], kernel[1], 1).filter_map(|(ky, kx, _)| {
                    let iy = (y * stride[0] + ky) as isize - padding[0] as isize;
                    let ix = (x * stride[1] + kx) as isize - padding[1] as isize;
                    map.at(image, iy, ix, channel)
                });
                window.fold(f64::MIN, f64::max)
            });
            numbers.collect()
        });
        let reference = Reference {
            height,
            width,
            channels: map.channels,
            images: images.collect(),
        };
        (value, reference)
    }

    fn global_average(&mut self, input: &Both) -> Both {
        let map = &input.1;
        let value = self.builder.global_average(input.0).unwrap();
        let images = map.images.iter().map(|numbers| {
            let mut sums = vec![0.0; map.channels];
            for pixel in numbers.chunks_exact(map.channels) {
                for (sum, number) in sums.iter_mut().zip(pixel) {
                    *sum += number / (map.height * map.width) as f64;
                }
            }
            sums
        });
        let reference = Reference {
            height: 1,
            width: 1,
            channels: map.channels,
            images: images.collect(),
        };
        (value, reference)
    }

    fn linear(
        &mut self,
        input: &Both,
        outputs: usize,
        activation: KernelActivation,
        residual: Option<&Both>,
    ) -> Both {
        let rows = &input.1;
        let width = rows.channels;
        let scale = (width as f32).sqrt().recip();
        let weight: Vec<f32> = self.random.normals(outputs * width);
        let weight: Vec<f32> = weight.iter().map(|w| w * scale).collect();
        let bias = self.random.normals(outputs);
        let value = self
            .builder
            .linear(
                input.0,
                &weight,
                &bias,
                outputs,
                activation,
                residual.map(|both| both.0),
            )
            .unwrap();
        let images = rows.images.iter().enumerate().map(|(image, numbers)| {
            let mut results = Vec::new();
            for row in numbers.chunks_exact(width) {
                for output in 0..outputs {
                    let weights = &weight[output * width..][..width];
                    let products = row.iter().zip(weights).map(|(x, w)| x * f64::from(*w));
                    let mut sum = products.sum::<f64>() + f64::from(bias[output]);
                    if let Some((_, residual)) = residual {
                        sum += residual.images[image][results.len()];
                    }
                    results.push(activate(activation, sum));
                }
            }
            results
        });
        let reference = Reference {
            channels: outputs,
            images: images.collect(),
            ..*rows
        };
        (value, reference)
    }

    /// Makes rows of a map, so that a program can return it.
    fn rows(&mut self, input: &Both) -> Both {
        let map = &input.1;
        let positions = vec![0.0; map.height * map.width * map.channels];
        let value = self.builder.tokens(input.0, &[], &positions).unwrap();
        (value, map.clone())
    }

    /// Compiles and compares.
    fn check(self, output: &Both, name: &str) {
        let set = self.builder.instruction_set();
        let program = self.builder.finish(output.0).unwrap();
        let tolerance = if set == InstructionSet::Avx512Bf16 {
            2e-2
        } else {
            1e-5
        };
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            // The second run uses the memory that the first one left.
            for _ in 0..2 {
                let results = pool.install(|| program.run_images(&self.pixels, self.batch));
                let expected: Vec<_> = output.1.images.concat();
                assert_eq!(results.len(), expected.len(), "{name}");
                let scale = expected.iter().fold(0.0, |m: f64, e| m.max(e.abs()));
                let errors = results
                    .iter()
                    .zip(&expected)
                    .map(|(r, e)| (f64::from(*r) - e).abs());
                let worst =
                    errors.fold(0.0, |m: f64, e| if e.is_nan() { e } else { m.max(e) }) / scale;
                assert!(
                    worst < tolerance,
                    "{name} on {set} with {threads} threads: error {worst:e}"
                );
            }
        }
    }
}

fn places(
    height: usize,
    width: usize,
    depth: usize,
) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..height * width * depth).map(move |i| (i / depth / width, i / depth % width, i % depth))
}

fn supported_sets() -> impl Iterator<Item = InstructionSet> {
    InstructionSet::ALL
        .into_iter()
        .filter(|set| set.is_supported())
}

/// Chooses one of the values.
fn choose<T: Copy>(random: &mut Random, values: &[T]) -> T {
    values[random.below(values.len())]
}

const ACTIVATIONS: [KernelActivation; 4] = [
    KernelActivation::None,
    KernelActivation::Relu,
    KernelActivation::Relu6,
    KernelActivation::GeluTanh,
];

const CASES: u64 = if cfg!(miri) { 1 } else { 12 };

#[test]
fn convolutions_equal_plain_loops() {
    for set in supported_sets() {
        for seed in 0..CASES {
            let mut random = Random::new(seed + 100);
            let r = &mut random;
            let (height, width) = (8 + r.below(9), 8 + r.below(12));
            let (mut pair, input) = Pair::new(set, seed, height, width, 1 + r.below(4));
            let size = [1 + r.below(5), 1 + r.below(5)];
            let padding = [r.below(3), r.below(3), r.below(3), r.below(3)];
            let stem = 1 + r.below(40);
            let first = pair.conv(
                &input,
                stem,
                size,
                [1 + r.below(2), 1 + r.below(2)],
                padding,
                false,
                choose(r, &ACTIVATIONS),
                None,
            );
            let size = [1 + r.below(3), 1 + r.below(3)];
            let padding = [
                size[0] / 2,
                size[1] / 2,
                (size[0] - 1) / 2,
                (size[1] - 1) / 2,
            ];
            let second = pair.conv(
                &first,
                stem,
                size,
                [1, 1],
                padding,
                false,
                choose(r, &ACTIVATIONS),
                Some(&first),
            );
            let outputs = choose(r, &[1, 16, 24, 47, 64, 70, 100, 130]);
            let third = pair.conv(
                &second,
                outputs,
                [1, 1],
                [1 + r.below(2), 1],
                [0; 4],
                false,
                choose(r, &ACTIVATIONS),
                None,
            );
            let output = pair.rows(&third);
            pair.check(&output, &format!("convolutions {seed}"));
        }
    }
}

#[test]
fn depthwise_convolutions_equal_plain_loops() {
    for set in supported_sets() {
        for seed in 0..CASES {
            let mut random = Random::new(seed + 200);
            let r = &mut random;
            let (mut pair, input) =
                Pair::new(set, seed, 9 + r.below(9), 9 + r.below(12), 1 + r.below(3));
            let channels = 1 + r.below(70);
            let first = pair.conv(
                &input,
                channels,
                [1, 1],
                [1, 1],
                [0; 4],
                false,
                KernelActivation::Relu,
                None,
            );
            let side = choose(r, &[3, 3, 5, 5, 2, 7]);
            let stride = 1 + r.below(2);
            let padding = [r.below(3), r.below(3), r.below(3), r.below(3)];
            let second = pair.conv(
                &first,
                channels,
                [side, side],
                [stride, stride],
                padding,
                true,
                choose(r, &ACTIVATIONS),
                None,
            );
            let output = pair.rows(&second);
            pair.check(&output, &format!("depthwise {seed}"));
        }
    }
}

#[test]
fn streamed_blocks_equal_plain_loops() {
    for set in supported_sets() {
        for seed in 0..CASES {
            let mut random = Random::new(seed + 300);
            let r = &mut random;
            let (height, width) = (20 + r.below(20), 20 + r.below(20));
            let (mut pair, input) = Pair::new(set, seed, height, width, 1 + r.below(3));
            let channels = choose(r, &[8, 24, 33]);
            let start = pair.conv(
                &input,
                channels,
                [1, 1],
                [1, 1],
                [0; 4],
                false,
                KernelActivation::None,
                None,
            );
            // Large enough to be streamed.
            let wide = (1 << 16) / (height * width) + 1 + r.below(10);
            let expanded = match r.below(3) {
                0 => pair.conv(
                    &input,
                    wide,
                    [3, 3],
                    [1, 1],
                    [1; 4],
                    false,
                    KernelActivation::Relu6,
                    None,
                ),
                _ => pair.conv(
                    &start,
                    wide,
                    [1, 1],
                    [1, 1],
                    [0; 4],
                    false,
                    choose(r, &ACTIVATIONS),
                    None,
                ),
            };
            let (side, stride) = (choose(r, &[3, 5]), 1 + r.below(2));
            let before = side / 2 - r.below(2).min(stride - 1);
            let padding = [before, before, side / 2, side / 2];
            let filtered = pair.conv(
                &expanded,
                wide,
                [side, side],
                [stride, stride],
                padding,
                true,
                choose(r, &ACTIVATIONS),
                None,
            );
            let is_same = filtered.1.height == height && filtered.1.width == width;
            let residual = (is_same && r.below(2) == 0).then_some(&start);
            let projected = pair.conv(
                &filtered,
                channels,
                [1, 1],
                [1, 1],
                [0; 4],
                false,
                choose(r, &ACTIVATIONS),
                residual,
            );
            let output = pair.rows(&projected);
            pair.check(&output, &format!("block {seed}"));
        }
    }
}

#[test]
fn pooling_and_linear_layers_equal_plain_loops() {
    for set in supported_sets() {
        for seed in 0..CASES {
            let mut random = Random::new(seed + 400);
            let r = &mut random;
            let (mut pair, input) =
                Pair::new(set, seed, 9 + r.below(9), 9 + r.below(12), 1 + r.below(3));
            let channels = 1 + r.below(70);
            let first = pair.conv(
                &input,
                channels,
                [3, 3],
                [1, 1],
                [1; 4],
                false,
                KernelActivation::None,
                None,
            );
            let side = 2 + r.below(3);
            let padding = [r.below(side), r.below(side), r.below(side), r.below(side)];
            let pooled = pair.max_pool(
                &first,
                [side, side],
                [1 + r.below(3), 1 + r.below(3)],
                padding,
            );
            if r.below(2) == 0 {
                let rows = pair.rows(&pooled);
                let activation = choose(r, &ACTIVATIONS);
                let hidden = pair.linear(&rows, 1 + r.below(100), activation, None);
                let output = pair.linear(&hidden, channels, KernelActivation::None, Some(&rows));
                pair.check(&output, &format!("linear {seed}"));
            } else {
                let average = pair.global_average(&pooled);
                let output = pair.linear(&average, 1 + r.below(100), choose(r, &ACTIVATIONS), None);
                pair.check(&output, &format!("average {seed}"));
            }
        }
    }
}

/// The last layers compute several images together if their weights are large.
#[test]
fn images_computed_together_equal_plain_loops() {
    for set in supported_sets() {
        for batch in [1, 2, 7] {
            let (mut pair, input) = Pair::new(set, 1, 6, 7, batch);
            let first = pair.conv(
                &input,
                256,
                [3, 3],
                [1, 1],
                [1; 4],
                false,
                KernelActivation::Relu,
                None,
            );
            let second = pair.conv(
                &first,
                256,
                [3, 3],
                [2, 2],
                [1, 0, 1, 1],
                false,
                KernelActivation::Relu,
                None,
            );
            let third = pair.conv(
                &second,
                256,
                [3, 3],
                [1, 1],
                [1; 4],
                false,
                KernelActivation::Relu,
                Some(&second),
            );
            let output = pair.global_average(&third);
            pair.check(&output, &format!("batch {batch}"));
        }
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let mut builder = ProgramBuilder::new(InstructionSet::Portable);
    let pixels = builder.pixels(8, 8, &[[0.0; 256]; 3]);
    let spec = ConvSpec {
        weight: &[0.0; 3 * 4 * 9],
        bias: &[],
        outputs: 4,
        kernel: [3, 3],
        stride: [2, 2],
        padding: [0, 0, 1, 1],
        groups: 1,
        activation: KernelActivation::Relu,
        residual: None,
    };
    let map = builder.conv(pixels, &spec).unwrap();
    let short = ConvSpec {
        weight: &[0.0; 5],
        ..spec.clone()
    };
    let error = builder.conv(pixels, &short).unwrap_err();
    assert_eq!(
        error,
        "the weight of a convolution has 5 numbers: it needs 108"
    );
    let groups = ConvSpec {
        groups: 2,
        ..spec.clone()
    };
    assert!(builder.conv(map, &groups).unwrap_err().contains("2 groups"));
    let residual = ConvSpec {
        residual: Some(pixels),
        ..spec
    };
    assert!(
        builder
            .conv(pixels, &residual)
            .unwrap_err()
            .contains("same shape")
    );
    assert!(builder.max_pool(map, [9, 9], [1, 1], [0; 4]).is_err());
    assert!(builder.max_pool(map, [2, 2], [1, 1], [2; 4]).is_err());
    assert!(
        builder
            .linear(map, &[], &[], 1, KernelActivation::None, None)
            .is_err()
    );
    assert!(builder.finish(map).is_err());
}
