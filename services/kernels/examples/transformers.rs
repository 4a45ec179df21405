//! Measures transformers with random weights.
//!
//! ```sh
//! cargo run --release -p lookalike-kernels --example transformers -- [network] [instruction set] [threads]
//! ```

use std::time::{Duration, Instant};

use lookalike_kernels::{
    ConvSpec, InstructionSet, KernelActivation, KernelProgram, ProgramBuilder, RowPlace, Value,
};

/// The sizes of a transformer.
struct TransformerSize {
    name: &'static str,
    /// The side of the images, and of their patches; 0 for texts.
    side: usize,
    patch: usize,
    /// Tokens before the patches, or the tokens of a text.
    prefix: usize,
    width: usize,
    depth: usize,
    heads: usize,
    mlp: usize,
    activation: KernelActivation,
    pooling: Pooling,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Pooling {
    FirstRow,
    /// With causal attention.
    LastRow,
    Query,
}

const SIZES: [TransformerSize; 5] = [
    TransformerSize {
        name: "vit-s16",
        side: 224,
        patch: 16,
        prefix: 1,
        width: 384,
        depth: 12,
        heads: 6,
        mlp: 1536,
        activation: KernelActivation::Gelu,
        pooling: Pooling::FirstRow,
    },
    TransformerSize {
        name: "dinov2-s14",
        side: 224,
        patch: 14,
        prefix: 5,
        width: 384,
        depth: 12,
        heads: 6,
        mlp: 1536,
        activation: KernelActivation::Gelu,
        pooling: Pooling::FirstRow,
    },
    TransformerSize {
        name: "clip-b32",
        side: 224,
        patch: 32,
        prefix: 1,
        width: 768,
        depth: 12,
        heads: 12,
        mlp: 3072,
        activation: KernelActivation::QuickGelu,
        pooling: Pooling::FirstRow,
    },
    TransformerSize {
        name: "siglip-b16",
        side: 224,
        patch: 16,
        prefix: 0,
        width: 768,
        depth: 12,
        heads: 12,
        mlp: 3072,
        activation: KernelActivation::GeluTanh,
        pooling: Pooling::Query,
    },
    TransformerSize {
        name: "clip-text",
        side: 0,
        patch: 0,
        prefix: 77,
        width: 512,
        depth: 12,
        heads: 8,
        mlp: 2048,
        activation: KernelActivation::QuickGelu,
        pooling: Pooling::LastRow,
    },
];

fn main() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments.next().unwrap_or_else(|| "vit-s16".to_owned());
    let set = match arguments.next() {
        Some(name) => name.parse()?,
        None => InstructionSet::detect(),
    };
    let threads = match arguments.next() {
        Some(count) => count
            .parse()
            .map_err(|e| format!("threads {count:?}: {e}"))?,
        None => 2,
    };
    let size = SIZES.iter().find(|size| size.name == wanted);
    let size = size.ok_or_else(|| {
        let names: Vec<_> = SIZES.iter().map(|size| size.name).collect();
        format!("no network {wanted:?}; use one of {}", names.join(", "))
    })?;
    let program = build_network(size, set)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| e.to_string())?;
    println!("{} with {} on {threads} threads", size.name, set.name());
    pool.install(|| {
        for batch in [1, 8] {
            measure_batch(size, &program, batch);
        }
    });
    Ok(())
}

fn measure_batch(size: &TransformerSize, program: &KernelProgram, batch: usize) {
    let mut random = SampleNumbers(7);
    let pixels: Vec<u8> = (0..batch * size.side * size.side * 3)
        .map(|_| (random.next_number() * 40.0 + 128.0) as u8)
        .collect();
    let rows = random.numbers(size.prefix * size.width, 1.0);
    let run = || match size.side {
        0 => {
            for _ in 0..batch {
                std::hint::black_box(program.run_tokens(&rows, size.prefix));
            }
        }
        _ => {
            std::hint::black_box(program.run_images(&pixels, batch));
        }
    };
    run();
    let start = Instant::now();
    let (mut best, mut runs) = (Duration::MAX, 0);
    while start.elapsed() < Duration::from_secs(4) {
        let before = Instant::now();
        run();
        best = best.min(before.elapsed());
        runs += 1;
    }
    println!(
        "batch {batch}: mean {:.2}, best {:.2} per second",
        (runs * batch) as f64 / start.elapsed().as_secs_f64(),
        batch as f64 / best.as_secs_f64()
    );
}

