//! The text encoders of CLIP and SigLIP with the tensor names of transformers: rows of tokens → vectors
//! in the same space as images.
//!
//! CLIP's attention is causal, so the end token has seen the whole text: its output is the text's
//! feature. SigLIP's attention is not causal. Each of its texts is padded to all positions, and the
//! output at the last position is the feature. In both, the feature is the last row.

use super::transformer::{TensorNames, append_transformer};
use crate::{
    model::{towers::TextTower, weights::Weights},
    network::graph::{Graph, builder::GraphBuilder, operations::RowPosition},
};

/// Builds the network that embeds the rows of a text.
pub(in crate::network) fn build_text_graph(
    tower: &TextTower,
    weights: &Weights,
    dimension: usize,
) -> Result<Graph, String> {
    let mut builder = GraphBuilder::new(weights);
    let (shape, is_causal) = (&tower.shape, tower.padding_token.is_none());
    let name = |part: &str| format!("text_model.{part}");
    let rows = builder.token_rows(tower.positions, shape.width)?;
    let (prefix, names) = (name("encoder.layers."), TensorNames::Transformers);
    let rows = append_transformer(&mut builder, rows, &prefix, names, shape, is_causal)?;
    let end = builder.select_row(rows, RowPosition::Last)?;
    let end = builder.layer_norm(end, &name("final_layer_norm"), shape.norm_epsilon)?;
    let output = match tower.padding_token {
        None => builder.linear_without_bias(end, "text_projection", dimension)?,
        Some(_) => builder.linear(end, &name("head"), dimension)?,
    };
    builder.finish(output)
}
