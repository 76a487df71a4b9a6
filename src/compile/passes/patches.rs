//! Cutting pictures into patches, or clips into tubelets, is one operation.

use super::rewrite::{Change, rewrite};
use crate::compile::{Graph, Id, Node, Op};

/// The axes of `[B, C, rows, P, columns, P]` in the order of patches: `[B, rows, columns, C, P, P]`.
const PATCHES: [usize; 6] = [0, 2, 4, 1, 3, 5];
/// The axes of `[B, C, times, T, rows, P, columns, P]` in that of tubelets: `[B, times, rows, columns, C, T, P, P]`.
const TUBELETS: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

/// `reshape(permute(reshape(images)))` becomes `patchify`.
pub fn recognise(graph: &Graph) -> Graph {
    rewrite(graph, |graph, id| found(graph, id).unwrap_or(Change::Keep))
}

/// The node `id` lays out, row by row, what a permutation has cut.
fn found(graph: &Graph, id: Id) -> Option<Change> {
    let rows_of = |node: &Node| node.inputs.first().copied().filter(|_| node.op == Op::Reshape);
    let joined = graph.node(id);
    let permute = graph.node(rows_of(joined)?);
    let Op::Permute(axes) = &permute.op else { return None };
    let split = graph.node(permute.inputs[0]);
    let images = rows_of(split)?;
    // A picture is a clip of one frame.
    let [batch, channels, times, tubelet, rows, patch, columns, across] = match split.shape[..] {
        [batch, channels, rows, patch, columns, across] if axes[..] == PATCHES => {
            [batch, channels, 1, 1, rows, patch, columns, across]
        }
        [..] if axes[..] == TUBELETS => split.shape[..].try_into().ok()?,
        _ => return None,
    };
    let whole = graph.shape(images) == [batch, channels * times * tubelet, rows * patch, columns * across];
    let in_rows = joined.shape == [batch, times * rows * columns, channels * tubelet * patch * across];
    (whole && in_rows && patch == across).then(|| Change::Become(Op::Patchify { tubelet, patch }, vec![images]))
}
