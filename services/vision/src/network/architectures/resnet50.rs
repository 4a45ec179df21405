//! ResNet-50 without its classifier: 224 × 224 pixels → the 2048 channel averages of the last layer.
//!
//! The tensor names are those of timm and torchvision, whose blocks have the stride in their 3 × 3
//! convolution; `fc.*` is ignored.

use super::{
    convolutions::{ConvNames, PYTORCH_EPSILON, append_conv, append_shortcut},
    resnet34::{append_stem, shortcut_names},
};
use crate::{
    model::towers::Activation,
    network::graph::{NodeId, builder::GraphBuilder, operations::SlidingWindow},
};

/// Inner channels and number of blocks of `layer1` to `layer4`.
const LAYERS: [(usize, usize); 4] = [(64, 3), (128, 4), (256, 6), (512, 3)];
/// Ratio of a block's outputs to its inner channels.
const EXPANSION: usize = 4;

pub(super) fn append(builder: &mut GraphBuilder<'_>, input: NodeId) -> Result<NodeId, String> {
    let mut map = append_stem(builder, input)?;
    for (layer, (inner, depth)) in LAYERS.into_iter().enumerate() {
        for i in 0..depth {
            let prefix = format!("layer{}.{i}.", layer + 1);
            let stride = if i == 0 && layer > 0 { 2 } else { 1 };
            map = append_bottleneck(builder, map, &prefix, inner, stride)?;
        }
    }
    builder.global_average(map)
}

/// Reduces the channels with a 1 × 1 convolution, applies a 3 × 3 convolution, expands the channels with
/// a 1 × 1 convolution, and adds a shortcut.
fn append_bottleneck(
    builder: &mut GraphBuilder<'_>,
    input: NodeId,
    prefix: &str,
    inner: usize,
    stride: usize,
) -> Result<NodeId, String> {
    let outputs = inner * EXPANSION;
    let shortcut = append_shortcut(builder, input, &shortcut_names(prefix), outputs, stride)?;
    let mut map = input;
    for (i, channels, window) in [
        (1, inner, SlidingWindow::padded(1, 1)),
        (2, inner, SlidingWindow::padded(3, stride)),
    ] {
        let names = ConvNames::new(prefix, &format!("conv{i}"), &format!("bn{i}"));
        map = append_conv(builder, map, &names, channels, window, PYTORCH_EPSILON)?;
        map = builder.activation(map, Activation::Relu)?;
    }
    let names = ConvNames::new(prefix, "conv3", "bn3");
    let point = SlidingWindow::padded(1, 1);
    map = append_conv(builder, map, &names, outputs, point, PYTORCH_EPSILON)?;
    let sum = builder.add(map, shortcut)?;
    builder.activation(sum, Activation::Relu)
}
