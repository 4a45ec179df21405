//! Measures the kernels of convolutional networks on one thread, for each instruction set of this processor.
//!
//! Each program consists of a cheap 1×1 convolution from pixels, the measured operations, and an average. The first depthwise
//! convolutions of a program read f32, later ones elements; so there is a block of each kind.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lookalike_kernels::{
    ConvSpec, InstructionSet, KernelActivation, KernelProgram, ProgramBuilder, Value,
};

/// A map with its number of channels.
#[derive(Clone, Copy)]
struct BenchMap(Value, usize);

/// Adds a convolution with padding that keeps the size at stride 1. Depthwise if it has no number of outputs.
fn add_conv(
    builder: &mut ProgramBuilder,
    BenchMap(input, channels): BenchMap,
    outputs: Option<usize>,
    size: usize,
    stride: usize,
) -> BenchMap {
    let (outputs, inputs, groups) = match outputs {
        Some(outputs) => (outputs, channels, 1),
        None => (channels, 1, channels),
    };
    let weight: Vec<f32> = (0..outputs * inputs * size * size)
        .map(|index| (index % 17) as f32 * 0.01 - 0.08)
        .collect();
    let spec = ConvSpec {
        weight: &weight,
        bias: &[],
        outputs,
        kernel: [size, size],
        stride: [stride, stride],
        padding: [size / 2; 4],
        groups,
        activation: KernelActivation::Relu6,
        residual: None,
    };
    let value = builder.conv(input, &spec).expect("the shapes fit");
    BenchMap(value, outputs)
}

/// Adds a block with 144 inner channels that returns as many channels as it reads.
fn add_inverted_residual(builder: &mut ProgramBuilder, map: BenchMap) -> BenchMap {
    let expanded = add_conv(builder, map, Some(144), 1, 1);
    let filtered = add_conv(builder, expanded, None, 3, 1);
    add_conv(builder, filtered, Some(map.1), 1, 1)
}

/// Builds a program whose measured operations start from a map.
fn build(
    set: InstructionSet,
    side: usize,
    channels: usize,
    add: impl Fn(&mut ProgramBuilder, BenchMap) -> BenchMap,
) -> KernelProgram {
    let mut builder = ProgramBuilder::new(set);
    let table = std::array::from_fn(|_| std::array::from_fn(|byte| byte as f32 / 255.0));
    let pixels = builder.pixels(side, side, &table);
    let map = add_conv(&mut builder, BenchMap(pixels, 3), Some(channels), 1, 1);
    let BenchMap(value, _) = add(&mut builder, map);
    let average = builder.global_average(value).expect("a map");
    builder.finish(average).expect("rows")
}

/// The measured operations, with the side and the channels of the map that they start from.
struct BenchCase {
    name: &'static str,
    side: usize,
    channels: usize,
    /// Multiplications, or comparisons of a pooling, per picture.
    work: usize,
    add: fn(&mut ProgramBuilder, BenchMap) -> BenchMap,
}

const CASES: [BenchCase; 8] = [
    BenchCase {
        name: "3x3 56x56x64",
        side: 56,
        channels: 64,
        work: 56 * 56 * 64 * 64 * 9,
        add: |builder, map| add_conv(builder, map, Some(64), 3, 1),
    },
    BenchCase {
        name: "3x3 stride 2 56x56x64-128",
        side: 56,
        channels: 64,
        work: 28 * 28 * 64 * 128 * 9,
        add: |builder, map| add_conv(builder, map, Some(128), 3, 2),
    },
    BenchCase {
        name: "1x1 28x28x128-256",
        side: 28,
        channels: 128,
        work: 28 * 28 * 128 * 256,
        add: |builder, map| add_conv(builder, map, Some(256), 1, 1),
    },
    BenchCase {
        name: "depthwise 5x5 28x28x240",
        side: 28,
        channels: 240,
        work: 28 * 28 * 240 * 25,
        add: |builder, map| add_conv(builder, map, None, 5, 1),
    },
    BenchCase {
        name: "first inverted residual 56x56x24-144",
        side: 56,
        channels: 24,
        work: 56 * 56 * 144 * (24 + 9 + 24),
        add: add_inverted_residual,
    },
    BenchCase {
        name: "later inverted residual 56x56x24-144",
        side: 56,
        channels: 24,
        work: 56 * 56 * 144 * (24 + 9 + 24),
        add: |builder, map| {
            let map = (0..2).fold(map, |map, _| add_conv(builder, map, None, 1, 1));
            add_inverted_residual(builder, map)
        },
    },
    BenchCase {
        name: "max pool 3x3 stride 2 112x112x64",
        side: 112,
        channels: 64,
        work: 56 * 56 * 64 * 9,
        add: |builder, BenchMap(map, channels)| {
            let pooled = builder.max_pool(map, [3, 3], [2, 2], [1; 4]);
            BenchMap(pooled.expect("the window fits"), channels)
        },
    },
    BenchCase {
        name: "average 7x7x1280",
        side: 7,
        channels: 1280,
        work: 7 * 7 * 1280,
        // Every program ends with it.
        add: |_, map| map,
    },
];

/// A query, and a batch of pictures.
const BATCHES: [usize; 2] = [1, 8];

fn measure(criterion: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.expect("a pool of one thread");
    for set in InstructionSet::ALL
        .into_iter()
        .filter(|set| set.is_supported())
    {
        let mut group = criterion.benchmark_group(set.name());
        group.sample_size(10);
        for case in &CASES {
            let program = build(set, case.side, case.channels, case.add);
            for batch in BATCHES {
                let pixels = vec![100_u8; batch * case.side * case.side * 3];
                group.throughput(Throughput::Elements((batch * case.work) as u64));
                group.bench_function(format!("{}, batch {batch}", case.name), |bencher| {
                    pool.install(|| bencher.iter(|| program.run_images(&pixels, batch)));
                });
            }
        }
    }
}

criterion_group!(benches, measure);
criterion_main!(benches);
