//! ResNet-50 without its classifier: 224 × 224 pixels → the 2048 channel averages of the last layer.
//!
//! The tensor names are those of timm and torchvision, whose blocks have the stride in their 3 × 3
//! convolution; `fc.*` is ignored.

use burn::tensor::{Device, Tensor, activation::relu};

use super::{
    layers::conv::{Conv, ConvShape, global_average},
    resnet34::{ResNetStem, SHORTCUT, STEM},
};
use crate::model::weights::Weights;

pub(super) const DIMENSION: usize = 2048;

/// Inner channels and number of blocks of `layer1` to `layer4`.
const LAYERS: [(usize, usize); 4] = [(64, 3), (128, 4), (256, 6), (512, 3)];
/// Ratio of a block's outputs to its inner channels.
const EXPANSION: usize = 4;

#[derive(Debug)]
pub(super) struct ResNet50 {
    stem: ResNetStem,
    blocks: Vec<Bottleneck>,
}

impl ResNet50 {
    pub(super) fn from_weights(weights: &Weights, device: &Device) -> Result<Self, String> {
        let stem = ResNetStem::from_weights(weights, device)?;
        let mut channels = STEM;
        let mut blocks = Vec::new();
        for (layer, (inner, depth)) in LAYERS.into_iter().enumerate() {
            for i in 0..depth {
                let name = format!("layer{}.{i}", layer + 1);
                let stride = if i == 0 && layer > 0 { 2 } else { 1 };
                blocks.push(Bottleneck::from_weights(
                    weights, &name, channels, inner, stride, device,
                )?);
                channels = inner * EXPANSION;
            }
        }
        Ok(Self { stem, blocks })
    }

    /// `[n, 3, side, side]` → `[n, 2048]`, not normalised.
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let stem = self.stem.forward(input);
        let features = self.blocks.iter().fold(stem, |x, block| block.forward(x));
        global_average(features)
    }
}

/// Reduces the channels with a 1 × 1 convolution, applies a 3 × 3 convolution, expands the channels with
/// a 1 × 1 convolution, and adds a shortcut.
#[derive(Debug)]
struct Bottleneck {
    narrow: Conv,
    middle: Conv,
    widen: Conv,
    shortcut: Option<Conv>,
}

impl Bottleneck {
    fn from_weights(
        weights: &Weights,
        name: &str,
        inputs: usize,
        inner: usize,
        stride: usize,
        device: &Device,
    ) -> Result<Self, String> {
        let outputs = inner * EXPANSION;
        let conv = |conv: &str, norm: &str, shape| {
            let (conv, norm) = (format!("{name}.{conv}"), format!("{name}.{norm}"));
            Conv::from_weights(weights, &conv, &norm, shape, device)
        };
        let load_shortcut = || {
            let shape = ConvShape::new(inputs, outputs, 1, stride);
            conv(SHORTCUT.conv, SHORTCUT.norm, shape)
        };
        Ok(Self {
            narrow: conv("conv1", "bn1", ConvShape::new(inputs, inner, 1, 1))?,
            middle: conv("conv2", "bn2", ConvShape::new(inner, inner, 3, stride))?,
            widen: conv("conv3", "bn3", ConvShape::new(inner, outputs, 1, 1))?,
            shortcut: (inputs != outputs).then(load_shortcut).transpose()?,
        })
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let inner = relu(self.narrow.forward(input.clone()));
        let output = self.widen.forward(relu(self.middle.forward(inner)));
        let residual = match &self.shortcut {
            Some(conv) => conv.forward(input),
            None => input,
        };
        relu(output + residual)
    }
}
