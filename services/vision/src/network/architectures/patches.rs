//! Patch embedding: converts an image to the tokens of a transformer. Each square patch becomes a row of
//! numbers with a position; prefix tokens, which belong to no patch, come first.

use crate::{
    model::towers::VisionTower,
    network::graph::{
        NodeId,
        builder::GraphBuilder,
        operations::{GraphShape, SlidingWindow},
    },
};

/// The learned rows that do not depend on the image, each of the tower's width.
#[derive(Debug)]
pub(super) struct PositionEmbeddings {
    /// The tensor's name, for errors.
    pub name: &'static str,
    /// The prefix tokens with their positions added.
    pub prefix_tokens: Vec<f32>,
    pub patch_positions: Vec<f32>,
}

/// Reads `name.weight`, which converts a patch to a row, and `name.bias` if there is one.
pub(super) fn append_patches(
    builder: &mut GraphBuilder<'_>,
    input: NodeId,
    name: &str,
    has_bias: bool,
    positions: PositionEmbeddings,
    tower: &VisionTower,
) -> Result<NodeId, String> {
    let (width, window) = (
        tower.shape.width,
        SlidingWindow::without_padding(tower.patch, tower.patch),
    );
    let map = if has_bias {
        builder.conv_with_bias(input, name, width, window)?
    } else {
        builder.conv(input, name, width, window)?
    };
    builder.tokens(
        map,
        positions.name,
        positions.prefix_tokens,
        positions.patch_positions,
    )
}

/// Returns how many patches an image, which is a square, has per side.
pub(super) fn patches_per_side(
    builder: &GraphBuilder<'_>,
    input: NodeId,
    tower: &VisionTower,
) -> usize {
    match builder.shape(input) {
        GraphShape::Map { height, .. } => height / tower.patch,
        GraphShape::Rows { .. } => unreachable!("an image is a map"),
    }
}
