//! Folds scales (batch norms and layer scales) into the convolution or linear layer before them.

use super::renaming::Renaming;
use crate::network::graph::{Graph, operations::GraphOperation};

/// Removes every scale whose input is a convolution or a linear layer that has no other reader.
pub(super) fn fold_scales(graph: Graph) -> Result<Graph, String> {
    let readers = graph.count_readers();
    let output = graph.output();
    let mut folded = Graph::default();
    let mut renaming = Renaming::new(graph.nodes.len());
    for node in graph.nodes {
        let inputs = renaming.rename_inputs(&node);
        if let (GraphOperation::Scale(scale), [input], [old_input]) =
            (&node.operation, inputs.as_slice(), node.inputs.as_slice())
            && readers[old_input.index()] == 1
        {
            let target = &mut folded.nodes[input.index()];
            let is_folded = match &mut target.operation {
                GraphOperation::Conv(conv) if conv.activation.is_none() => {
                    conv.scale_outputs(scale);
                    true
                }
                GraphOperation::Linear(linear) if linear.activation.is_none() => {
                    linear.scale_outputs(scale);
                    true
                }
                _ => false,
            };
            if is_folded {
                if !target.operation.has_finite_weights() {
                    return Err(format!(
                        "{} with {} contains numbers that are not finite",
                        target.name, node.name
                    ));
                }
                renaming.record(*input);
                continue;
            }
        }
        renaming.record(folded.append(&node.name, node.operation, inputs)?);
    }
    folded.set_output(renaming.rename(output))?;
    Ok(folded)
}
