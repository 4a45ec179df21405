//! Accuracy of the first blocks of a network, whose rounding errors all later layers would multiply.

use super::tests::supported_sets;
use super::*;
use crate::{InstructionSet, KernelActivation};

const SIDE: usize = 40;

/// Builds a network of convolutions with `CHANNELS` channels.
struct BlockBuilder {
    builder: ProgramBuilder,
    map: Value,
    side: usize,
}

const CHANNELS: usize = 16;

impl BlockBuilder {
    /// Starts with channels between −1 and 1.
    fn new(set: InstructionSet) -> Self {
        let mut builder = ProgramBuilder::new(set);
        let table = [std::array::from_fn(|byte| (byte as f32 - 128.0) / 128.0); 3];
        let map = builder.pixels(SIDE, SIDE, &table);
        Self {
            builder,
            map,
            side: SIDE,
        }
    }

    fn conv(&mut self, weight: &[f32], bias: f32, size: usize, groups: usize) {
        let spec = ConvSpec {
            weight,
            bias: &[bias; CHANNELS],
            outputs: CHANNELS,
            kernel: [size, size],
            stride: [1, 1],
            // Zeros next to large numbers would be large differences.
            padding: [0; 4],
            groups,
            activation: KernelActivation::None,
            residual: None,
        };
        self.map = self.builder.conv(self.map, &spec).unwrap();
        self.side -= size - 1;
    }

    fn pointwise(&mut self, inputs: usize, bias: f32, weight: impl Fn(usize, usize) -> f32) {
        let weight = (0..CHANNELS * inputs).map(|i| weight(i / inputs, i % inputs));
        self.conv(&weight.collect::<Vec<_>>(), bias, 1, 1);
    }

    fn depthwise(&mut self, filter: [f32; 9]) {
        self.conv(&filter.repeat(CHANNELS), 0.0, 3, CHANNELS);
    }

    fn run(mut self) -> Vec<f32> {
        let positions = vec![0.0; self.side * self.side * CHANNELS];
        let rows = self.builder.tokens(self.map, &[], &positions).unwrap();
        let program = self.builder.finish(rows).unwrap();
        let pixels: Vec<u8> = (0..SIDE * SIDE * 3).map(|i| (i * i % 251) as u8).collect();
        program.run_images(&pixels, 1)
    }
}

/// The filter of a depthwise convolution that copies its input.
const COPY: [f32; 9] = [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];

/// Returns the largest error relative to the largest number.
fn measure_error(actual: &[f32], expected: &[f32]) -> f32 {
    let largest = |numbers: &mut dyn Iterator<Item = f32>| numbers.fold(0.0, f32::max);
    let scale = largest(&mut expected.iter().map(|number| number.abs()));
    let differences = actual.iter().zip(expected).map(|(a, b)| (a - b).abs());
    largest(&mut differences.into_iter()) / scale
}

fn check_on_all_sets(name: &str, build: impl Fn(&mut BlockBuilder)) {
    let run = |set| {
        let mut network = BlockBuilder::new(set);
        build(&mut network);
        network.run()
    };
    let expected = run(InstructionSet::Portable);
    for set in supported_sets() {
        let error = measure_error(&run(set), &expected);
        assert!(error < 0.01, "{name} on {set}: {error}");
    }
}

/// With rounded maps, the error is 0.3 and more.
#[test]
fn the_first_depthwise_convolutions_keep_small_differences_of_large_numbers() {
    for blocks_before in 0..2 {
        let name = format!("depthwise convolution {}", blocks_before + 1);
        check_on_all_sets(&name, |network| {
            let mut inputs = 3;
            for _ in 0..blocks_before {
                network.pointwise(inputs, 0.0, |output, input| {
                    ((output + input) % 3) as f32 - 1.0
                });
                network.depthwise(COPY);
                network.pointwise(CHANNELS, 0.0, |output, input| {
                    f32::from(u8::from(output == input))
                });
                inputs = CHANNELS;
            }
            network.pointwise(inputs, 5.0, |output, input| {
                0.01 * ((output + 2 * input) % 5) as f32 - 0.02
            });
            network.depthwise([0.0, 0.0, 0.0, -32.0, 0.0, 32.0, 0.0, 0.0, 0.0]);
            network.pointwise(CHANNELS, 0.0, |output, input| {
                f32::from(u8::from(output == input))
            });
        });
    }
}

/// With rounded weights, all results are 0.
#[test]
fn the_first_projections_keep_small_differences_of_weights() {
    check_on_all_sets("projection", |network| {
        network.pointwise(3, 3.0, |_, input| f32::from(u8::from(input == 0)));
        network.depthwise(COPY);
        network.pointwise(CHANNELS, 0.0, |output, input| match input {
            0 => 1.001,
            1 if output % 2 == 0 => -1.0,
            _ => 0.0,
        });
        let difference = |output, input| match (output, input) {
            (0, 0) => 1.0,
            _ => 0.0,
        };
        network.pointwise(CHANNELS, 0.0, difference);
    });
}
