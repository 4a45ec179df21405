//! EfficientNet-Lite without its classifier: pixels → the 1280 channel averages of the last layer, and
//! optionally a linear projection of them to fewer numbers.
//!
//! The tensor names are those of the package `efficientnet-lite-pytorch`; `_fc.*` is ignored. The
//! weights come from TensorFlow, so convolutions are padded as there. Unlike EfficientNet, Lite has
//! ReLU6, no squeeze-and-excitation, and the same stem and head in all sizes.
//!
//! Two additions of ours may follow: `pooling.weight` (height × width of the last map) weights its points
//! in the averages, and `projection.weight` with `projection.bias` projects the averages.

use super::convolutions::{ConvNames, InvertedResidual, append_conv};
use crate::{
    model::{description::CompoundScaling, towers::Activation},
    network::graph::{
        NodeId,
        builder::GraphBuilder,
        operations::{GraphShape, SlidingWindow},
    },
};

/// The epsilon of the batch norms, which is not PyTorch's.
const EPSILON: f64 = 1e-3;
const STEM: usize = 32;
const HEAD: usize = 1280;
const PROJECTION: &str = "projection";
const POOLING: &str = "pooling.weight";

/// Blocks of the same sizes; the first one may reduce the map.
struct BlockStage {
    blocks: usize,
    kernel: usize,
    stride: usize,
    /// Ratio of the inner channels to the inputs.
    expansion: usize,
    outputs: usize,
}

const fn stage(
    blocks: usize,
    kernel: usize,
    stride: usize,
    expansion: usize,
    outputs: usize,
) -> BlockStage {
    BlockStage {
        blocks,
        kernel,
        stride,
        expansion,
        outputs,
    }
}

/// The stages of Lite0.
const STAGES: [BlockStage; 7] = [
    stage(1, 3, 1, 1, 16),
    stage(2, 3, 2, 6, 24),
    stage(2, 5, 2, 6, 40),
    stage(3, 3, 2, 6, 80),
    stage(3, 5, 1, 6, 112),
    stage(4, 5, 2, 6, 192),
    stage(1, 3, 1, 6, 320),
];

/// Appends the network with a projection to `dimension` numbers, unless there is no projection in the
/// weights and the features have this dimension.
pub(super) fn append(
    builder: &mut GraphBuilder<'_>,
    input: NodeId,
    scaling: CompoundScaling,
    dimension: usize,
) -> Result<NodeId, String> {
    let stem = ConvNames::new("", "_conv_stem", "_bn0");
    let window = same_window(builder, input, 3, 2);
    let map = append_conv(builder, input, &stem, STEM, window, EPSILON)?;
    let mut map = builder.activation(map, Activation::Relu6)?;
    let (mut channels, mut number) = (STEM, 0);
    for (i, stage) in STAGES.iter().enumerate() {
        // The first and the last stage have the same depth in all sizes.
        let is_scaled = i > 0 && i + 1 < STAGES.len();
        let blocks = if is_scaled {
            scaling.scale_depth(stage.blocks)
        } else {
            stage.blocks
        };
        let outputs = scaling.scale_width(stage.outputs);
        for i in 0..blocks {
            let prefix = format!("_blocks.{number}.");
            let names = |conv, norm| ConvNames::new(&prefix, conv, norm);
            let stride = if i == 0 { stage.stride } else { 1 };
            let block = InvertedResidual {
                expand: (stage.expansion > 1)
                    .then(|| (names("_expand_conv", "_bn0"), channels * stage.expansion)),
                depthwise: names("_depthwise_conv", "_bn1"),
                window: same_window(builder, map, stage.kernel, stride),
                project: names("_project_conv", "_bn2"),
                outputs,
                epsilon: EPSILON,
            };
            map = block.append(builder, map)?;
            channels = outputs;
            number += 1;
        }
    }
    let head = ConvNames::new("", "_conv_head", "_bn1");
    map = append_conv(
        builder,
        map,
        &head,
        HEAD,
        SlidingWindow::padded(1, 1),
        EPSILON,
    )?;
    map = builder.activation(map, Activation::Relu6)?;
    let features = append_pooling(builder, map)?;
    let weight = format!("{PROJECTION}.weight");
    if dimension == HEAD && builder.weights().tensor_shape(&weight).is_err() {
        return Ok(features);
    }
    builder.linear(features, PROJECTION, dimension)
}

/// Averages the channels, with the weights of the points if there are any.
fn append_pooling(builder: &mut GraphBuilder<'_>, map: NodeId) -> Result<NodeId, String> {
    let GraphShape::Map { height, width, .. } = builder.shape(map) else {
        unreachable!("convolutions return maps");
    };
    if builder.weights().tensor_shape(POOLING).is_err() {
        return builder.global_average(map);
    }
    // A convolution whose window is the whole map returns one point, the weighted sum.
    let weight = builder.weights().read_tensor(POOLING, &[height, width])?;
    let sum: f64 = weight.iter().map(|number| f64::from(*number)).sum();
    let normalised: Vec<f32> = weight
        .iter()
        .map(|number| (f64::from(*number) / sum) as f32)
        .collect();
    let point = builder.whole_map_filter(map, POOLING, &normalised)?;
    builder.global_average(point)
}

/// A window padded as in TensorFlow.
fn same_window(
    builder: &GraphBuilder<'_>,
    input: NodeId,
    kernel: usize,
    stride: usize,
) -> SlidingWindow {
    match builder.shape(input) {
        GraphShape::Map { height, width, .. } => SlidingWindow::same(kernel, stride, height, width),
        GraphShape::Rows { .. } => unreachable!("convolutions read maps"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_scale_as_in_tensorflow() {
        let lite2 = CompoundScaling {
            width: 1.1,
            depth: 1.2,
        };
        let widths = STAGES.map(|stage| lite2.scale_width(stage.outputs));
        assert_eq!(widths, [16, 24, 48, 88, 120, 208, 352]);
        assert_eq!(
            [1, 2, 3, 4].map(|blocks| lite2.scale_depth(blocks)),
            [2, 3, 4, 5]
        );
        let lite0 = CompoundScaling::default();
        assert!(STAGES.iter().all(|stage| {
            lite0.scale_width(stage.outputs) == stage.outputs
                && lite0.scale_depth(stage.blocks) == stage.blocks
        }));
    }
}
