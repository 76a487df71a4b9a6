//! Every node as early as it can be, so that the residual stream is read before the next block adds to it.

use super::rewrite::ordered;
use crate::compile::Graph;

/// Moves each node to just behind the last of its inputs.
pub fn early(graph: &Graph) -> Graph {
    // An input's own last input always stands before it, so this key never puts a node before what it reads.
    let last = |i: usize| graph.nodes[i].inputs.iter().filter(|id| !graph.node(**id).inputs.is_empty()).max();
    let mut order: Vec<usize> = (0..graph.nodes.len()).collect();
    order.sort_by_key(|&i| last(i).copied());
    ordered(graph, order)
}
