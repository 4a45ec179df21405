//! Vision transformers with timm's tensor names: ViT, DINOv2, DINOv2 with registers.
//!
//! Patches become tokens, tokens in front of them (the class, registers) gather what the picture
//! is; after the blocks and a last norm, the class token is the answer.

use burn::tensor::{Device, Tensor};

use super::{
    linear::LayerNorm,
    patches::{Patches, Places},
    positions,
    transformer::{Names, Transformer},
};
use crate::{description::VisionTower, weights::Weights};

#[derive(Debug)]
pub(super) struct Vit {
    patches: Patches,
    blocks: Transformer,
    norm: LayerNorm,
}

impl Vit {
    /// For pictures of `side` pixels, whatever side the positions were learned for.
    pub(super) fn load(
        weights: &Weights,
        tower: &VisionTower,
        side: usize,
        device: &Device,
    ) -> Result<Self, String> {
        let width = tower.blocks.width;
        let places = places(weights, tower, side)?;
        let patches = Patches::load(weights, "patch_embed.proj", true, places, tower, device)?;
        let blocks = Transformer::load(
            weights,
            "blocks.",
            Names::Timm,
            &tower.blocks,
            false,
            device,
        )?;
        let norm = LayerNorm::load(weights, "norm", width, tower.blocks.norm_epsilon, device)?;
        Ok(Self {
            patches,
            blocks,
            norm,
        })
    }

    /// `[n, 3, side, side]` → `[n, width]`, of any length.
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let pictures = input.dims()[0];
        let classes = self.patches.first_rows(pictures);
        let tokens = self.patches.forward(input);
        self.norm
            .forward(self.blocks.forward(tokens, pictures, Some(&classes)))
    }
}

/// The class token, the registers, and places for as many patches as the picture has.
fn places(weights: &Weights, tower: &VisionTower, side: usize) -> Result<Places, String> {
    let width = tower.blocks.width;
    let mut front = weights.get("cls_token", &[1, 1, width])?;
    if tower.registers > 0 {
        front.extend(weights.get("reg_token", &[1, tower.registers, width])?);
    }
    let learned = weights.shape("pos_embed")?.get(1).copied().unwrap_or(0);
    let mut patches = weights.get("pos_embed", &[1, learned, width])?;
    // With registers timm gives places to patches only; without, to the class token as well.
    if tower.registers == 0 && learned > 0 {
        for (token, place) in front.iter_mut().zip(patches.drain(..width)) {
            *token += place;
        }
    }
    let patches = positions::of_square("pos_embed", &patches, width, side / tower.patch)?;
    Ok(Places { front, patches })
}
