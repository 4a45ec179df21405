//! ResNet-34 without its classifier: 224 × 224 pixels → the 512 channel averages of the last layer.
//!
//! The tensor names are those of timm and torchvision; `fc.*` is ignored.

use burn::tensor::{Device, Tensor, activation::relu, module::max_pool2d, ops::MaxPoolOptions};

use super::layers::conv::{BasicBlock, Conv, ConvShape, ShortcutNames, global_average};
use crate::model::weights::Weights;

pub(super) const DIMENSION: usize = 512;

/// Output channels of the stem.
pub(super) const STEM: usize = 64;
/// Outputs and number of blocks of `layer1` to `layer4`.
const LAYERS: [(usize, usize); 4] = [(64, 3), (128, 4), (256, 6), (512, 3)];
/// The names of timm and torchvision, the same in every ResNet.
pub(super) const SHORTCUT: ShortcutNames = ShortcutNames {
    conv: "downsample.0",
    norm: "downsample.1",
};

/// The first layers of every ResNet: a 7 × 7 convolution and 3 × 3 max pooling.
#[derive(Debug)]
pub(super) struct ResNetStem(Conv);

impl ResNetStem {
    pub(super) fn from_weights(weights: &Weights, device: &Device) -> Result<Self, String> {
        let shape = ConvShape::new(3, STEM, 7, 2);
        Ok(Self(Conv::from_weights(
            weights, "conv1", "bn1", shape, device,
        )?))
    }

    /// Reduces the side to a quarter.
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let halve = MaxPoolOptions::new([3; 2])
            .with_stride([2; 2])
            .with_padding([1; 2]);
        max_pool2d(relu(self.0.forward(input)), halve)
    }
}

#[derive(Debug)]
pub(super) struct ResNet34 {
    stem: ResNetStem,
    blocks: Vec<BasicBlock>,
}

impl ResNet34 {
    pub(super) fn from_weights(weights: &Weights, device: &Device) -> Result<Self, String> {
        let stem = ResNetStem::from_weights(weights, device)?;
        let mut channels = STEM;
        let mut blocks = Vec::new();
        for (layer, (outputs, depth)) in LAYERS.into_iter().enumerate() {
            for i in 0..depth {
                let name = format!("layer{}.{i}", layer + 1);
                let stride = if i == 0 && layer > 0 { 2 } else { 1 };
                blocks.push(BasicBlock::from_weights(
                    weights, &name, SHORTCUT, channels, outputs, stride, device,
                )?);
                channels = outputs;
            }
        }
        Ok(Self { stem, blocks })
    }

    /// `[n, 3, side, side]` → `[n, 512]`, not normalised.
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let stem = self.stem.forward(input);
        let features = self.blocks.iter().fold(stem, |x, block| block.forward(x));
        global_average(features)
    }
}
