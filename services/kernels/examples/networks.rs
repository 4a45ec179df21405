//! Measures convolutional networks with random weights.
//!
//! ```sh
//! cargo run --release -p lookalike-kernels --example networks -- resnet34 8 avx512-bf16 2 3
//! ```
//!
//! The arguments are the network (`resnet34`, `mobilenet-v2`, `efficientnet-lite0`), the batch, the instruction set or `auto`,
//! the threads, and the seconds to measure. The example prints the images per second of the fastest run and of all runs.

use std::time::Instant;

use lookalike_kernels::{
    ConvSpec, InstructionSet, KernelActivation, KernelProgram, ProgramBuilder, Value,
};

const SIDE: usize = 224;

/// A builder with random weights.
struct RandomNetwork {
    builder: ProgramBuilder,
    state: u64,
}

/// A map and its number of channels.
#[derive(Clone, Copy)]
struct Features {
    value: Value,
    channels: usize,
    side: usize,
}

/// Window, stride and zeros before and after.
#[derive(Clone, Copy)]
struct Window {
    size: usize,
    stride: usize,
    padding: [usize; 2],
}

impl Window {
    const POINT: Self = Self::centred(1, 1);

    const fn centred(size: usize, stride: usize) -> Self {
        Self {
            size,
            stride,
            padding: [size / 2, size / 2],
        }
    }

    /// TensorFlow's SAME: as many outputs as `side / stride`, the odd zero after the input.
    const fn same(size: usize, stride: usize, side: usize) -> Self {
        let outputs = side.div_ceil(stride);
        let total = ((outputs - 1) * stride + size).saturating_sub(side);
        Self {
            size,
            stride,
            padding: [total / 2, total - total / 2],
        }
    }
}

impl RandomNetwork {
    fn new(set: InstructionSet) -> (Self, Features) {
        let mut builder = ProgramBuilder::new(set);
        let table =
            std::array::from_fn(|_| std::array::from_fn(|byte| (byte as f32 - 127.0) / 64.0));
        let value = builder.pixels(SIDE, SIDE, &table);
        let pixels = Features {
            value,
            channels: 3,
            side: SIDE,
        };
        (Self { builder, state: 1 }, pixels)
    }

    fn random(&mut self, count: usize, scale: f32) -> Vec<f32> {
        let mut next = || {
            self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1);
            (self.state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next() * scale).collect()
    }

    fn conv(
        &mut self,
        input: Features,
        outputs: usize,
        window: Window,
        is_depthwise: bool,
        activation: KernelActivation,
        residual: Option<Features>,
    ) -> Features {
        let Window {
            size,
            stride,
            padding: [before, after],
        } = window;
        let inputs = if is_depthwise { 1 } else { input.channels } * size * size;
        let weight = self.random(outputs * inputs, (6.0 / inputs as f32).sqrt());
        let bias = self.random(outputs, 0.1);
        let spec = ConvSpec {
            weight: &weight,
            bias: &bias,
            outputs,
            kernel: [size, size],
            stride: [stride, stride],
            padding: [before, before, after, after],
            groups: if is_depthwise { outputs } else { 1 },
            activation,
            residual: residual.map(|map| map.value),
        };
        let value = self
            .builder
            .conv(input.value, &spec)
            .expect("the shapes fit");
        Features {
            value,
            channels: outputs,
            side: (input.side + before + after - size) / stride + 1,
        }
    }

    fn finish(mut self, map: Features) -> KernelProgram {
        let average = self.builder.global_average(map.value).expect("a map");
        self.builder.finish(average).expect("rows")
    }
}

fn build_resnet34(set: InstructionSet) -> KernelProgram {
    use KernelActivation::{None as Linear, Relu};
    let (mut network, pixels) = RandomNetwork::new(set);
    let stem = network.conv(pixels, 64, Window::centred(7, 2), false, Relu, None);
    let pooled = network.builder.max_pool(stem.value, [3, 3], [2, 2], [1; 4]);
    let mut map = Features {
        value: pooled.expect("a map"),
        side: 56,
        ..stem
    };
    for (channels, blocks, first_stride) in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)] {
        for block in 0..blocks {
            let stride = if block == 0 { first_stride } else { 1 };
            let hidden = network.conv(map, channels, Window::centred(3, stride), false, Relu, None);
            let shortcut = if stride == 1 && map.channels == channels {
                map
            } else {
                network.conv(
                    map,
                    channels,
                    Window::centred(1, stride),
                    false,
                    Linear,
                    None,
                )
            };
            let window = Window::centred(3, 1);
            map = network.conv(hidden, channels, window, false, Relu, Some(shortcut));
        }
    }
    network.finish(map)
}

