//! Removes operations whose result is never read.

use super::renaming::Renaming;
use crate::network::graph::{Graph, NodeId};

/// Keeps only the operations that the output depends on.
pub(super) fn remove_unread(graph: Graph) -> Result<Graph, String> {
    let output = graph.output();
    let mut is_read = vec![false; graph.nodes.len()];
    is_read[output.index()] = true;
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        if is_read[i] {
            for input in &node.inputs {
                is_read[input.index()] = true;
            }
        }
    }
    let mut pruned = Graph::default();
    let mut renaming = Renaming::new(graph.nodes.len());
    for (i, node) in graph.nodes.into_iter().enumerate() {
        if is_read[i] {
            let inputs = renaming.rename_inputs(&node);
            renaming.record(pruned.append(&node.name, node.operation, inputs)?);
        } else {
            // Read by no operation that is kept.
            renaming.record(NodeId(usize::MAX));
        }
    }
    pruned.set_output(renaming.rename(output))?;
    Ok(pruned)
}
