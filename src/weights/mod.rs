//! Weights as named tensors on the host, in the layout of the published checkpoints, and their way into a module.
//!
//! Only this module renames and transposes: everywhere else a parameter's path is its name.

mod file;
mod host;
mod module;

pub use file::{Metadata, read, write};
pub use host::{HostTensor, Tensors};
pub use module::{Gradients, Pick, Values, collect, fill, load};