/// An inverted residual block, or the depthwise and the last convolution of one if `factor` is 1.
fn add_block(
    network: &mut RandomNetwork,
    input: Features,
    factor: usize,
    outputs: usize,
    window: Window,
) -> Features {
    use KernelActivation::{None as Linear, Relu6};
    let wide = input.channels * factor;
    let expanded = if factor == 1 {
        input
    } else {
        network.conv(input, wide, Window::POINT, false, Relu6, None)
    };
    let filtered = network.conv(expanded, wide, window, true, Relu6, None);
    let residual = (window.stride == 1 && input.channels == outputs).then_some(input);
    network.conv(filtered, outputs, Window::POINT, false, Linear, residual)
}

fn build_mobilenet_v2(set: InstructionSet) -> KernelProgram {
    use KernelActivation::Relu6;
    let (mut network, pixels) = RandomNetwork::new(set);
    let mut map = network.conv(pixels, 32, Window::centred(3, 2), false, Relu6, None);
    let stages = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    for (factor, channels, blocks, first_stride) in stages {
        for block in 0..blocks {
            let stride = if block == 0 { first_stride } else { 1 };
            map = add_block(
                &mut network,
                map,
                factor,
                channels,
                Window::centred(3, stride),
            );
        }
    }
    map = network.conv(map, 1280, Window::POINT, false, Relu6, None);
    network.finish(map)
}

fn build_efficientnet_lite0(set: InstructionSet) -> KernelProgram {
    use KernelActivation::Relu6;
    let (mut network, pixels) = RandomNetwork::new(set);
    let mut map = network.conv(pixels, 32, Window::same(3, 2, SIDE), false, Relu6, None);
    let stages = [
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    ];
    for (factor, channels, blocks, first_stride, size) in stages {
        for block in 0..blocks {
            let stride = if block == 0 { first_stride } else { 1 };
            let window = Window::same(size, stride, map.side);
            map = add_block(&mut network, map, factor, channels, window);
        }
    }
    map = network.conv(map, 1280, Window::POINT, false, Relu6, None);
    network.finish(map)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [network, batch, set, threads, seconds] = &arguments[..] else {
        eprintln!("usage: networks NETWORK BATCH SET THREADS SECONDS");
        std::process::exit(2);
    };
    let number = |text: &String| text.parse::<usize>().expect("a number");
    let (batch, threads, seconds) = (number(batch), number(threads), number(seconds));
    let set = match &set[..] {
        "auto" => InstructionSet::detect(),
        name => name.parse().unwrap_or_else(|error| panic!("{error}")),
    };
    let program = match &network[..] {
        "resnet34" => build_resnet34(set),
        "mobilenet-v2" => build_mobilenet_v2(set),
        "efficientnet-lite0" => build_efficientnet_lite0(set),
        name => panic!("unknown network {name:?}"),
    };
    let pixels: Vec<u8> = (0..batch * SIDE * SIDE * 3)
        .map(|i| (i * 31 % 251) as u8)
        .collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.expect("a pool of threads").install(|| {
        let mut sum: f32 = program.run_images(&pixels, batch).iter().sum();
        let (start, mut best, mut images) = (Instant::now(), f64::MAX, 0);
        while start.elapsed().as_secs_f64() < seconds as f64 {
            let run = Instant::now();
            sum += program.run_images(&pixels, batch)[0];
            best = best.min(run.elapsed().as_secs_f64());
            images += batch;
        }
        println!(
            "{network} batch {batch} on {set}, {threads} threads: best {:.1} images/s, average {:.1} ({:.0} MiB, sum {sum:.2})",
            batch as f64 / best,
            images as f64 / start.elapsed().as_secs_f64(),
            program.memory_bytes() as f64 / f64::from(1 << 20),
        );
    });
}
