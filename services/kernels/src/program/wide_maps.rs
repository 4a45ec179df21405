//! Decides which maps are f32 although the elements of the instruction set are bfloat16.
//!
//! A depthwise convolution can subtract neighbours of a channel from each other and multiply the small difference, so it also
//! multiplies the rounding errors of its input. Those of the first maps pass through all later layers. With
//! EfficientNet-Lite0's weights, rounding only the input of the first depthwise convolution causes more error than all
//! other rounding of the network together, that of the second one as much as all further maps, and that of any later one
//! almost none.

use super::operation::{Node, ProgramOperation};

/// Depthwise convolutions, counted from the pixels, whose input is f32.
const WIDE_DEPTHWISE: usize = 2;

/// Returns for each node whether it is a depthwise convolution whose input should be f32.
pub(super) fn find_wide_readers(nodes: &[Node]) -> Vec<bool> {
    let is_depthwise = |node: &Node| match &node.operation {
        ProgramOperation::Convolution(convolution) => convolution.is_depthwise,
        _ => false,
    };
    // The most depthwise convolutions on a way from the input, up to and including each node.
    let mut depths = Vec::with_capacity(nodes.len());
    for node in nodes {
        let before = node.inputs.iter().map(|input| depths[input.0]).max();
        depths.push(before.unwrap_or(0) + usize::from(is_depthwise(node)));
    }
    let readers = nodes.iter().zip(depths);
    readers
        .map(|(node, depth)| is_depthwise(node) && depth <= WIDE_DEPTHWISE)
        .collect()
}
