//! Vision transformers with timm's tensor names: ViT, DINOv2, DINOv2 with registers.
//!
//! Patches become tokens. The tokens before them (the class token, registers) collect the content of the
//! image; after the blocks and a last norm, the class token is the feature.

use burn::tensor::{Device, Tensor};

use super::{
    layers::linear::LayerNorm,
    layers::patches::{PatchEmbedding, PositionEmbeddings},
    layers::positions,
    layers::transformer::{TensorNames, Transformer},
};
use crate::{model::towers::VisionTower, model::weights::Weights};

#[derive(Debug)]
pub(super) struct Vit {
    patches: PatchEmbedding,
    blocks: Transformer,
    norm: LayerNorm,
}

impl Vit {
    /// Loads the network for images of `side` pixels. The positions may have been learned for another
    /// side.
    pub(super) fn from_weights(
        weights: &Weights,
        tower: &VisionTower,
        side: usize,
        device: &Device,
    ) -> Result<Self, String> {
        let width = tower.shape.width;
        let positions = load_positions(weights, tower, side)?;
        let patches = PatchEmbedding::from_weights(
            weights,
            "patch_embed.proj",
            true,
            positions,
            tower,
            device,
        )?;
        let blocks = Transformer::from_weights(
            weights,
            "blocks.",
            TensorNames::Timm,
            &tower.shape,
            false,
            device,
        )?;
        let norm =
            LayerNorm::from_weights(weights, "norm", width, tower.shape.norm_epsilon, device)?;
        Ok(Self {
            patches,
            blocks,
            norm,
        })
    }

    /// `[n, 3, side, side]` → `[n, width]`, not normalised.
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let images = input.dims()[0];
        let classes = self.patches.first_token_rows(images);
        let tokens = self.patches.forward(input);
        self.norm
            .forward(self.blocks.forward(tokens, images, Some(&classes)))
    }
}

/// Loads the class token, the registers, and the positions of the patches.
fn load_positions(
    weights: &Weights,
    tower: &VisionTower,
    side: usize,
) -> Result<PositionEmbeddings, String> {
    let width = tower.shape.width;
    let mut prefix_tokens = weights.read_tensor("cls_token", &[1, 1, width])?;
    if tower.registers > 0 {
        prefix_tokens.extend(weights.read_tensor("reg_token", &[1, tower.registers, width])?);
    }
    let learned_count = weights
        .tensor_shape("pos_embed")?
        .get(1)
        .copied()
        .unwrap_or(0);
    let mut patch_positions = weights.read_tensor("pos_embed", &[1, learned_count, width])?;
    // With registers, timm has positions for patches only; without, for the class token, too.
    if tower.registers == 0 && learned_count > 0 {
        for (token, place) in prefix_tokens.iter_mut().zip(patch_positions.drain(..width)) {
            *token += place;
        }
    }
    let patch_positions =
        positions::resample_to_square("pos_embed", &patch_positions, width, side / tower.patch)?;
    Ok(PositionEmbeddings {
        prefix_tokens,
        patch_positions,
    })
}