fn build_network(size: &TransformerSize, set: InstructionSet) -> Result<KernelProgram, String> {
    let mut builder = ProgramBuilder::new(set);
    let mut random = SampleNumbers(1);
    let width = size.width;
    let mut x = match size.side {
        0 => builder.token_rows(size.prefix, width),
        _ => embed_patches(&mut builder, &mut random, size)?,
    };
    for block in 0..size.depth {
        let is_last = block == size.depth - 1;
        x = add_block(&mut builder, &mut random, size, x, is_last)?;
    }
    let mut output = builder.layer_norm(x, &vec![1.0; width], &vec![0.0; width], 1e-6)?;
    if size.pooling == Pooling::Query {
        let both = add_linear(&mut builder, &mut random, output, (width, 2 * width), None)?;
        output = builder.pooled_attention(both, &random.numbers(width, 1.0), size.heads)?;
    }
    builder.finish(output)
}

fn embed_patches(
    builder: &mut ProgramBuilder,
    random: &mut SampleNumbers,
    size: &TransformerSize,
) -> Result<Value, String> {
    let table = std::array::from_fn(|_| std::array::from_fn(|i| i as f32 / 127.5 - 1.0));
    let pixels = builder.pixels(size.side, size.side, &table);
    let inputs = 3 * size.patch * size.patch;
    let weight = random.numbers(size.width * inputs, (inputs as f32).powf(-0.5));
    let map = builder.conv(
        pixels,
        &ConvSpec {
            weight: &weight,
            bias: &vec![0.0; size.width],
            outputs: size.width,
            kernel: [size.patch; 2],
            stride: [size.patch; 2],
            padding: [0; 4],
            groups: 1,
            activation: KernelActivation::None,
            residual: None,
        },
    )?;
    let patches = (size.side / size.patch).pow(2);
    builder.tokens(
        map,
        &random.numbers(size.prefix * size.width, 1.0),
        &random.numbers(patches * size.width, 0.1),
    )
}

fn add_block(
    builder: &mut ProgramBuilder,
    random: &mut SampleNumbers,
    size: &TransformerSize,
    mut x: Value,
    is_last: bool,
) -> Result<Value, String> {
    let width = size.width;
    let (gamma, beta) = (vec![1.0; width], vec![0.0; width]);
    let normed = builder.layer_norm(x, &gamma, &beta, 1e-6)?;
    let qkv = add_linear(builder, random, normed, (width, 3 * width), None)?;
    let is_causal = size.pooling == Pooling::LastRow;
    let mut attended = builder.attention(qkv, size.heads, is_causal)?;
    let place = match size.pooling {
        Pooling::FirstRow => Some(RowPlace::First),
        Pooling::LastRow => Some(RowPlace::Last),
        Pooling::Query => None,
    };
    // After the last attention, the rows do not depend on each other.
    if let Some(place) = place.filter(|_| is_last) {
        attended = builder.select_row(attended, place)?;
        x = builder.select_row(x, place)?;
    }
    let x = add_linear(builder, random, attended, (width, width), Some(x))?;
    let normed = builder.layer_norm(x, &gamma, &beta, 1e-6)?;
    let weight = random.numbers(size.mlp * width, (width as f32).powf(-0.5));
    let bias = vec![0.0; size.mlp];
    let wide = builder.linear(normed, &weight, &bias, size.mlp, size.activation, None)?;
    add_linear(builder, random, wide, (size.mlp, width), Some(x))
}

fn add_linear(
    builder: &mut ProgramBuilder,
    random: &mut SampleNumbers,
    input: Value,
    (inputs, outputs): (usize, usize),
    residual: Option<Value>,
) -> Result<Value, String> {
    let weight = random.numbers(inputs * outputs, 0.5 * (inputs as f32).powf(-0.5));
    let bias = vec![0.0; outputs];
    builder.linear(
        input,
        &weight,
        &bias,
        outputs,
        KernelActivation::None,
        residual,
    )
}

/// SampleNumbers numbers after Vigna's SplitMix64.
struct SampleNumbers(u64);

impl SampleNumbers {
    /// Returns a number with the mean 0 and the variance 1.
    fn next_number(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        ((bits >> 40) as f32 / (1u32 << 23) as f32 - 1.0) * 3f32.sqrt()
    }

    fn numbers(&mut self, count: usize, deviation: f32) -> Vec<f32> {
        (0..count).map(|_| self.next_number() * deviation).collect()
    }
}
