//! Cutting images into patches is one operation.

use super::rewrite::{Change, rewrite};
use crate::compile::{Graph, Op};

/// The axes of `[B, C, rows, P, columns, P]` in the order of patches: `[B, rows, columns, C, P, P]`.
const PATCHES: [usize; 6] = [0, 2, 4, 1, 3, 5];

/// `reshape(permute(reshape(images)))` becomes `patchify`.
pub fn recognise(graph: &Graph) -> Graph {
    rewrite(graph, |graph, id| {
        let node = graph.node(id);
        let source = |of: &[crate::compile::Id]| of.first().map(|&id| graph.node(id));
        let Some(permute) = source(&node.inputs).filter(|_| node.op == Op::Reshape) else { return Change::Keep };
        let Some(split) = source(&permute.inputs).filter(|split| split.op == Op::Reshape) else { return Change::Keep };
        if permute.op != Op::Permute(PATCHES.to_vec()) {
            return Change::Keep;
        }
        let images = split.inputs[0];
        let ([batch, channels, height, width], [_, _, rows, patch, columns, across]) =
            (graph.shape(images), &split.shape[..])
        else {
            return Change::Keep;
        };
        let whole = patch == across && rows * patch == *height && columns * patch == *width;
        if !whole || node.shape != [*batch, rows * columns, channels * patch * patch] {
            return Change::Keep;
        }
        Change::Become(Op::Patchify { patch: *patch }, vec![images])
    })
}
