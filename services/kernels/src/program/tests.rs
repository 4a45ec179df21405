//! Compares programs with plain loops in f64, for every instruction set that this processor supports: what the tests need.

use super::*;
use crate::{InstructionSet, KernelActivation, random::TestNumbers};

/// A map or rows of all images: `[image][y][x][channel]`.
#[derive(Clone)]
pub(super) struct ExpectedValue {
    pub(super) height: usize,
    pub(super) width: usize,
    channels: usize,
    images: Vec<Vec<f64>>,
}

impl ExpectedValue {
    pub(super) fn at(&self, image: usize, y: isize, x: isize, channel: usize) -> Option<f64> {
        let (height, width) = (self.height as isize, self.width as isize);
        if !(0..height).contains(&y) || !(0..width).contains(&x) {
            return None;
        }
        let place = (y as usize * self.width + x as usize) * self.channels + channel;
        Some(self.images[image][place])
    }
}

pub(super) fn activate(activation: KernelActivation, x: f64) -> f64 {
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
pub(super) struct Pair {
    builder: ProgramBuilder,
    random: TestNumbers,
    pixels: Vec<u8>,
    batch: usize,
}

pub(super) type Both = (Value, ExpectedValue);

impl Pair {
    pub(super) fn new(
        set: InstructionSet,
        seed: u64,
        height: usize,
        width: usize,
        batch: usize,
    ) -> (Self, Both) {
        let mut random = TestNumbers::new(seed);
        let pixels: Vec<u8> = (0..batch * height * width * 3)
            .map(|_| random.below(256) as u8)
            .collect();
        let table: [[f32; 256]; 3] = std::array::from_fn(|channel| {
            // Some tables are proportional to the byte.
            let bend = (seed % 2) as f32 * 0.001;
            std::array::from_fn(|byte| {
                let distance = byte as f32 - 120.0;
                distance / (60.0 + channel as f32) + bend * distance.abs()
            })
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
        let reference = ExpectedValue {
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
    pub(super) fn conv(
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
        let reference = ExpectedValue {
            height,
            width,
            channels: outputs,
            images,
        };
        (value, reference)
    }

    pub(super) fn max_pool(
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
        let reference = ExpectedValue {
            height,
            width,
            channels: map.channels,
            images: images.collect(),
        };
        (value, reference)
    }

    pub(super) fn global_average(&mut self, input: &Both) -> Both {
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
        let reference = ExpectedValue {
            height: 1,
            width: 1,
            channels: map.channels,
            images: images.collect(),
        };
        (value, reference)
    }

    pub(super) fn linear(
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
        let reference = ExpectedValue {
            channels: outputs,
            images: images.collect(),
            ..*rows
        };
        (value, reference)
    }

    /// Makes rows of a map, so that a program can return it.
    pub(super) fn rows(&mut self, input: &Both) -> Both {
        let map = &input.1;
        let positions = vec![0.0; map.height * map.width * map.channels];
        let value = self.builder.tokens(input.0, &[], &positions).unwrap();
        (value, map.clone())
    }

    /// Compiles and compares.
    pub(super) fn check(self, output: &Both, name: &str) {
        let set = self.builder.instruction_set();
        let program = self.builder.finish(output.0).unwrap();
        let tolerance = match set {
            InstructionSet::Avx512Bf16 => 2e-2,
            InstructionSet::Avx512Vnni | InstructionSet::Avx2 => 5e-4,
            _ => 1e-5,
        };
        // Miri is several hundred times slower.
        let threads: &[usize] = if cfg!(miri) { &[2] } else { &[1, 2, 3] };
        for &threads in threads {
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

pub(super) fn places(
    height: usize,
    width: usize,
    depth: usize,
) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..height * width * depth).map(move |i| (i / depth / width, i / depth % width, i % depth))
}

pub(super) fn supported_sets() -> impl Iterator<Item = InstructionSet> {
    InstructionSet::ALL
        .into_iter()
        .filter(|set| set.is_supported())
}
