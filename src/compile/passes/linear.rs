//! A matrix product and the vector added to it are one linear layer, whatever reshapes stand between.

use super::rewrite::{Change, bare, rewrite};
use crate::compile::{Epilogue, Graph, Id, Op};

/// `add(matmul(x, W), b)` becomes `linear(x, W, b)` with the leading axes of `x`.
pub fn recognise(graph: &Graph) -> Graph {
    let uses = graph.uses();
    rewrite(graph, |graph, id| {
        let node = graph.node(id);
        let [product, bias] = node.inputs[..] else { return Change::Keep };
        if node.op != Op::Add || graph.node(product).op != Op::MatMul || uses[product.0] != 1 {
            return Change::Keep;
        }
        let [x, weight] = graph.node(product).inputs[..] else { return Change::Keep };
        let (x, weight, bias) = (rows(graph, x), plane(graph, weight), bare(graph, bias));
        let ([_, columns], [width]) = (graph.shape(weight), graph.shape(bias)) else { return Change::Keep };
        if columns != width {
            return Change::Keep;
        }
        let mut shape = graph.shape(x).to_vec();
        shape.pop();
        shape.push(*columns);
        Change::Reshaped(Op::Linear(Epilogue::Bias), vec![x, weight, bias], shape)
    })
}

/// The value behind reshapes that keep the last axis.
fn rows(graph: &Graph, mut id: Id) -> Id {
    while graph.node(id).op == Op::Reshape {
        let before = graph.node(id).inputs[0];
        if graph.shape(before).last() != graph.shape(id).last() {
            break;
        }
        id = before;
    }
    id
}

/// The matrix behind reshapes that only add axes of length 1.
fn plane(graph: &Graph, mut id: Id) -> Id {
    while graph.node(id).op == Op::Reshape && graph.shape(id).len() > 2 {
        let before = graph.node(id).inputs[0];
        if graph.shape(id)[graph.shape(id).len() - 2..] != *graph.shape(before) {
            break;
        }
        id = before;
    }
    id
}
