//! Passes: rewrite a graph so that it has fewer operations and the same result.

mod fold;
mod fuse;
mod prune;
mod renaming;
mod select;
#[cfg(test)]
mod tests;

use super::Graph;

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
