//! Architectures: one file for each kind of network, which builds its graph from the weights.
//!
//! To add one: write a file with a function that appends the network's operations to a builder and
//! returns the row of features; name it in [`build_image_graph`] and in `Architecture`; let
//! `reference/make_reference.py` compute reference values with another implementation, and compare
//! them in the tests of the network. Every executor then runs it.

mod clip;
mod convolutions;
mod efficientnet_lite;
mod mini;
mod mobilenetv2;
mod patches;
mod positions;
mod resnet34;
mod resnet50;
mod siglip;
pub(super) mod text;
mod transformer;
mod vit;

use super::graph::{Graph, builder::GraphBuilder};
use crate::model::{
    description::{Architecture, Description},
    weights::Weights,
};

/// Builds the network that embeds images, and checks that its dimension is that of the description.
pub(super) fn build_image_graph(
    description: &Description,
    weights: &Weights,
) -> Result<Graph, String> {
    let mut builder = GraphBuilder::new(weights);
    let preprocessing = &description.preprocessing;
    let input = builder.pixels(
        description.side() as usize,
        preprocessing.mean,
        preprocessing.std,
    )?;
    let tower = || {
        description
            .vision
            .as_ref()
            .ok_or("the description has no sizes (\"vision\")")
    };
    let dimension = description.dimension;
    let output = match description.architecture()? {
        Architecture::Mini => mini::append(&mut builder, input),
        Architecture::ResNet34 => resnet34::append(&mut builder, input),
        Architecture::ResNet50 => resnet50::append(&mut builder, input),
        Architecture::MobileNetV2 => mobilenetv2::append(&mut builder, input),
        Architecture::EfficientNetLite => {
            let scaling = description.scaling.unwrap_or_default();
            efficientnet_lite::append(&mut builder, input, scaling, dimension)
        }
        Architecture::Vit => vit::append(&mut builder, input, tower()?),
        // The projection has the expected dimension, or building fails.
        Architecture::Clip => clip::append(&mut builder, input, tower()?, dimension),
        Architecture::Siglip => siglip::append(&mut builder, input, tower()?),
    }?;
    let graph = builder.finish(output)?;
    if graph.output_width() != dimension {
        return Err(format!(
            "the network has the dimension {}, but the description states {dimension}",
            graph.output_width()
        ));
    }
    Ok(graph)
}
