//! MobileNetV2 without its classifier: 224 × 224 pixels → the 1280 channel averages of the last layer.
//!
//! The tensor names are those of timm's `mobilenetv2_100`; `classifier.*` is ignored.

use super::convolutions::{ConvNames, InvertedResidual, PYTORCH_EPSILON, append_conv};
use crate::{
    model::towers::Activation,
    network::graph::{NodeId, builder::GraphBuilder, operations::SlidingWindow},
};

const STEM: usize = 32;
const HEAD: usize = 1280;
/// For each stage of `blocks`: expansion of the inner channels, outputs, number of blocks, and stride
/// of the first block.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

pub(super) fn append(builder: &mut GraphBuilder<'_>, input: NodeId) -> Result<NodeId, String> {
    let stem = ConvNames::new("", "conv_stem", "bn1");
    let window = SlidingWindow::padded(3, 2);
    let map = append_conv(builder, input, &stem, STEM, window, PYTORCH_EPSILON)?;
    let mut map = builder.activation(map, Activation::Relu6)?;
    let mut channels = STEM;
    for (stage, (expansion, outputs, depth, stride)) in STAGES.into_iter().enumerate() {
        for i in 0..depth {
            let prefix = format!("blocks.{stage}.{i}.");
            let stride = if i == 0 { stride } else { 1 };
            let names = |conv, norm| ConvNames::new(&prefix, conv, norm);
            // timm numbers the norms of a block, and its last convolution has another name in a
            // block with two convolutions than in one with three.
            let (expand, depthwise, project) = if expansion == 1 {
                (None, names("conv_dw", "bn1"), names("conv_pw", "bn2"))
            } else {
                let expand = (names("conv_pw", "bn1"), channels * expansion);
                (
                    Some(expand),
                    names("conv_dw", "bn2"),
                    names("conv_pwl", "bn3"),
                )
            };
            let block = InvertedResidual {
                expand,
                depthwise,
                window: SlidingWindow::padded(3, stride),
                project,
                outputs,
                epsilon: PYTORCH_EPSILON,
            };
            map = block.append(builder, map)?;
            channels = outputs;
        }
    }
    let head = ConvNames::new("", "conv_head", "bn2");
    let point = SlidingWindow::padded(1, 1);
    map = append_conv(builder, map, &head, HEAD, point, PYTORCH_EPSILON)?;
    map = builder.activation(map, Activation::Relu6)?;
    builder.global_average(map)
}
