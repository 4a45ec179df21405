//! Builds a graph from the weights of a model, operation by operation.
//!
//! Every method appends one operation and returns it, to be read by later ones. The shape of an input
//! decides which shapes the weights must have. All methods fail with one line that names a tensor if it
//! is missing, has another shape or is not finite.

use super::{
    Graph, NodeId, not_finite,
    operations::{
        ConvOperation, GraphOperation, GraphShape, LayerNormOperation, LinearOperation,
        RowPosition, ScaleOperation, SlidingWindow,
    },
    passes,
};
use crate::model::{towers::Activation, weights::Weights};

#[derive(Debug)]
pub(crate) struct GraphBuilder<'a> {
    weights: &'a Weights,
    graph: Graph,
}

impl<'a> GraphBuilder<'a> {
    pub(crate) fn new(weights: &'a Weights) -> Self {
        Self {
            weights,
            graph: Graph::default(),
        }
    }

    /// Returns the weights, for tensors that are changed before they become part of an operation.
    pub(crate) fn weights(&self) -> &'a Weights {
        self.weights
    }

    pub(crate) fn shape(&self, id: NodeId) -> GraphShape {
        self.graph.shape(id)
    }

    /// Returns the number of channels of a map or of columns of rows.
    pub(crate) fn columns(&self, id: NodeId) -> usize {
        self.graph.shape(id).columns()
    }

    /// The input of an image network.
    pub(crate) fn pixels(
        &mut self,
        side: usize,
        mean: [f32; 3],
        std: [f32; 3],
    ) -> Result<NodeId, String> {
        let operation = GraphOperation::Pixels { side, mean, std };
        self.graph.push("the input", operation, Vec::new())
    }

    /// The input of a text network: at most `max_rows` rows.
    pub(crate) fn token_rows(&mut self, max_rows: usize, width: usize) -> Result<NodeId, String> {
        let operation = GraphOperation::TokenRows { max_rows, width };
        self.graph.push("the input", operation, Vec::new())
    }

    /// A convolution with `name.weight` and without a bias.
    pub(crate) fn conv(
        &mut self,
        input: NodeId,
        name: &str,
        outputs: usize,
        window: SlidingWindow,
    ) -> Result<NodeId, String> {
        self.push_conv(input, name, outputs, 1, window, vec![0.0; outputs])
    }

    /// A convolution with `name.weight` and `name.bias`.
    pub(crate) fn conv_with_bias(
        &mut self,
        input: NodeId,
        name: &str,
        outputs: usize,
        window: SlidingWindow,
    ) -> Result<NodeId, String> {
        let bias = self.read(name, "bias", &[outputs])?;
        self.push_conv(input, name, outputs, 1, window, bias)
    }

    /// A convolution that filters each channel on its own, with `name.weight` and without a bias.
    pub(crate) fn depthwise_conv(
        &mut self,
        input: NodeId,
        name: &str,
        window: SlidingWindow,
    ) -> Result<NodeId, String> {
        let channels = self.columns(input);
        self.push_conv(input, name, channels, channels, window, vec![0.0; channels])
    }

    /// Sums the points of a square map with these weights, the same for every channel: a map of one
    /// point. `name` is for errors.
    pub(crate) fn whole_map_filter(
        &mut self,
        input: NodeId,
        name: &str,
        weight: &[f32],
    ) -> Result<NodeId, String> {
        let channels = self.columns(input);
        let operation = GraphOperation::Conv(ConvOperation {
            weight: weight.repeat(channels),
            bias: vec![0.0; channels],
            outputs: channels,
            groups: channels,
            window: SlidingWindow::without_padding(weight.len().isqrt(), 1),
            activation: None,
        });
        self.graph.push(name, operation, vec![input])
    }

    fn push_conv(
        &mut self,
        input: NodeId,
        name: &str,
        outputs: usize,
        groups: usize,
        window: SlidingWindow,
        bias: Vec<f32>,
    ) -> Result<NodeId, String> {
        let inputs = self.columns(input) / groups;
        let shape = [outputs, inputs, window.kernel, window.kernel];
        let operation = GraphOperation::Conv(ConvOperation {
            weight: self.read(name, "weight", &shape)?,
            bias,
            outputs,
            groups,
            window,
            activation: None,
        });
        self.graph.push(name, operation, vec![input])
    }

    /// A batch norm with the statistics of training, `name.{weight,bias,running_mean,running_var}`:
    /// `x · γ/√(σ²+ε) + β − μ · γ/√(σ²+ε)`.
    pub(crate) fn batch_norm(
        &mut self,
        input: NodeId,
        name: &str,
        epsilon: f64,
    ) -> Result<NodeId, String> {
        let channels = [self.columns(input)];
        let gamma = self.read(name, "weight", &channels)?;
        let beta = self.read(name, "bias", &channels)?;
        let mean = self.read(name, "running_mean", &channels)?;
        let variance = self.read(name, "running_var", &channels)?;
        let scale: Vec<f64> = gamma
            .iter()
            .zip(&variance)
            .map(|(gamma, variance)| f64::from(*gamma) / (f64::from(*variance) + epsilon).sqrt())
            .collect();
        let shift = beta
            .iter()
            .zip(&mean)
            .zip(&scale)
            .map(|((beta, mean), scale)| f64::from(*beta) - f64::from(*mean) * scale)
            .collect();
        let operation = GraphOperation::Scale(ScaleOperation { scale, shift });
        self.graph.push(name, operation, vec![input])
    }

    /// Multiplies each column of rows by its number in the tensor `name`.
    pub(crate) fn layer_scale(&mut self, input: NodeId, name: &str) -> Result<NodeId, String> {
        let columns = self.columns(input);
        let factors = self.weights.read_tensor(name, &[columns])?;
        let operation = GraphOperation::Scale(ScaleOperation {
            scale: factors.iter().map(|factor| f64::from(*factor)).collect(),
            shift: vec![0.0; columns],
        });
        self.graph.push(name, operation, vec![input])
    }

    pub(crate) fn activation(
        &mut self,
        input: NodeId,
        activation: Activation,
    ) -> Result<NodeId, String> {
        let operation = GraphOperation::Activation(activation);
        self.graph.push("an activation", operation, vec![input])
    }

    pub(crate) fn add(&mut self, first: NodeId, second: NodeId) -> Result<NodeId, String> {
        self.graph
            .push("a sum", GraphOperation::Add, vec![first, second])
    }

    pub(crate) fn max_pool(
        &mut self,
        input: NodeId,
        window: SlidingWindow,
    ) -> Result<NodeId, String> {
        self.graph
            .push("pooling", GraphOperation::MaxPool(window), vec![input])
    }

    pub(crate) fn global_average(&mut self, input: NodeId) -> Result<NodeId, String> {
        self.graph
            .push("the average", GraphOperation::GlobalAverage, vec![input])
    }

    /// Converts a map to rows; `name` is that of the positions, for errors.
    pub(crate) fn tokens(
        &mut self,
        input: NodeId,
        name: &str,
        prefix: Vec<f32>,
        positions: Vec<f32>,
    ) -> Result<NodeId, String> {
        let operation = GraphOperation::Tokens { prefix, positions };
        self.graph.push(name, operation, vec![input])
    }

    /// A linear layer with `name.weight` and `name.bias`.
    pub(crate) fn linear(
        &mut self,
        input: NodeId,
        name: &str,
        outputs: usize,
    ) -> Result<NodeId, String> {
        self.joined_linear(input, &[name.to_owned()], outputs)
    }

    /// A linear layer with `name.weight` only.
    pub(crate) fn linear_without_bias(
        &mut self,
        input: NodeId,
        name: &str,
        outputs: usize,
    ) -> Result<NodeId, String> {
        let weight = self.read(name, "weight", &[outputs, self.columns(input)])?;
        self.linear_of(input, name, weight, vec![0.0; outputs])
    }

    /// Several linear layers with the same input and `outputs` each, whose results are concatenated.
    pub(crate) fn joined_linear(
        &mut self,
        input: NodeId,
        names: &[String],
        outputs: usize,
    ) -> Result<NodeId, String> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            bias.extend(self.read(name, "bias", &[outputs])?);
            weight.extend(self.read(name, "weight", &[outputs, self.columns(input)])?);
        }
        self.linear_of(input, &names.join(" with "), weight, bias)
    }

    /// A linear layer with this weight, `[outputs, inputs]`, and a bias of `outputs` numbers; `name` is
    /// for errors.
    pub(crate) fn linear_of(
        &mut self,
        input: NodeId,
        name: &str,
        weight: Vec<f32>,
        bias: Vec<f32>,
    ) -> Result<NodeId, String> {
        let operation = GraphOperation::Linear(LinearOperation {
            outputs: bias.len(),
            weight,
            bias,
            activation: None,
        });
        self.graph.push(name, operation, vec![input])
    }

    /// A layer norm with `name.weight` and `name.bias`.
    pub(crate) fn layer_norm(
        &mut self,
        input: NodeId,
        name: &str,
        epsilon: f64,
    ) -> Result<NodeId, String> {
        let width = [self.columns(input)];
        let operation = GraphOperation::LayerNorm(LayerNormOperation {
            gamma: self.read(name, "weight", &width)?,
            beta: self.read(name, "bias", &width)?,
            epsilon,
        });
        self.graph.push(name, operation, vec![input])
    }

    pub(crate) fn attention(
        &mut self,
        input: NodeId,
        heads: usize,
        is_causal: bool,
    ) -> Result<NodeId, String> {
        let operation = GraphOperation::Attention { heads, is_causal };
        self.graph.push("attention", operation, vec![input])
    }

    /// Attention of one query to all rows; `name` is that of the query, for errors.
    pub(crate) fn pooled_attention(
        &mut self,
        input: NodeId,
        name: &str,
        query: Vec<f32>,
        heads: usize,
    ) -> Result<NodeId, String> {
        let operation = GraphOperation::PooledAttention { query, heads };
        self.graph.push(name, operation, vec![input])
    }

    pub(crate) fn select_row(
        &mut self,
        input: NodeId,
        position: RowPosition,
    ) -> Result<NodeId, String> {
        let operation = GraphOperation::SelectRow(position);
        self.graph.push("selecting a row", operation, vec![input])
    }

    /// Returns the graph that computes `output`, with as few operations as possible.
    pub(crate) fn finish(self, output: NodeId) -> Result<Graph, String> {
        passes::optimise(self.finish_unoptimised(output)?)
    }

    /// Returns the graph as it was built.
    pub(super) fn finish_unoptimised(mut self, output: NodeId) -> Result<Graph, String> {
        self.graph.set_output(output)?;
        Ok(self.graph)
    }

    /// Reads `name.part`, which must be finite.
    fn read(&self, name: &str, part: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let numbers = self.weights.read_tensor(&format!("{name}.{part}"), shape)?;
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err(not_finite(name));
        }
        Ok(numbers)
    }
}
