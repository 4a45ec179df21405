//! MobileNetV2 without its classifier: 224 × 224 pixels → the 1280 channel averages of the last layer.
//!
//! The tensor names are those of timm's `mobilenetv2_100`; `classifier.*` is ignored.

use burn::tensor::{Device, Tensor};

use super::layers::conv::{Conv, ConvShape, global_average};
use crate::{model::towers::Activation, model::weights::Weights};

pub(super) const DIMENSION: usize = 1280;

const STEM: usize = 32;
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

#[derive(Debug)]
pub(super) struct MobileNetV2 {
    stem: Conv,
    blocks: Vec<InvertedResidual>,
    head: Conv,
}

impl MobileNetV2 {
    pub(super) fn from_weights(weights: &Weights, device: &Device) -> Result<Self, String> {
        let stem = ConvShape::new(3, STEM, 3, 2);
        let stem = Conv::from_weights(weights, "conv_stem", "bn1", stem, device)?;
        let mut channels = STEM;
        let mut blocks = Vec::new();
        for (stage, (expansion, outputs, depth, stride)) in STAGES.into_iter().enumerate() {
            for i in 0..depth {
                let name = format!("blocks.{stage}.{i}");
                let stride = if i == 0 { stride } else { 1 };
                blocks.push(InvertedResidual::from_weights(
                    weights, &name, expansion, channels, outputs, stride, device,
                )?);
                channels = outputs;
            }
        }
        let head = ConvShape::new(channels, DIMENSION, 1, 1);
        let head = Conv::from_weights(weights, "conv_head", "bn2", head, device)?;
        Ok(Self { stem, blocks, head })
    }

    /// `[n, 3, side, side]` → `[n, 1280]`, not normalised.
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let stem = apply_relu6(self.stem.forward(input));
        let features = self.blocks.iter().fold(stem, |x, block| block.forward(x));
        global_average(apply_relu6(self.head.forward(features)))
    }
}

/// Expands the channels with a 1 × 1 convolution, filters each channel, and reduces the channels with
/// a 1 × 1 convolution. If the shape stays the same, the input is added.
#[derive(Debug)]
struct InvertedResidual {
    /// `None` in the first block, which does not expand.
    widen: Option<Conv>,
    filter: Conv,
    narrow: Conv,
    keeps_shape: bool,
}

impl InvertedResidual {
    fn from_weights(
        weights: &Weights,
        name: &str,
        expansion: usize,
        inputs: usize,
        outputs: usize,
        stride: usize,
        device: &Device,
    ) -> Result<Self, String> {
        let conv = |conv: &str, norm: &str, shape| {
            let (conv, norm) = (format!("{name}.{conv}"), format!("{name}.{norm}"));
            Conv::from_weights(weights, &conv, &norm, shape, device)
        };
        let inner = inputs * expansion;
        let filter = ConvShape::new_depthwise(inner, stride);
        let narrow = ConvShape::new(inner, outputs, 1, 1);
        let keeps_shape = stride == 1 && inputs == outputs;
        // timm numbers the norms of a block, and its last convolution has another name in a block
        // with two convolutions than in one with three.
        if expansion == 1 {
            return Ok(Self {
                widen: None,
                filter: conv("conv_dw", "bn1", filter)?,
                narrow: conv("conv_pw", "bn2", narrow)?,
                keeps_shape,
            });
        }
        Ok(Self {
            widen: Some(conv("conv_pw", "bn1", ConvShape::new(inputs, inner, 1, 1))?),
            filter: conv("conv_dw", "bn2", filter)?,
            narrow: conv("conv_pwl", "bn3", narrow)?,
            keeps_shape,
        })
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let wide = match &self.widen {
            Some(conv) => apply_relu6(conv.forward(input.clone())),
            None => input.clone(),
        };
        let output = self.narrow.forward(apply_relu6(self.filter.forward(wide)));
        if self.keeps_shape {
            output + input
        } else {
            output
        }
    }
}

fn apply_relu6(input: Tensor<4>) -> Tensor<4> {
    Activation::Relu6.apply_to_tensor(input)
}
