//! Measures the layers of transformers on one thread: `cargo bench --bench transformers`.
//!
//! The times contain the copies of the input rows and of the output.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lookalike_kernels::{InstructionSet, KernelActivation, KernelProgram, ProgramBuilder, Value};

/// Tokens and width of ViT-S/16.
const TOKENS: usize = 197;
const WIDTH: usize = 384;

/// Numbers between -1 and 1, the same in each run.
fn numbers(count: usize) -> Vec<f32> {
    let place = |i: usize| (i as f32 * 0.618_034).fract() * 2.0 - 1.0;
    (0..count).map(place).collect()
}

/// Builds a program of one layer for `tokens` rows of `width` numbers.
fn build(
    set: InstructionSet,
    (tokens, width): (usize, usize),
    add: impl FnOnce(&mut ProgramBuilder, Value) -> Result<Value, String>,
) -> KernelProgram {
    let mut builder = ProgramBuilder::new(set);
    let rows = builder.token_rows(tokens, width);
    let output = add(&mut builder, rows).expect("the shapes fit");
    builder.finish(output).expect("the program has an input")
}

/// Measures a program with a throughput of `products` multiplications.
fn measure(
    criterion: &mut Criterion,
    name: &str,
    (tokens, width): (usize, usize),
    products: usize,
    program_of: impl Fn(InstructionSet) -> KernelProgram,
) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.expect("a thread can be started");
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(products as u64));
    let rows = numbers(tokens * width);
    for set in InstructionSet::ALL {
        if !set.is_supported() {
            continue;
        }
        let program = program_of(set);
        group.bench_function(set.name(), |bencher| {
            pool.install(|| bencher.iter(|| program.run_tokens(black_box(&rows), tokens)));
        });
    }
    group.finish();
}

fn measure_attention(criterion: &mut Criterion) {
    for (name, tokens, heads, head_width, is_causal) in [
        ("attention of 197 tokens", TOKENS, 6, 64, false),
        ("attention of 50 tokens", 50, 12, 64, false),
        ("causal attention of 77 tokens", 77, 8, 64, true),
        ("attention of 1025 tokens", 1025, 6, 64, false),
    ] {
        let size = (tokens, 3 * heads * head_width);
        let products = 2 * tokens * tokens * heads * head_width;
        measure(criterion, name, size, products, |set| {
            build(set, size, |builder, rows| {
                builder.attention(rows, heads, is_causal)
            })
        });
    }
}

fn measure_pooled_attention(criterion: &mut Criterion) {
    let (tokens, width) = (196, 768);
    let size = (tokens, 2 * width);
    let query = numbers(width);
    measure(
        criterion,
        "pooled attention of 196 tokens",
        size,
        2 * tokens * width,
        |set| {
            build(set, size, |builder, rows| {
                builder.pooled_attention(rows, &query, 12)
            })
        },
    );
}

fn measure_layer_norm(criterion: &mut Criterion) {
    let size = (TOKENS, WIDTH);
    measure(criterion, "layer norm", size, TOKENS * WIDTH, |set| {
        build(set, size, |builder, rows| {
            builder.layer_norm(rows, &[1.0; WIDTH], &[0.0; WIDTH], 1e-6)
        })
    });
}

fn measure_linear(criterion: &mut Criterion) {
    for (name, inputs, outputs, activation) in [
        ("linear 384 to 1536", WIDTH, 1536, KernelActivation::None),
        (
            "linear 384 to 1536 with GELU",
            WIDTH,
            1536,
            KernelActivation::Gelu,
        ),
        (
            "linear 384 to 1536 with tanh GELU",
            WIDTH,
            1536,
            KernelActivation::GeluTanh,
        ),
        (
            "linear 384 to 1536 with quick GELU",
            WIDTH,
            1536,
            KernelActivation::QuickGelu,
        ),
        ("linear 1536 to 384", 1536, WIDTH, KernelActivation::None),
    ] {
        let size = (TOKENS, inputs);
        let products = TOKENS * inputs * outputs;
        let weight = numbers(inputs * outputs);
        measure(criterion, name, size, products, |set| {
            build(set, size, |builder, rows| {
                builder.linear(rows, &weight, &[], outputs, activation, None)
            })
        });
    }
}

criterion_group! {
    name = layers;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = measure_attention, measure_pooled_attention, measure_layer_norm, measure_linear
}
criterion_main!(layers);
