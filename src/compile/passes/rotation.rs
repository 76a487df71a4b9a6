//! Turning the queries and keys of a packed product is what follows the linear layer that makes them.

use super::rewrite::{Change, rewrite};
use crate::compile::{Epilogue, Graph, Id, Op};

/// `concat(x cos + swapped(x) sin, values)` of the parts of a linear layer becomes one operation with it.
pub fn recognise(graph: &Graph) -> Graph {
    let uses = graph.uses();
    rewrite(graph, |graph, id| found(graph, &uses, id).unwrap_or(Change::Keep))
}

/// The node `id` joins turned queries and keys with values.
fn found(graph: &Graph, uses: &[usize], id: Id) -> Option<Change> {
    let [joined, values] = of(graph, id, &Op::Concat(2))?;
    let [sum] = of(graph, joined, &Op::Reshape)?;
    let [straight, crosswise] = of(graph, sum, &Op::Add)?;
    let [both, cosines] = of(graph, straight, &Op::Mul)?;
    let [swapped, sines] = of(graph, crosswise, &Op::Mul)?;
    let [batch, tokens, heads, size] = graph.shape(sum)[..] else { return None };
    let dim = heads / 2 * size;

    let part = |start, length| Op::Slice { axis: 2, start, length };
    let [turned] = of(graph, both, &Op::Reshape)?;
    let [flipped] = of(graph, swapped, &Op::Reshape)?;
    let [pairs] = of(graph, flipped, &Op::Flip(3))?;
    let [same] = of(graph, pairs, &Op::Reshape)?;
    let [linear] = of(graph, turned, &part(0, 2 * dim))?;
    let [whole] = of(graph, values, &part(2 * dim, dim))?;

    let [split] = of(graph, cosines, &part(0, 1))?;
    let [other] = of(graph, sines, &part(1, 1))?;
    let [table] = of(graph, split, &Op::Reshape)?;

    let one_source = same == turned && whole == linear && other == split;
    let in_pairs = graph.shape(pairs) == [batch, tokens, dim, 2] && graph.shape(both) == graph.shape(swapped);
    let packed = graph.shape(linear) == [batch, tokens, 3 * dim] && uses[linear.0] == 2;
    // One for all images, or one each.
    let [tables, ..] = graph.shape(split)[..] else { return None };
    let one_row_a_token = [1, batch].contains(&tables) && graph.shape(split) == [tables, tokens, 2, size];
    let in_rows = graph.shape(table).last() == Some(&(2 * size));
    let plain = graph.node(linear).op == Op::Linear(Epilogue::Bias);
    let fits = one_source && in_pairs && packed && one_row_a_token && in_rows && plain && angles(graph, table);
    fits.then(|| {
        let inputs = [graph.node(linear).inputs.clone(), vec![table]].concat();
        Change::Become(Op::Linear(Epilogue::Rotation { size }), inputs)
    })
}

/// Whether `id` is the table of all tokens, or of those that are kept.
fn angles(graph: &Graph, id: Id) -> bool {
    match graph.node(id).op {
        Op::Angles { .. } => true,
        Op::Gather => matches!(graph.node(graph.node(id).inputs[0]).op, Op::Angles { .. }),
        _ => false,
    }
}

/// What `id` is made of, if `op` makes it of so many values.
fn of<const N: usize>(graph: &Graph, id: Id, op: &Op) -> Option<[Id; N]> {
    let node = graph.node(id);
    node.inputs[..].try_into().ok().filter(|_| node.op == *op)
}
