//! CLIP's image encoder with the tensor names of transformers. Its text encoder is in [`super::text`].

use super::{
    patches::{PositionEmbeddings, append_patches, patches_per_side},
    positions,
    transformer::{TensorNames, append_transformer},
};
use crate::{
    model::{towers::VisionTower, weights::Weights},
    network::graph::{NodeId, builder::GraphBuilder, operations::RowPosition},
};

/// Positions may have been learned for another number of patches.
pub(super) fn append(
    builder: &mut GraphBuilder<'_>,
    input: NodeId,
    tower: &VisionTower,
    dimension: usize,
) -> Result<NodeId, String> {
    let (shape, epsilon) = (&tower.shape, tower.shape.norm_epsilon);
    let side = patches_per_side(builder, input, tower);
    let positions = load_positions(builder.weights(), tower, side)?;
    let patch = "vision_model.embeddings.patch_embedding";
    let rows = append_patches(builder, input, patch, false, positions, tower)?;
    // The name is misspelled in transformers.
    let rows = builder.layer_norm(rows, "vision_model.pre_layrnorm", epsilon)?;
    let (prefix, names) = ("vision_model.encoder.layers.", TensorNames::Transformers);
    let rows = append_transformer(builder, rows, prefix, names, shape, false)?;
    let class = builder.select_row(rows, RowPosition::First)?;
    let class = builder.layer_norm(class, "vision_model.post_layernorm", epsilon)?;
    builder.linear_without_bias(class, "visual_projection", dimension)
}

/// Loads the class token with its position, and the positions of `side * side` patches.
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
    Ok(PositionEmbeddings {
        name,
        prefix_tokens,
        patch_positions: positions::resample_to_square(name, &patch_positions, width, side)?,
    })
}
