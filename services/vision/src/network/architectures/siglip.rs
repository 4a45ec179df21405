//! SigLIP's image encoder (the same in SigLIP 2) with the tensor names of transformers. Its text
//! encoder is in [`super::text`].
//!
//! There is no class token. After the blocks, a learned query attends to all patches ("multihead
//! attention pooling", Zhai et al., Scaling Vision Transformers, 2022), and an MLP processes the result.
//! The query is the same for every image, so it is computed once, at load.

use super::{
    patches::{PositionEmbeddings, append_patches, patches_per_side},
    positions,
    transformer::{TensorNames, append_mlp, append_transformer},
};
use crate::{
    model::{
        towers::{TransformerShape, VisionTower},
        weights::Weights,
    },
    network::graph::{NodeId, builder::GraphBuilder},
};

/// Positions may have been learned for another number of patches.
pub(super) fn append(
    builder: &mut GraphBuilder<'_>,
    input: NodeId,
    tower: &VisionTower,
) -> Result<NodeId, String> {
    let shape = &tower.shape;
    let side = patches_per_side(builder, input, tower);
    let positions = load_positions(builder.weights(), tower, side)?;
    let patch = "vision_model.embeddings.patch_embedding";
    let rows = append_patches(builder, input, patch, true, positions, tower)?;
    let (prefix, names) = ("vision_model.encoder.layers.", TensorNames::Transformers);
    let rows = append_transformer(builder, rows, prefix, names, shape, false)?;
    let norm = "vision_model.post_layernorm";
    let rows = builder.layer_norm(rows, norm, shape.norm_epsilon)?;
    append_pool(builder, rows, "vision_model.head", shape)
}

/// Loads the positions of `side * side` patches. There are no other tokens.
fn load_positions(
    weights: &Weights,
    tower: &VisionTower,
    side: usize,
) -> Result<PositionEmbeddings, String> {
    let width = tower.shape.width;
    let name = "vision_model.embeddings.position_embedding.weight";
    let learned_count = weights.tensor_shape(name)?.first().copied().unwrap_or(0);
    let patches = weights.read_tensor(name, &[learned_count, width])?;
    Ok(PositionEmbeddings {
        name,
        prefix_tokens: Vec::new(),
        patch_positions: positions::resample_to_square(name, &patches, width, side)?,
    })
}

/// Pools the rows of an image to one row.
fn append_pool(
    builder: &mut GraphBuilder<'_>,
    rows: NodeId,
    name: &str,
    shape: &TransformerShape,
) -> Result<NodeId, String> {
    let (weights, width) = (builder.weights(), shape.width);
    let name = |part: &str| format!("{name}.{part}");
    // PyTorch's attention stores queries, keys and values in one tensor.
    let projection = name("attention.in_proj");
    let mut weight = weights.read_tensor(&format!("{projection}_weight"), &[3 * width, width])?;
    let mut bias = weights.read_tensor(&format!("{projection}_bias"), &[3 * width])?;
    let (key_value_weight, key_value_bias) =
        (weight.split_off(width * width), bias.split_off(width));
    let probe = weights.read_tensor(&name("probe"), &[1, 1, width])?;
    let query: Vec<f32> = weight
        .chunks_exact(width)
        .zip(&bias)
        .map(|(row, bias)| row.iter().zip(&probe).map(|(a, b)| a * b).sum::<f32>() + bias)
        .collect();
    let both = builder.linear_of(rows, &projection, key_value_weight, key_value_bias)?;
    let pooled = builder.pooled_attention(both, &projection, query, shape.heads)?;
    let row = builder.linear(pooled, &name("attention.out_proj"), width)?;
    let normed = builder.layer_norm(row, &name("layernorm"), shape.norm_epsilon)?;
    let branch = append_mlp(builder, normed, &name("mlp"), shape)?;
    builder.add(row, branch)
}
