//! Selects a row as early as possible, so that the other rows are not computed in vain.
//!
//! After the last attention of a transformer, the rows are independent of each other. If only one of
//! them is read, the operations up to the attention run on this row alone.

use std::collections::HashMap;

use super::renaming::Renaming;
use crate::network::graph::{
    Graph, NodeId,
    operations::{GraphOperation, RowPosition},
};

/// The rows of a result that later operations read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadRows {
    None,
    Only(RowPosition),
    All,
}

impl ReadRows {
    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, rows) | (rows, Self::None) => rows,
            (a, b) if a == b => a,
            _ => Self::All,
        }
    }
}

/// Moves every selection of a row before the operations that treat rows independently.
pub(super) fn select_rows_early(graph: Graph) -> Result<Graph, String> {
    let read = find_read_rows(&graph);
    let output = graph.output();
    let mut selected = Graph::default();
    let mut renaming = Renaming::new(graph.nodes.len());
    // The row of an operation that computes all rows.
    let mut rows: HashMap<(NodeId, RowPosition), NodeId> = HashMap::new();
    let is_single: Vec<bool> = graph
        .nodes
        .iter()
        .zip(&read)
        .map(|(node, read)| matches!(read, ReadRows::Only(_)) && node.operation.is_row_wise())
        .collect();
    for (i, node) in graph.nodes.into_iter().enumerate() {
        let position = match (&node.operation, read[i]) {
            (GraphOperation::SelectRow(position), _) => Some(*position),
            (_, ReadRows::Only(position)) if is_single[i] => Some(position),
            _ => None,
        };
        let mut inputs = renaming.rename_inputs(&node);
        if let Some(position) = position {
            for (input, old) in inputs.iter_mut().zip(&node.inputs) {
                if is_single[old.index()] {
                    continue;
                }
                let row = match rows.get(&(*input, position)) {
                    Some(row) => *row,
                    None => {
                        let operation = GraphOperation::SelectRow(position);
                        selected.append("selecting a row", operation, vec![*input])?
                    }
                };
                rows.insert((*input, position), row);
                *input = row;
            }
        }
        let is_selection = matches!(node.operation, GraphOperation::SelectRow(_));
        renaming.record(match inputs.as_slice() {
            // The input is already the row.
            [row] if is_selection => *row,
            _ => selected.append(&node.name, node.operation, inputs)?,
        });
    }
    selected.set_output(renaming.rename(output))?;
    Ok(selected)
}

/// Returns which rows of each operation's result are read, from the last operation to the first.
fn find_read_rows(graph: &Graph) -> Vec<ReadRows> {
    let mut read = vec![ReadRows::None; graph.nodes.len()];
    read[graph.output().index()] = ReadRows::All;
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        let of_inputs = match (&node.operation, read[i]) {
            (_, ReadRows::None) => ReadRows::None,
            (GraphOperation::SelectRow(position), _) => ReadRows::Only(*position),
            (operation, rows) if operation.is_row_wise() => rows,
            _ => ReadRows::All,
        };
        for input in &node.inputs {
            read[input.index()] = read[input.index()].join(of_inputs);
        }
    }
    read
}
