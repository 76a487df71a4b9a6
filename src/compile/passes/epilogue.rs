//! What follows a linear layer is done to its sums before they are stored.

use super::rewrite::{Change, rewrite};
use crate::compile::{Epilogue, Graph, Id, Op};

/// `gelu(linear)` becomes one operation.
pub fn gelu(graph: &Graph) -> Graph {
    let uses = graph.uses();
    rewrite(graph, |graph, id| {
        let node = graph.node(id);
        match node.inputs.first().filter(|_| node.op == Op::Gelu) {
            Some(&linear) if plain(graph, &uses, linear) => {
                Change::Become(Op::Linear(Epilogue::Gelu), graph.node(linear).inputs.clone())
            }
            _ => Change::Keep,
        }
    })
}

/// `linear + table`, where the table is a parameter of one row a token, becomes one operation.
pub fn position(graph: &Graph) -> Graph {
    adds(graph, Epilogue::Position, |graph, linear, table| {
        let ([_, tokens, width], [1, rows, columns]) = (graph.shape(linear), graph.shape(table)) else { return false };
        tokens == rows && width == columns && graph.parameter(table).is_some()
    })
}

/// `x + linear`, of one shape, becomes one operation.
pub fn residual(graph: &Graph) -> Graph {
    adds(graph, Epilogue::Residual, |graph, linear, stream| graph.shape(linear) == graph.shape(stream))
}

fn adds(graph: &Graph, epilogue: Epilogue, fits: impl Fn(&Graph, Id, Id) -> bool) -> Graph {
    let uses = graph.uses();
    rewrite(graph, |graph, id| {
        let node = graph.node(id);
        let [a, b] = node.inputs[..] else { return Change::Keep };
        let pairs = [(a, b), (b, a)];
        let found = pairs.into_iter().find(|&(linear, other)| {
            node.op == Op::Add && plain(graph, &uses, linear) && other < linear && fits(graph, linear, other)
        });
        let Some((linear, other)) = found else { return Change::Keep };
        let mut inputs = graph.node(linear).inputs.clone();
        inputs.push(other);
        Change::Become(Op::Linear(epilogue), inputs)
    })
}

/// A linear layer without an epilogue, which nothing else reads.
fn plain(graph: &Graph, uses: &[usize], id: Id) -> bool {
    graph.node(id).op == Op::Linear(Epilogue::Bias) && uses[id.0] == 1
}
