//! ResNet-34 without its classifier: 224 × 224 pixels → the 512 channel averages of the last layer.
//!
//! The tensor names are those of timm and torchvision; `fc.*` is ignored.

use super::convolutions::{ConvNames, PYTORCH_EPSILON, append_basic_block, append_conv};
use crate::{
    model::towers::Activation,
    network::graph::{NodeId, builder::GraphBuilder, operations::SlidingWindow},
};

/// Output channels of the stem.
const STEM: usize = 64;
/// Outputs and number of blocks of `layer1` to `layer4`.
const LAYERS: [(usize, usize); 4] = [(64, 3), (128, 4), (256, 6), (512, 3)];

pub(super) fn append(builder: &mut GraphBuilder<'_>, input: NodeId) -> Result<NodeId, String> {
    let mut map = append_stem(builder, input)?;
    for (layer, (outputs, depth)) in LAYERS.into_iter().enumerate() {
        for i in 0..depth {
            let prefix = format!("layer{}.{i}.", layer + 1);
            let stride = if i == 0 && layer > 0 { 2 } else { 1 };
            let shortcut = shortcut_names(&prefix);
            map = append_basic_block(builder, map, &prefix, &shortcut, outputs, stride)?;
        }
    }
    builder.global_average(map)
}

/// The first layers of every ResNet: a 7 × 7 convolution and 3 × 3 max pooling, which reduce the side
/// to a quarter.
pub(super) fn append_stem(builder: &mut GraphBuilder<'_>, input: NodeId) -> Result<NodeId, String> {
    let names = ConvNames::new("", "conv1", "bn1");
    let window = SlidingWindow::padded(7, 2);
    let map = append_conv(builder, input, &names, STEM, window, PYTORCH_EPSILON)?;
    let map = builder.activation(map, Activation::Relu)?;
    builder.max_pool(map, SlidingWindow::padded(3, 2))
}

/// The names of a block's shortcut in timm and torchvision, the same in every ResNet.
pub(super) fn shortcut_names(prefix: &str) -> ConvNames {
    ConvNames::new(prefix, "downsample.0", "downsample.1")
}
