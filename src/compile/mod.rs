//! From the model's one definition to a plan of dispatches: captured, recognised, scheduled, written as WGSL.
//!
//! | stage | type | made by |
//! |---|---|---|
//! | what burn records | `GraphIr` | `import::capture`, the only code that knows it |
//! | plain graph | [`Graph`] | `import` |
//! | recognised graph | [`Graph`] | [`passes`] |
//! | plan | [`Plan`] | [`schedule`] |
//! | shaders | text | [`wgsl`] |

mod cost;
#[cfg(feature = "train")]
mod encoder;
pub mod graph;
#[cfg(feature = "train")]
mod import;
pub mod passes;
pub mod plan;
mod rebatch;
pub mod schedule;
mod text;
pub mod wgsl;

#[cfg(feature = "train")]
pub use encoder::{compile, graph_of};
pub use graph::{Epilogue, Graph, Id, Node, Op};
pub use plan::{Buffer, BufferId, Dispatch, Dtype, Kernel, Plan, Role};

/// Which of an encoder's outputs are its features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outputs {
    /// The last so many blocks, each after the final norm, joined along the width.
    pub layers: usize,
    /// What is taken of an image's tokens.
    pub take: Take,
}

/// What is taken of an image's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Each: `[B, N, D]`.
    Tokens,
    /// Their mean: `[B, D]`.
    Mean,
    /// So many of each image, `[B, K, D]`: the encoder sees no others. Which ones is said when it runs.
    Kept(usize),
}

#[cfg(all(test, feature = "train"))]
mod tests;
