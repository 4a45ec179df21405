//! CLIP's image encoder with the tensor names of transformers. Its text encoder is in [`super::text`].

use burn::tensor::{Device, Tensor};

use super::{
    layers::linear::{LayerNorm, Linear, LinearWeights},
    layers::patches::{PatchEmbedding, PositionEmbeddings},
    layers::positions,
    layers::transformer::{TensorNames, Transformer},
};
use crate::{model::towers::VisionTower, model::weights::Weights};

#[derive(Debug)]
pub(super) struct ClipImageTower {
    patches: PatchEmbedding,
    pre_norm: LayerNorm,
    blocks: Transformer,
    post_norm: LayerNorm,
    projection: Linear,
}

impl ClipImageTower {
    /// Loads the network for images of `side` pixels. The positions may have been learned for another
    /// side.
    pub(super) fn from_weights(
        weights: &Weights,
        tower: &VisionTower,
        dimension: usize,
        side: usize,
        device: &Device,
    ) -> Result<Self, String> {
        let (width, epsilon) = (tower.shape.width, tower.shape.norm_epsilon);
        let name = |part: &str| format!("vision_model.{part}");
        let norm =
            |part: &str| LayerNorm::from_weights(weights, &name(part), width, epsilon, device);
        let positions = load_positions(weights, tower, side)?;
        let patch = name("embeddings.patch_embedding");
        let projection = LinearWeights::from_weights_without_bias(
            weights,
            "visual_projection",
            width,
            dimension,
        )?;
        Ok(Self {
            patches: PatchEmbedding::from_weights(
                weights, &patch, false, positions, tower, device,
            )?,
            // The name is misspelled in transformers.
            pre_norm: norm("pre_layrnorm")?,
            blocks: Transformer::from_weights(
                weights,
                &name("encoder.layers."),
                TensorNames::Transformers,
                &tower.shape,
                false,
                device,
            )?,
            post_norm: norm("post_layernorm")?,
            projection: projection.to_device(device),
        })
    }

    /// `[n, 3, side, side]` → `[n, dimension]`, not normalised.
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let images = input.dims()[0];
        let tokens = self.pre_norm.forward(self.patches.forward(input));
        let classes = self.patches.first_token_rows(images);
        let classes = self.blocks.forward(tokens, images, Some(&classes));
        self.projection.forward(self.post_norm.forward(classes))
    }
}

/// Loads the class token with its position, and the positions of the patches.
fn load_positions(
    weights: &Weights,
    tower: &VisionTower,
    side: usize,
) -> Result<PositionEmbeddings, String> {
    let width = tower.shape.width;
    let mut prefix_tokens =
        weights.read_tensor("vision_model.embeddings.class_embedding", &[width])?;
    let name = "vision_model.embeddings.position_embedding.weight";
    let learned_count = weights.tensor_shape(name)?.first().copied().unwrap_or(0);
    let mut patch_positions = weights.read_tensor(name, &[learned_count, width])?;
    // The first position is that of the class token.
    let first = patch_positions.len().min(width);
    for (token, place) in prefix_tokens.iter_mut().zip(patch_positions.drain(..first)) {
        *token += place;
    }
    let patch_positions =
        positions::resample_to_square(name, &patch_positions, width, side / tower.patch)?;
    Ok(PositionEmbeddings {
        prefix_tokens,
        patch_positions,
    })
}
