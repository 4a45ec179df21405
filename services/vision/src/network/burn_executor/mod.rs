//! Runs a graph on any device of burn. On the CPU (`flex`) it is the reference for all others.
//!
//! A map is a tensor of `[images, channels, height, width]`. The rows of all images or texts are one
//! tensor of `[images * rows, width]`, and only attention and the selection of rows separate them.

mod operations;
mod values;

use burn::tensor::Device;
use rayon::prelude::*;

pub(crate) use self::values::Precision;
use self::{
    operations::DeviceOperation,
    values::{DeviceValue, Sequences, TensorPlace},
};
use super::graph::{
    Graph, GraphNode,
    operations::{GraphOperation, GraphShape},
};

/// A graph with its weights on a device.
#[derive(Debug)]
pub(crate) struct BurnExecutor {
    steps: Vec<DeviceStep>,
    input: GraphInput,
    /// The step that computes the result.
    output: usize,
    place: TensorPlace,
}

#[derive(Debug)]
struct DeviceStep {
    operation: DeviceOperation,
    inputs: Vec<StepInput>,
}

#[derive(Debug)]
struct StepInput {
    /// The step that computed it.
    step: usize,
    /// Whether no later step reads it, so that its memory can be reused.
    is_last_read: bool,
}

#[derive(Debug)]
enum GraphInput {
    /// The value of each byte per channel, and the side of the images in pixels.
    Pixels {
        table: Box<[[f32; 256]; 3]>,
        side: usize,
    },
    TokenRows {
        width: usize,
        /// Whether rows can be appended to a text without a change of its result.
        may_pad: bool,
    },
}

impl BurnExecutor {
    /// Moves the weights to the device.
    pub(crate) fn new(graph: Graph, device: &Device, precision: Precision) -> Self {
        let place = TensorPlace {
            device: device.clone(),
            dtype: precision.dtype(),
        };
        let last_readers = find_last_readers(&graph);
        let input = GraphInput::of(graph.nodes());
        let output = graph.output().index();
        let shapes: Vec<GraphShape> = graph.nodes().iter().map(|node| node.shape).collect();
        let steps = graph
            .into_nodes()
            .into_iter()
            .enumerate()
            .map(|(i, node)| {
                let inputs = node
                    .inputs
                    .iter()
                    .enumerate()
                    .map(|(at, input)| StepInput {
                        step: input.index(),
                        // A step may read the same value twice.
                        is_last_read: last_readers[input.index()] == i
                            && !node.inputs[at + 1..].contains(input),
                    })
                    .collect();
                let input_shape = node.inputs.first().map(|input| shapes[input.index()]);
                DeviceStep {
                    operation: DeviceOperation::new(node.operation, input_shape, &place),
                    inputs,
                }
            })
            .collect();
        Self {
            steps,
            input,
            output,
            place,
        }
    }

    /// Runs an image network on `batch` images of `side * side * 3` bytes each. Returns one row per
    /// image.
    pub(crate) fn run_images(&self, pixels: &[u8], batch: usize) -> Vec<f32> {
        let GraphInput::Pixels { table, side } = &self.input else {
            unreachable!("an image network reads pixels");
        };
        let planes = to_planes(table, pixels, side * side);
        let input = self.place.tensor(planes, [batch, 3, *side, *side]);
        let sequences = Sequences {
            count: batch,
            lengths: None,
        };
        self.run(DeviceValue::Map(input), &sequences)
    }

    /// Runs a text network on the concatenated rows of texts with `lengths` rows each. Returns one row
    /// per text.
    pub(crate) fn run_tokens(&self, rows: &[f32], lengths: &[usize]) -> Vec<f32> {
        let GraphInput::TokenRows { width, may_pad } = self.input else {
            unreachable!("a text network reads rows");
        };
        let longest = lengths.iter().copied().max().unwrap_or(0);
        assert!(
            may_pad || lengths.iter().all(|length| *length == longest),
            "texts have equal lengths if all their rows depend on all others"
        );
        let mut padded = Vec::with_capacity(lengths.len() * longest * width);
        let mut rest = rows;
        for length in lengths {
            let (text, later) = rest.split_at(length * width);
            padded.extend_from_slice(text);
            padded.resize(padded.len() + (longest - length) * width, 0.0);
            rest = later;
        }
        let input = self.place.tensor(padded, [lengths.len() * longest, width]);
        let sequences = Sequences {
            count: lengths.len(),
            lengths: Some(lengths.to_vec()),
        };
        self.run(DeviceValue::Rows(input), &sequences)
    }

    /// Panics if the device fails, as all operations of burn do.
    fn run(&self, input: DeviceValue, sequences: &Sequences) -> Vec<f32> {
        let mut values: Vec<Option<DeviceValue>> = Vec::with_capacity(self.steps.len());
        let mut input = Some(input);
        for step in &self.steps {
            let mut inputs = step.inputs.iter().map(|input| {
                let value = &mut values[input.step];
                let value = if input.is_last_read {
                    value.take()
                } else {
                    value.clone()
                };
                value.expect("a value is kept until its last reader")
            });
            let value = match inputs.next() {
                Some(first) => step.operation.run(first, inputs.next(), sequences),
                None => input.take().expect("a graph has one input"),
            };
            values.push(Some(value));
        }
        values[self.output]
            .take()
            .expect("no step is the last reader of the output")
            .into_rows()
            .into_data()
            .convert::<f32>()
            .try_to_vec::<f32>()
            .unwrap_or_else(|error| panic!("cannot read the result from the device: {error:?}"))
    }
}

impl GraphInput {
    fn of(nodes: &[GraphNode]) -> Self {
        match nodes.first().map(|node| &node.operation) {
            Some(GraphOperation::Pixels { side, mean, std }) => Self::Pixels {
                table: Box::new(super::pixels::pixel_table(*mean, *std)),
                side: *side,
            },
            Some(GraphOperation::TokenRows { width, .. }) => Self::TokenRows {
                width: *width,
                may_pad: nodes.iter().all(|node| {
                    !matches!(
                        node.operation,
                        GraphOperation::Attention {
                            is_causal: false,
                            ..
                        } | GraphOperation::PooledAttention { .. }
                    )
                }),
            },
            _ => unreachable!("a graph begins with its input"),
        }
    }
}

/// Returns the last operation that reads the result of each operation; none for the output, which the
/// caller reads.
fn find_last_readers(graph: &Graph) -> Vec<usize> {
    let mut last_readers = vec![usize::MAX; graph.nodes().len()];
    for (i, node) in graph.nodes().iter().enumerate() {
        for input in &node.inputs {
            last_readers[input.index()] = i;
        }
    }
    last_readers[graph.output().index()] = usize::MAX;
    last_readers
}

/// Converts interleaved pixels to one plane of numbers per channel and image.
fn to_planes(table: &[[f32; 256]; 3], pixels: &[u8], points: usize) -> Vec<f32> {
    let mut planes = vec![0.0; pixels.len()];
    planes
        .par_chunks_exact_mut(points)
        .enumerate()
        .for_each(|(i, plane)| {
            let (image, channel) = (i / 3, i % 3);
            let bytes = pixels[image * points * 3 + channel..].iter().step_by(3);
            for (number, byte) in plane.iter_mut().zip(bytes) {
                *number = table[channel][usize::from(*byte)];
            }
        });
    planes
}
