//! Convolutional programs against plain loops.

use super::tests::{Both, Pair, supported_sets};
use super::*;
use crate::random::TestNumbers;
use crate::{InstructionSet, KernelActivation};

/// Chooses one of the values.
fn choose<T: Copy>(random: &mut TestNumbers, values: &[T]) -> T {
    values[random.below(values.len())]
}

const ACTIVATIONS: [KernelActivation; 4] = [
    KernelActivation::None,
    KernelActivation::Relu,
    KernelActivation::Relu6,
    KernelActivation::GeluTanh,
];

/// Miri is several hundred times slower.
const CASES: u64 = if cfg!(miri) { 1 } else { 12 };

const MAX_CHANNELS: usize = if cfg!(miri) { 6 } else { 90 };

#[test]
fn convolutions_equal_plain_loops() {
    for set in supported_sets() {
        for seed in 0..CASES {
            let mut random = TestNumbers::new(seed + 100);
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
            let mut random = TestNumbers::new(seed + 200);
            let r = &mut random;
            let (mut pair, input) =
                Pair::new(set, seed, 9 + r.below(9), 9 + r.below(12), 1 + r.below(3));
            let channels = 1 + r.below(MAX_CHANNELS);
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

/// The convolution between two depthwise ones ends the first block, so it cannot also start the second.
#[test]
fn blocks_in_a_row_equal_plain_loops() {
    for set in supported_sets() {
        let (mut pair, input) = Pair::new(set, 7, 60, 50, 2);
        let pointwise = |pair: &mut Pair, from: &Both, outputs: usize| {
            let relu = KernelActivation::Relu;
            pair.conv(from, outputs, [1, 1], [1, 1], [0; 4], false, relu, None)
        };
        let mut map = pointwise(&mut pair, &input, 32);
        for _ in 0..3 {
            let relu6 = KernelActivation::Relu6;
            let filtered = pair.conv(&map, 32, [3, 3], [1, 1], [1; 4], true, relu6, None);
            map = pointwise(&mut pair, &filtered, 32);
        }
        let output = pair.rows(&map);
        pair.check(&output, "depthwise and pointwise convolutions in turn");
    }
}

#[test]
fn sizes_that_could_overflow_are_refused() {
    let table = [[0.0; 256]; 3];
    let mut builder = ProgramBuilder::new(InstructionSet::Portable);
    let pixels = builder.pixels(8, 8, &table);
    let spec = ConvSpec {
        weight: &[0.0; 3],
        bias: &[],
        outputs: 1,
        kernel: [1, 1],
        stride: [1, 1],
        padding: [usize::MAX, 0, 1, 0],
        groups: 1,
        activation: KernelActivation::None,
        residual: None,
    };
    assert!(
        builder
            .conv(pixels, &spec)
            .unwrap_err()
            .contains("too large")
    );
    let mut builder = ProgramBuilder::new(InstructionSet::Portable);
    let rows = builder.token_rows(4, 0);
    assert!(builder.finish(rows).is_err());
}

#[test]
fn streamed_blocks_equal_plain_loops() {
    for set in supported_sets() {
        for seed in 0..CASES {
            let mut random = TestNumbers::new(seed + 300);
            let r = &mut random;
            let (height, width) = (20 + r.below(20), 20 + r.below(20));
            let (mut pair, input) = Pair::new(set, seed, height, width, 1 + r.below(3));
            let channels = choose(r, &[8, 24, 33]);
            let mut start = pair.conv(
                &input,
                channels,
                [1, 1],
                [1, 1],
                [0; 4],
                false,
                KernelActivation::None,
                None,
            );
            // The expanded map is f32 only in the first blocks.
            let is_late = seed % 2 == 0;
            for _ in 0..if is_late { 2 } else { 0 } {
                let none = KernelActivation::None;
                start = pair.conv(&start, channels, [3, 3], [1, 1], [1; 4], true, none, None);
            }
            // Large enough to be streamed.
            let wide = (1 << 16) / (height * width) + 1 + r.below(10);
            let expanded = match r.below(3) {
                0 => pair.conv(
                    if is_late { &start } else { &input },
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
            let mut random = TestNumbers::new(seed + 400);
            let r = &mut random;
            let (mut pair, input) =
                Pair::new(set, seed, 9 + r.below(9), 9 + r.below(12), 1 + r.below(3));
            let channels = 1 + r.below(MAX_CHANNELS);
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
                let hidden = pair.linear(&rows, 1 + r.below(MAX_CHANNELS), activation, None);
                let output = pair.linear(&hidden, channels, KernelActivation::None, Some(&rows));
                pair.check(&output, &format!("linear {seed}"));
            } else {
                let average = pair.global_average(&pooled);
                let output = pair.linear(
                    &average,
                    1 + r.below(MAX_CHANNELS),
                    choose(r, &ACTIVATIONS),
                    None,
                );
                pair.check(&output, &format!("average {seed}"));
            }
        }
    }
}

/// The lines of a patch follow each other without padding between the pixels.
#[test]
fn convolutions_of_patches_equal_plain_loops() {
    for set in supported_sets() {
        let mut random = TestNumbers::new(700);
        let r = &mut random;
        let mut shapes = vec![(16, [2, 3], 2, 70), (14, [2, 3], 2, 70)];
        shapes.extend((0..6).map(|_| {
            let size = 2 + r.below(18);
            let patches = [1 + r.below(4), 1 + r.below(4)];
            (size, patches, 1 + r.below(3), 1 + r.below(100))
        }));
        for (seed, (size, [rows, columns], batch, channels)) in shapes.into_iter().enumerate() {
            let (height, width) = (rows * size, columns * size);
            let (mut pair, input) = Pair::new(set, seed as u64, height, width, batch);
            let none = KernelActivation::None;
            let sides = [size, size];
            let output = pair.conv(&input, channels, sides, sides, [0; 4], false, none, None);
            let output = pair.rows(&output);
            pair.check(&output, &format!("patches of {size}"));
        }
    }
}

#[test]
fn winograd_convolutions_equal_plain_loops() {
    for set in supported_sets() {
        for seed in 0..CASES {
            let mut random = TestNumbers::new(seed + 500);
            let r = &mut random;
            // Maps for small and for large tiles.
            let least = choose(r, &[8, 16]);
            let (height, width) = (least + r.below(10), least + r.below(12));
            let (mut pair, input) = Pair::new(set, seed, height, width, 1 + r.below(3));
            let channels = 32 + r.below(40);
            let none = KernelActivation::None;
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
            let outputs = choose(r, &[32, 47, 64, 100]);
            let padding = [r.below(2) * 2, 1, 0, 1];
            let activation = choose(r, &ACTIVATIONS);
            let second = pair.conv(
                &first,
                outputs,
                [3, 3],
                [1, 1],
                padding,
                false,
                activation,
                None,
            );
            let residual = pair.conv(&second, outputs, [1, 1], [1, 1], [0; 4], false, none, None);
            let third = pair.conv(
                &second,
                outputs,
                [3, 3],
                [1, 1],
                [1; 4],
                false,
                activation,
                Some(&residual),
            );
            let output = pair.rows(&third);
            pair.check(&output, &format!("winograd {seed}"));
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
