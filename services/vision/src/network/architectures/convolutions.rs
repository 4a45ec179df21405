//! Parts that convolutional networks share.

use crate::{
    model::towers::Activation,
    network::graph::{NodeId, builder::GraphBuilder, operations::SlidingWindow},
};

/// The epsilon of PyTorch's batch norms.
pub(super) const PYTORCH_EPSILON: f64 = 1e-5;

/// Names of a convolution without a bias and of the batch norm after it.
#[derive(Debug, Clone)]
pub(super) struct ConvNames {
    conv: String,
    norm: String,
}

impl ConvNames {
    /// Names below `prefix`, such as `layer1.0.`; it may be empty.
    pub(super) fn new(prefix: &str, conv: &str, norm: &str) -> Self {
        Self {
            conv: format!("{prefix}{conv}"),
            norm: format!("{prefix}{norm}"),
        }
    }
}

/// A convolution and its batch norm.
pub(super) fn append_conv(
    builder: &mut GraphBuilder<'_>,
    input: NodeId,
    names: &ConvNames,
    outputs: usize,
    window: SlidingWindow,
    epsilon: f64,
) -> Result<NodeId, String> {
    let map = builder.conv(input, &names.conv, outputs, window)?;
    builder.batch_norm(map, &names.norm, epsilon)
}

/// ResNet's basic block: two 3 × 3 convolutions and a shortcut, which is a 1 × 1 convolution if the
/// shape changes. Reads `prefix` + `conv1`, `bn1`, `conv2`, `bn2`.
pub(super) fn append_basic_block(
    builder: &mut GraphBuilder<'_>,
    input: NodeId,
    prefix: &str,
    shortcut: &ConvNames,
    outputs: usize,
    stride: usize,
) -> Result<NodeId, String> {
    let first = ConvNames::new(prefix, "conv1", "bn1");
    let second = ConvNames::new(prefix, "conv2", "bn2");
    let shortcut = append_shortcut(builder, input, shortcut, outputs, stride)?;
    let window = SlidingWindow::padded(3, stride);
    let map = append_conv(builder, input, &first, outputs, window, PYTORCH_EPSILON)?;
    let map = builder.activation(map, Activation::Relu)?;
    let window = SlidingWindow::padded(3, 1);
    let map = append_conv(builder, map, &second, outputs, window, PYTORCH_EPSILON)?;
    let sum = builder.add(map, shortcut)?;
    builder.activation(sum, Activation::Relu)
}

/// The shortcut of a residual block: the input, or a 1 × 1 convolution if the block changes its shape.
pub(super) fn append_shortcut(
    builder: &mut GraphBuilder<'_>,
    input: NodeId,
    names: &ConvNames,
    outputs: usize,
    stride: usize,
) -> Result<NodeId, String> {
    if stride == 1 && builder.columns(input) == outputs {
        return Ok(input);
    }
    let window = SlidingWindow::padded(1, stride);
    append_conv(builder, input, names, outputs, window, PYTORCH_EPSILON)
}

/// Names and sizes of an inverted residual block.
#[derive(Debug)]
pub(super) struct InvertedResidual {
    /// The 1 × 1 convolution that expands the channels and the number that it expands them to; `None`
    /// in a block that does not expand.
    pub expand: Option<(ConvNames, usize)>,
    pub depthwise: ConvNames,
    pub window: SlidingWindow,
    pub project: ConvNames,
    pub outputs: usize,
    pub epsilon: f64,
}

impl InvertedResidual {
    /// Expands the channels with a 1 × 1 convolution, filters each channel, and reduces the channels
    /// with a 1 × 1 convolution. If the shape stays the same, the input is added.
    pub(super) fn append(
        &self,
        builder: &mut GraphBuilder<'_>,
        input: NodeId,
    ) -> Result<NodeId, String> {
        let point = SlidingWindow::padded(1, 1);
        let mut map = input;
        if let Some((names, channels)) = &self.expand {
            map = append_conv(builder, map, names, *channels, point, self.epsilon)?;
            map = builder.activation(map, Activation::Relu6)?;
        }
        map = builder.depthwise_conv(map, &self.depthwise.conv, self.window)?;
        map = builder.batch_norm(map, &self.depthwise.norm, self.epsilon)?;
        map = builder.activation(map, Activation::Relu6)?;
        let (names, outputs) = (&self.project, self.outputs);
        map = append_conv(builder, map, names, outputs, point, self.epsilon)?;
        if builder.shape(map) == builder.shape(input) {
            map = builder.add(map, input)?;
        }
        Ok(map)
    }
}
