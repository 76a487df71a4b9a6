//! Making a graph anew, node by node.

use crate::compile::{Graph, Id, Op};

/// What becomes of a node.
pub enum Change {
    /// It stays.
    Keep,
    /// Another value of the old graph, with the same values in the same shape, takes its place.
    Use(Id),
    /// Another operation on values of the old graph takes its place.
    Become(Op, Vec<Id>),
    /// Likewise, with a result of another shape, which is then reshaped.
    Reshaped(Op, Vec<Id>, Vec<usize>),
}

/// Copies `graph`, with `change` asked for each node.
pub fn rewrite(graph: &Graph, change: impl Fn(&Graph, Id) -> Change) -> Graph {
    let mut new = Graph::default();
    let mut places: Vec<Id> = Vec::with_capacity(graph.nodes.len());
    for (i, node) in graph.nodes.iter().enumerate() {
        let moved = |inputs: &[Id]| -> Vec<Id> { inputs.iter().map(|id| places[id.0]).collect() };
        let place = match change(graph, Id(i)) {
            Change::Keep => new.push(node.op.clone(), moved(&node.inputs), node.shape.clone()),
            Change::Use(id) => places[id.0],
            Change::Become(op, inputs) => new.push(op, moved(&inputs), node.shape.clone()),
            Change::Reshaped(op, inputs, shape) => {
                let value = new.push(op, moved(&inputs), shape);
                new.push(Op::Reshape, vec![value], node.shape.clone())
            }
        };
        places.push(place);
    }
    new.outputs = graph.outputs.iter().map(|id| places[id.0]).collect();
    new
}

/// `graph` without the nodes that no output needs.
pub fn alive(graph: &Graph) -> Graph {
    let mut needed = vec![false; graph.nodes.len()];
    graph.outputs.iter().for_each(|id| needed[id.0] = true);
    for i in (0..graph.nodes.len()).rev() {
        if needed[i] {
            graph.nodes[i].inputs.iter().for_each(|id| needed[id.0] = true);
        }
    }
    ordered(graph, (0..graph.nodes.len()).filter(|&i| needed[i]))
}

/// The nodes of `graph` in another order, which must name every node that one before it reads.
pub fn ordered(graph: &Graph, order: impl IntoIterator<Item = usize>) -> Graph {
    let mut new = Graph::default();
    let mut places = vec![Id(usize::MAX); graph.nodes.len()];
    for i in order {
        let node = &graph.nodes[i];
        let inputs = node.inputs.iter().map(|id| places[id.0]).collect();
        places[i] = new.push(node.op.clone(), inputs, node.shape.clone());
    }
    new.outputs = graph.outputs.iter().map(|id| places[id.0]).collect();
    new
}

/// The value behind any reshapes.
pub fn bare(graph: &Graph, mut id: Id) -> Id {
    while graph.node(id).op == Op::Reshape {
        id = graph.node(id).inputs[0];
    }
    id
}
