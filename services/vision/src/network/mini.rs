//! lookalike-mini: 128 × 128 pixels → 384 numbers. A stem, six basic blocks and a linear head.

use burn::tensor::{Device, Tensor, activation::relu};

use super::{
    layers::conv::{BasicBlock, Conv, ConvShape, ShortcutNames, global_average},
    layers::linear::Linear,
};
use crate::model::weights::Weights;

pub(super) const DIMENSION: usize = 384;

const STEM: usize = 32;
/// Outputs and stride of each block.
const BLOCKS: [(usize, usize); 6] = [(64, 2), (128, 2), (128, 1), (256, 2), (256, 1), (384, 2)];
const SHORTCUT: ShortcutNames = ShortcutNames {
    conv: "proj",
    norm: "proj_bn",
};

#[derive(Debug)]
pub(super) struct Mini {
    stem: Conv,
    blocks: Vec<BasicBlock>,
    head: Linear,
}

impl Mini {
    pub(super) fn from_weights(weights: &Weights, device: &Device) -> Result<Self, String> {
        let shape = ConvShape::new(3, STEM, 3, 2);
        let stem = Conv::from_weights(weights, "stem", "stem_bn", shape, device)?;
        let mut channels = STEM;
        let mut blocks = Vec::with_capacity(BLOCKS.len());
        for (i, (outputs, stride)) in BLOCKS.into_iter().enumerate() {
            let name = format!("blocks.{i}");
            blocks.push(BasicBlock::from_weights(
                weights, &name, SHORTCUT, channels, outputs, stride, device,
            )?);
            channels = outputs;
        }
        let head = Linear::from_weights(weights, "head", channels, DIMENSION, device)?;
        Ok(Self { stem, blocks, head })
    }

    /// `[n, 3, side, side]` → `[n, 384]`, not normalised.
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let stem = relu(self.stem.forward(input));
        let features = self.blocks.iter().fold(stem, |x, block| block.forward(x));
        self.head.forward(global_average(features))
    }
}
