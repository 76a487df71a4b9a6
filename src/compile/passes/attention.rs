//! Attention reads queries, keys and values where the packed product left them; nothing is permuted.

use super::rewrite::{Change, rewrite};
use crate::compile::{Graph, Id, Op};

/// Splitting, permuting and slicing of the packed product around an attention become one operation on it.
pub fn recognise(graph: &Graph) -> Graph {
    rewrite(graph, |graph, id| found(graph, id).unwrap_or(Change::Keep))
}

/// The node `id` joins the heads of an attention over three parts of one value.
fn found(graph: &Graph, id: Id) -> Option<Change> {
    let joined = graph.node(id);
    let heads_last = source(graph, id, Op::Reshape)?;
    let attention = source(graph, heads_last, Op::Permute(vec![0, 2, 1, 3]))?;
    let Op::Attention { scale } = graph.node(attention).op else { return None };
    let [batch, heads, tokens, size] = graph.shape(attention)[..] else { return None };
    let packed = graph.node(attention).inputs.iter().enumerate().map(|(i, &input)| part(graph, input, i));
    let packed: Vec<Id> = packed.collect::<Option<_>>()?;
    let split = source(graph, packed[0], Op::Permute(vec![2, 0, 3, 1, 4]))?;
    let product = source(graph, split, Op::Reshape)?;
    let fits = packed.iter().all(|&other| other == packed[0])
        && graph.shape(split) == [batch, tokens, 3, heads, size]
        && graph.shape(product) == [batch, tokens, 3 * heads * size]
        && joined.shape == [batch, tokens, heads * size];
    fits.then(|| Change::Become(Op::SelfAttention { heads, scale }, vec![product]))
}

/// What `id` is made of, if `op` makes it.
fn source(graph: &Graph, id: Id, op: Op) -> Option<Id> {
    (graph.node(id).op == op).then(|| graph.node(id).inputs[0])
}

/// The value of which `id` is part `index`: queries, keys or values.
fn part(graph: &Graph, id: Id, index: usize) -> Option<Id> {
    let slice = source(graph, id, Op::Reshape)?;
    source(graph, slice, Op::Slice { axis: 0, start: index, length: 1 })
}
