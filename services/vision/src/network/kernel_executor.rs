//! Runs a graph on the CPU with our own kernels.

use lookalike_kernels::{
    ConvSpec, InstructionSet, KernelActivation, KernelProgram, ProgramBuilder, RowPlace, Value,
};

use super::{
    graph::{
        Graph, GraphNode,
        operations::{
            ConvOperation, GraphOperation, LayerNormOperation, LinearOperation, RowPosition,
            WindowPadding,
        },
    },
    pixels::pixel_table,
};
use crate::model::towers::Activation;

/// A graph compiled for an instruction set.
pub(super) struct KernelExecutor {
    program: KernelProgram,
    /// Numbers of a row of a text.
    row_width: usize,
}

impl std::fmt::Debug for KernelExecutor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("KernelExecutor")
            .field("instruction_set", &self.program.instruction_set())
            .finish_non_exhaustive()
    }
}

impl KernelExecutor {
    /// Compiles the graph.
    ///
    /// # Errors
    /// Fails if the graph has an operation that the kernels lack. All graphs of our architectures
    /// can be compiled once the passes have run.
    pub(super) fn new(graph: Graph, set: InstructionSet) -> Result<Self, String> {
        let output = graph.output().index();
        let mut builder = ProgramBuilder::new(set);
        let mut values: Vec<Value> = Vec::with_capacity(graph.nodes().len());
        let mut row_width = 0;
        for node in graph.into_nodes() {
            if let GraphOperation::TokenRows { width, .. } = node.operation {
                row_width = width;
            }
            let inputs: Vec<Value> = node.inputs.iter().map(|id| values[id.index()]).collect();
            // The node and its weights are dropped here, so that large weights are not in memory
            // twice.
            let value = append_operation(&mut builder, &node, &inputs)
                .map_err(|problem| format!("{}: {problem}", node.name))?;
            values.push(value);
        }
        Ok(Self {
            program: builder.finish(values[output])?,
            row_width,
        })
    }

    /// Runs an image network on `batch` images. Returns one row per image.
    pub(super) fn run_images(&self, pixels: &[u8], batch: usize) -> Vec<f32> {
        self.program.run_images(pixels, batch)
    }

    /// Runs a text network on the concatenated rows of texts with `lengths` rows each. Returns one row
    /// per text.
    pub(super) fn run_tokens(&self, rows: &[f32], lengths: &[usize]) -> Vec<f32> {
        let mut vectors = Vec::new();
        let mut rest = rows;
        for length in lengths {
            let (text, later) = rest.split_at(length * self.row_width);
            vectors.extend(self.program.run_tokens(text, *length));
            rest = later;
        }
        vectors
    }
}

fn append_operation(
    builder: &mut ProgramBuilder,
    node: &GraphNode,
    inputs: &[Value],
) -> Result<Value, String> {
    match (&node.operation, inputs) {
        (GraphOperation::Pixels { side, mean, std }, []) => {
            Ok(builder.pixels(*side, *side, &pixel_table(*mean, *std)))
        }
        (GraphOperation::TokenRows { max_rows, width }, []) => {
            Ok(builder.token_rows(*max_rows, *width))
        }
        (GraphOperation::Conv(conv), [input, residual @ ..]) => {
            append_conv(builder, conv, *input, residual.first().copied())
        }
        (GraphOperation::Linear(linear), [input, residual @ ..]) => {
            let LinearOperation {
                weight,
                bias,
                outputs,
                activation,
            } = linear;
            let activation = to_kernel_activation(*activation);
            let residual = residual.first().copied();
            builder.linear(*input, weight, bias, *outputs, activation, residual)
        }
        (GraphOperation::MaxPool(window), [input]) => builder.max_pool(
            *input,
            [window.kernel; 2],
            [window.stride; 2],
            to_padding(window.padding),
        ),
        (GraphOperation::GlobalAverage, [input]) => builder.global_average(*input),
        (GraphOperation::Tokens { prefix, positions }, [input]) => {
            builder.tokens(*input, prefix, positions)
        }
        (GraphOperation::LayerNorm(norm), [input]) => {
            let LayerNormOperation {
                gamma,
                beta,
                epsilon,
            } = norm;
            builder.layer_norm(*input, gamma, beta, *epsilon as f32)
        }
        (GraphOperation::Attention { heads, is_causal }, [input]) => {
            builder.attention(*input, *heads, *is_causal)
        }
        (GraphOperation::PooledAttention { query, heads }, [input]) => {
            builder.pooled_attention(*input, query, *heads)
        }
        (GraphOperation::SelectRow(position), [input]) => {
            let place = match position {
                RowPosition::First => RowPlace::First,
                RowPosition::Last => RowPlace::Last,
            };
            builder.select_row(*input, place)
        }
        _ => Err(
            "the kernels compute this only as a part of a convolution or a linear layer".to_owned(),
        ),
    }
}

fn append_conv(
    builder: &mut ProgramBuilder,
    conv: &ConvOperation,
    input: Value,
    residual: Option<Value>,
) -> Result<Value, String> {
    builder.conv(
        input,
        &ConvSpec {
            weight: &conv.weight,
            bias: &conv.bias,
            outputs: conv.outputs,
            kernel: [conv.window.kernel; 2],
            stride: [conv.window.stride; 2],
            padding: to_padding(conv.window.padding),
            groups: conv.groups,
            activation: to_kernel_activation(conv.activation),
            residual,
        },
    )
}

fn to_padding(padding: WindowPadding) -> [usize; 4] {
    [padding.top, padding.left, padding.bottom, padding.right]
}

fn to_kernel_activation(activation: Option<Activation>) -> KernelActivation {
    match activation {
        None => KernelActivation::None,
        Some(Activation::Relu) => KernelActivation::Relu,
        Some(Activation::Relu6) => KernelActivation::Relu6,
        Some(Activation::Gelu) => KernelActivation::Gelu,
        Some(Activation::GeluTanh) => KernelActivation::GeluTanh,
        Some(Activation::QuickGelu) => KernelActivation::QuickGelu,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::weights::Weights,
        network::graph::{builder::GraphBuilder, operations::SlidingWindow},
    };

    #[test]
    fn an_operation_without_a_kernel_is_named() {
        let weights = Weights::by_formula(|_, shape| vec![0.5; shape.iter().product()]);
        let mut builder = GraphBuilder::new(&weights);
        let input = builder.pixels(8, [0.5; 3], [0.5; 3]).unwrap();
        let map = builder
            .conv(input, "conv", 4, SlidingWindow::padded(3, 1))
            .unwrap();
        // The convolution has two readers, so the norm cannot be folded into it.
        let normed = builder.batch_norm(map, "norm", 1e-5).unwrap();
        let sum = builder.add(map, normed).unwrap();
        let row = builder.global_average(sum).unwrap();
        let graph = builder.finish(row).unwrap();
        let error = KernelExecutor::new(graph, InstructionSet::Portable).unwrap_err();
        assert!(error.starts_with("norm: the kernels"), "{error}");
    }
}
