//! Names of operations while a pass rewrites a graph.

use crate::network::graph::{GraphNode, NodeId};

/// Maps the operations of a graph to those of its successor.
pub(super) struct Renaming(Vec<NodeId>);

impl Renaming {
    pub(super) fn new(nodes: usize) -> Self {
        Self(Vec::with_capacity(nodes))
    }

    /// Records what the next operation of the old graph became.
    pub(super) fn record(&mut self, new: NodeId) {
        self.0.push(new);
    }

    pub(super) fn rename(&self, old: NodeId) -> NodeId {
        self.0[old.index()]
    }

    pub(super) fn rename_inputs(&self, node: &GraphNode) -> Vec<NodeId> {
        node.inputs
            .iter()
            .map(|input| self.rename(*input))
            .collect()
    }
}
