//! CLIP's image tower with the tensor names of transformers; its text tower is in [`super::text`].

use burn::tensor::{Device, Tensor};

use super::{
    linear::{LayerNorm, Linear, Plain},
    patches::{Patches, Places},
    positions,
    transformer::{Names, Transformer},
};
use crate::{description::VisionTower, weights::Weights};

#[derive(Debug)]
pub(super) struct ImageTower {
    patches: Patches,
    before: LayerNorm,
    blocks: Transformer,
    behind: LayerNorm,
    projection: Linear,
}

impl ImageTower {
    /// For pictures of `side` pixels, whatever side the positions were learned for.
    pub(super) fn load(
        weights: &Weights,
        tower: &VisionTower,
        dimension: usize,
        side: usize,
        device: &Device,
    ) -> Result<Self, String> {
        let (width, epsilon) = (tower.blocks.width, tower.blocks.norm_epsilon);
        let name = |part: &str| format!("vision_model.{part}");
        let norm = |part: &str| LayerNorm::load(weights, &name(part), width, epsilon, device);
        let places = places(weights, tower, side)?;
        let patch = name("embeddings.patch_embedding");
        let projection = Plain::load_without_bias(weights, "visual_projection", width, dimension)?;
        Ok(Self {
            patches: Patches::load(weights, &patch, false, places, tower, device)?,
            // The source misspells it.
            before: norm("pre_layrnorm")?,
            blocks: Transformer::load(
                weights,
                &name("encoder.layers."),
                Names::Transformers,
                &tower.blocks,
                false,
                device,
            )?,
            behind: norm("post_layernorm")?,
            projection: projection.on(device),
        })
    }

    /// `[n, 3, side, side]` → `[n, dimension]`, of any length.
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let pictures = input.dims()[0];
        let tokens = self.before.forward(self.patches.forward(input));
        let classes = self.patches.first_rows(pictures);
        let classes = self.blocks.forward(tokens, pictures, Some(&classes));
        self.projection.forward(self.behind.forward(classes))
    }
}

/// The class token with its place, and the places of the patches.
fn places(weights: &Weights, tower: &VisionTower, side: usize) -> Result<Places, String> {
    let width = tower.blocks.width;
    let mut front = weights.get("vision_model.embeddings.class_embedding", &[width])?;
    let name = "vision_model.embeddings.position_embedding.weight";
    let learned = weights.shape(name)?.first().copied().unwrap_or(0);
    let mut patches = weights.get(name, &[learned, width])?;
    // The first place is the class token's.
    let first = patches.len().min(width);
    for (token, place) in front.iter_mut().zip(patches.drain(..first)) {
        *token += place;
    }
    let patches = positions::of_square(name, &patches, width, side / tower.patch)?;
    Ok(Places { front, patches })
}
