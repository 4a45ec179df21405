//! Fuses additions and activations into the convolution or linear layer before them.

use super::renaming::Renaming;
use crate::{
    model::towers::Activation,
    network::graph::{Graph, GraphNode, NodeId, operations::GraphOperation},
};

/// Removes every addition of which one operand, and every activation whose input, is a convolution or
/// a linear layer without an activation and without another reader.
pub(super) fn fuse_into_products(graph: Graph) -> Graph {
    let readers = graph.count_readers();
    let output = graph.output();
    let mut nodes: Vec<GraphNode> = Vec::with_capacity(graph.nodes.len());
    let mut renaming = Renaming::new(graph.nodes.len());
    for mut node in graph.nodes {
        let old_inputs = std::mem::take(&mut node.inputs);
        node.inputs = old_inputs
            .iter()
            .map(|input| renaming.rename(*input))
            .collect();
        let target = match node.operation {
            GraphOperation::Activation(activation) => {
                let has_one_reader = readers[old_inputs[0].index()] == 1;
                let target = node.inputs[0];
                (has_one_reader && fuse_activation(&mut nodes[target.index()], activation))
                    .then_some(target)
            }
            // The later operand can read the result of the earlier one.
            GraphOperation::Add => {
                let later = usize::from(node.inputs[1] > node.inputs[0]);
                let (target, residual) = (node.inputs[later], node.inputs[1 - later]);
                let has_one_reader = readers[old_inputs[later].index()] == 1;
                (has_one_reader && fuse_residual(&mut nodes[target.index()], residual))
                    .then_some(target)
            }
            _ => None,
        };
        renaming.record(target.unwrap_or_else(|| {
            nodes.push(node);
            NodeId(nodes.len() - 1)
        }));
    }
    Graph {
        nodes,
        output: Some(renaming.rename(output)),
    }
}

fn activation_of(node: &mut GraphNode) -> Option<&mut Option<Activation>> {
    match &mut node.operation {
        GraphOperation::Conv(conv) => Some(&mut conv.activation),
        GraphOperation::Linear(linear) => Some(&mut linear.activation),
        _ => None,
    }
}

fn fuse_activation(node: &mut GraphNode, activation: Activation) -> bool {
    match activation_of(node) {
        Some(slot @ None) => {
            *slot = Some(activation);
            true
        }
        _ => false,
    }
}

/// Makes `residual` the second input, which is added before the activation.
fn fuse_residual(node: &mut GraphNode, residual: NodeId) -> bool {
    let is_free = node.inputs.len() == 1 && matches!(activation_of(node), Some(None));
    if is_free {
        node.inputs.push(residual);
    }
    is_free
}
