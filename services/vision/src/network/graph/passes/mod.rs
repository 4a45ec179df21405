//! Passes: rewrite a graph so that it has fewer operations and the same result.

mod fold;
mod fuse;
mod prune;
mod select;
#[cfg(test)]
mod tests;

use super::{Graph, GraphNode, NodeId};

/// Runs all passes.
///
/// # Errors
/// Fails if weights are no longer finite after another operation was folded into them.
pub(super) fn optimise(graph: Graph) -> Result<Graph, String> {
    let graph = fold::fold_scales(graph)?;
    let graph = fuse::fuse_into_products(graph);
    let graph = select::select_rows_early(graph)?;
    prune::remove_unread(graph)
}

/// Maps the operations of a graph to those of its successor.
struct Renaming(Vec<NodeId>);

impl Renaming {
    fn new(nodes: usize) -> Self {
        Self(Vec::with_capacity(nodes))
    }

    /// Records what the next operation of the old graph became.
    fn record(&mut self, new: NodeId) {
        self.0.push(new);
    }

    fn rename(&self, old: NodeId) -> NodeId {
        self.0[old.index()]
    }

    fn rename_inputs(&self, node: &GraphNode) -> Vec<NodeId> {
        node.inputs
            .iter()
            .map(|input| self.rename(*input))
            .collect()
    }
}
