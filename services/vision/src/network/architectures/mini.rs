//! lookalike-mini: 128 × 128 pixels → 384 numbers. A stem, six basic blocks and a linear head.

use super::convolutions::{ConvNames, PYTORCH_EPSILON, append_basic_block, append_conv};
use crate::{
    model::towers::Activation,
    network::graph::{NodeId, builder::GraphBuilder, operations::SlidingWindow},
};

const DIMENSION: usize = 384;
const STEM: usize = 32;
/// Outputs and stride of each block.
const BLOCKS: [(usize, usize); 6] = [(64, 2), (128, 2), (128, 1), (256, 2), (256, 1), (384, 2)];

pub(super) fn append(builder: &mut GraphBuilder<'_>, input: NodeId) -> Result<NodeId, String> {
    let stem = ConvNames::new("", "stem", "stem_bn");
    let window = SlidingWindow::padded(3, 2);
    let map = append_conv(builder, input, &stem, STEM, window, PYTORCH_EPSILON)?;
    let mut map = builder.activation(map, Activation::Relu)?;
    for (i, (outputs, stride)) in BLOCKS.into_iter().enumerate() {
        let prefix = format!("blocks.{i}.");
        let shortcut = ConvNames::new(&prefix, "proj", "proj_bn");
        map = append_basic_block(builder, map, &prefix, &shortcut, outputs, stride)?;
    }
    let features = builder.global_average(map)?;
    builder.linear(features, "head", DIMENSION)
}
