//! Rewrites of a graph: what burn records becomes what the kernels compute.

mod attention;
mod epilogue;
mod linear;
mod order;
mod patches;
mod repeats;
mod reshapes;
mod rewrite;
mod rotation;

pub use rewrite::bare;

use super::Graph;

/// The passes, in the order in which they run; each leaves a graph that computes the same.
const PASSES: &[fn(&Graph) -> Graph] = &[
    // First, as the heads of an attention with one head are joined by nothing that a linear layer would not look through.
    attention::recognise,
    linear::recognise,
    reshapes::merge,
    patches::recognise,
    repeats::once,
    rotation::recognise,
    epilogue::gelu,
    epilogue::position,
    epilogue::residual,
    order::early,
];

/// Runs all passes.
pub fn run(graph: &Graph) -> Graph {
    PASSES.iter().fold(graph.clone(), |graph, pass| rewrite::alive(&pass(&graph)))
}
