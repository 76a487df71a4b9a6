//! Of reshapes in a row only the last counts, and one to the same shape counts nothing.

use super::rewrite::{Change, bare, rewrite};
use crate::compile::{Graph, Op};

/// Merges reshapes.
pub fn merge(graph: &Graph) -> Graph {
    rewrite(graph, |graph, id| {
        let node = graph.node(id);
        if node.op != Op::Reshape {
            return Change::Keep;
        }
        let source = bare(graph, id);
        if graph.shape(source) == node.shape {
            return Change::Use(source);
        }
        Change::Become(Op::Reshape, vec![source])
    })
}
