//! Vision transformers with timm's tensor names: ViT, DINOv2, DINOv2 with registers.
//!
//! Patches become tokens. The tokens before them (the class token, registers) collect the content of the
//! image; after the blocks and a last norm, the class token is the feature.

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
) -> Result<NodeId, String> {
    let side = patches_per_side(builder, input, tower);
    let positions = load_positions(builder.weights(), tower, side)?;
    let rows = append_patches(builder, input, "patch_embed.proj", true, positions, tower)?;
    let (names, shape) = (TensorNames::Timm, &tower.shape);
    let rows = append_transformer(builder, rows, "blocks.", names, shape, false)?;
    let rows = builder.layer_norm(rows, "norm", shape.norm_epsilon)?;
    builder.select_row(rows, RowPosition::First)
}

/// Loads the class token, the registers, and the positions of `side * side` patches.
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
    let name = "pos_embed";
    let learned_count = weights.tensor_shape(name)?.get(1).copied().unwrap_or(0);
    let mut patch_positions = weights.read_tensor(name, &[1, learned_count, width])?;
    // With registers, timm has positions for patches only; without, for the class token, too.
    if tower.registers == 0 && learned_count > 0 {
        for (token, place) in prefix_tokens.iter_mut().zip(patch_positions.drain(..width)) {
            *token += place;
        }
    }
    Ok(PositionEmbeddings {
        name,
        prefix_tokens,
        patch_positions: positions::resample_to_square(name, &patch_positions, width, side)?,
    })
}
