//! A table of positions is the same for every image: what reads copies of it reads the table itself, again and again.

use super::rewrite::{Change, bare, rewrite};
use crate::compile::{Graph, Id, Op};

/// `gather(repeat(table), rows)` becomes `gather(table, rows)`, which counts rows round and round.
pub fn once(graph: &Graph) -> Graph {
    rewrite(graph, |graph, id| found(graph, id).unwrap_or(Change::Keep))
}

/// The node `id` takes rows of copies that stand one after the other.
fn found(graph: &Graph, id: Id) -> Option<Change> {
    let node = graph.node(id);
    let ([copies, rows], Op::Gather) = (&node.inputs[..], &node.op) else { return None };
    let copies = bare(graph, *copies);
    let Op::Repeat { axis: 0, .. } = graph.node(copies).op else { return None };
    let table = graph.node(copies).inputs[0];
    let whole_rows = graph.shape(table).last() == node.shape.last();
    whole_rows.then(|| Change::Become(Op::Gather, vec![table, *rows]))
}
