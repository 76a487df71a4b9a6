//! From the model's one definition to a plan of dispatches: captured, recognised, scheduled, written as WGSL.
//!
//! | stage | type | made by |
//! |---|---|---|
//! | what burn records | `GraphIr` | `import::capture`, the only code that knows it |
//! | plain graph | [`Graph`] | `import` |
//! | recognised graph | [`Graph`] | [`passes`] |
//! | plan | [`Plan`] | [`schedule`] |
//! | shaders | text | [`wgsl`] |

pub mod graph;
pub mod passes;
pub mod plan;
pub mod wgsl;

pub use graph::{Epilogue, Graph, Id, Node, Op};
pub use plan::{Buffer, BufferId, Dispatch, Dtype, Kernel, Plan, Role};
