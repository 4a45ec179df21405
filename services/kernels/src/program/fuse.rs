//! Finds inverted residual blocks, which one step computes line by line.

use super::operation::{ConvolutionOperation, Node, ProgramOperation, Value, ValueShape};
use super::wide_maps::find_wide_readers;

/// A depthwise convolution that reads the result of a convolution or of another operation, and whose own result only a
/// 1×1 convolution reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamedNodes {
    /// The first convolution, if the block has one.
    pub(super) expand: Option<usize>,
    pub(super) depthwise: usize,
    /// The last 1×1 convolution, whose result is that of the block.
    pub(super) project: usize,
    /// The map that the depthwise convolution reads is f32.
    pub(super) is_wide: bool,
}

impl StreamedNodes {
    /// Returns whether a node is computed inside the block, so that its result is not stored.
    pub(super) fn is_inside(&self, node: usize) -> bool {
        self.depthwise == node || self.expand == Some(node)
    }

    /// Returns the inputs of the block: the map, and the residual if there is one.
    pub(super) fn inputs(&self, nodes: &[Node]) -> Vec<Value> {
        let first = self.expand.unwrap_or(self.depthwise);
        let residual = nodes[self.project].inputs.get(1).copied();
        let input = nodes[first].inputs[0];
        [input].into_iter().chain(residual).collect()
    }

    /// Returns the number of weights of all convolutions.
    pub(super) fn count_weights(&self, nodes: &[Node]) -> usize {
        let members = [self.depthwise, self.project]
            .into_iter()
            .chain(self.expand);
        members.map(|node| nodes[node].count_weights()).sum()
    }

    pub(super) fn convolution<'a>(
        &self,
        nodes: &'a [Node],
        node: usize,
    ) -> &'a ConvolutionOperation {
        as_convolution(&nodes[node]).expect("blocks consist of convolutions")
    }
}

fn as_convolution(node: &Node) -> Option<&ConvolutionOperation> {
    match &node.operation {
        ProgramOperation::Convolution(convolution) => Some(convolution),
        _ => None,
    }
}

/// Expanded maps of fewer numbers stay in the cache anyway, and one product over the whole map reads its weights
/// once.
const MIN_EXPANDED_NUMBERS: usize = 64 << 10;

/// A step reads all weights of the first convolution for each few lines, so they must stay in the cache.
const MAX_EXPAND_WEIGHTS: usize = 256 << 10;

/// Returns all blocks that are worth streaming. `users` contains the users of each node.
pub(super) fn find_streamed_blocks(
    nodes: &[Node],
    users: &[Vec<(usize, usize)>],
) -> Vec<StreamedNodes> {
    let wide_readers = find_wide_readers(nodes);
    let mut blocks = Vec::new();
    for (project, node) in nodes.iter().enumerate() {
        let is_pointwise = as_convolution(node).is_some_and(ConvolutionOperation::is_pointwise);
        if !is_pointwise || users[project].is_empty() {
            // It may be the output of the program, but then it is no map.
            continue;
        }
        let depthwise = node.inputs[0].0;
        let is_depthwise = as_convolution(&nodes[depthwise]).is_some_and(|c| c.is_depthwise);
        if !is_depthwise || users[depthwise].len() != 1 {
            continue;
        }
        let before = nodes[depthwise].inputs[0].0;
        let expands = as_convolution(&nodes[before]).is_some_and(|convolution| {
            !convolution.is_depthwise && convolution.weight.len() <= MAX_EXPAND_WEIGHTS
        }) && nodes[before].inputs.len() == 1
            && users[before].len() == 1
            // A step computes it already, as the end of the block before.
            && blocks.iter().all(|block: &StreamedNodes| block.project != before);
        let ValueShape::Map {
            height,
            width,
            channels,
        } = nodes[before].shape
        else {
            continue;
        };
        // A map in memory consists of elements, so a block with an f32 map is streamed whatever its size.
        let is_wide = expands && wide_readers[depthwise];
        if is_wide || height * width * channels >= MIN_EXPANDED_NUMBERS {
            blocks.push(StreamedNodes {
                expand: expands.then_some(before),
                depthwise,
                project,
                is_wide,
            });
        }
    }
    blocks
}
