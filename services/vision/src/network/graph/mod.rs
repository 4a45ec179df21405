//! A network as data: a list of operations in the order of execution, with their weights and shapes.
//!
//! [`builder`] creates a graph from the weights of a model and checks every shape. [`passes`] then
//! rewrites it to fewer operations. An executor reads the result once, moves the weights to where it
//! needs them, and runs any graph.
//!
//! All shapes are those of one image or one text; an executor runs a batch of them. Weights are in
//! PyTorch's layout, row-major.

pub(crate) mod builder;
pub(super) mod operations;
mod passes;

use self::operations::{GraphOperation, GraphShape};

/// An operation of a graph and, at the same time, its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(usize);

impl NodeId {
    /// Returns the position in [`Graph::nodes`].
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

#[derive(Debug, Clone)]
pub(crate) struct GraphNode {
    /// The name of the weights or of the operation, for errors.
    pub name: String,
    pub operation: GraphOperation,
    /// What the operation reads, all earlier in the list.
    pub inputs: Vec<NodeId>,
    /// Shape of the result.
    pub shape: GraphShape,
}

/// Operations whose shapes fit together and whose weights are finite.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    nodes: Vec<GraphNode>,
    output: Option<NodeId>,
}

impl Graph {
    /// Appends an operation.
    ///
    /// # Errors
    /// Fails if the operation cannot read these inputs, or if its weights have another shape or are
    /// not finite.
    pub(crate) fn push(
        &mut self,
        name: &str,
        operation: GraphOperation,
        inputs: Vec<NodeId>,
    ) -> Result<NodeId, String> {
        if !operation.has_finite_weights() {
            return Err(not_finite(name));
        }
        self.append(name, operation, inputs)
    }

    /// Appends an operation of a checked graph, without checking again that its weights are finite.
    fn append(
        &mut self,
        name: &str,
        operation: GraphOperation,
        inputs: Vec<NodeId>,
    ) -> Result<NodeId, String> {
        let shapes: Vec<GraphShape> = inputs.iter().map(|input| self.shape(*input)).collect();
        let shape = operation
            .output_shape(&shapes)
            .map_err(|problem| format!("{name} {problem}"))?;
        self.nodes.push(GraphNode {
            name: name.to_owned(),
            operation,
            inputs,
            shape,
        });
        Ok(NodeId(self.nodes.len() - 1))
    }

    /// Sets the operation whose result is the network's result: one row for each image or text.
    pub(crate) fn set_output(&mut self, output: NodeId) -> Result<(), String> {
        let GraphShape::Rows { rows: 1, .. } = self.shape(output) else {
            return Err(format!(
                "the network ends with {} instead of one row of numbers",
                self.shape(output)
            ));
        };
        self.output = Some(output);
        Ok(())
    }

    pub(crate) fn nodes(&self) -> &[GraphNode] {
        &self.nodes
    }

    /// Returns the operations, so that an executor can release the weights one by one.
    pub(crate) fn into_nodes(self) -> Vec<GraphNode> {
        self.nodes
    }

    pub(crate) fn shape(&self, id: NodeId) -> GraphShape {
        self.nodes[id.0].shape
    }

    pub(crate) fn output(&self) -> NodeId {
        self.output
            .expect("the builder sets the output of every graph")
    }

    /// Returns how many numbers the network returns for each image or text.
    pub(crate) fn output_width(&self) -> usize {
        match self.shape(self.output()) {
            GraphShape::Rows { width, .. } => width,
            GraphShape::Map { .. } => unreachable!("set_output accepts only a row"),
        }
    }

    /// Counts the readers of every operation. The output has one more: the caller.
    fn count_readers(&self) -> Vec<usize> {
        let mut readers = vec![0; self.nodes.len()];
        for input in self.nodes.iter().flat_map(|node| &node.inputs) {
            readers[input.0] += 1;
        }
        readers[self.output().0] += 1;
        readers
    }
}

fn not_finite(name: &str) -> String {
    format!("{name} contains numbers that are not finite")
}
