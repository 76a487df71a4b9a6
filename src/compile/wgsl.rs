//! WGSL for a dispatch: which variant of which shader, its constants, and how many workgroups of it.

mod choose;
mod expand;

use crate::error::Result;

pub use choose::{MATMUL_TILES, Matrices, Side, Tile};
pub use expand::{FILES, Permutation, permutations};

use super::{Dtype, Kernel, Plan};

/// A shader that is ready to be compiled and launched.
///
/// Its bindings are the dispatch's operands in order, all storage buffers of group 0; the last one is read and written,
/// the others are read.
#[derive(Debug, Clone, PartialEq)]
pub struct Shader {
    /// The variant's name in `shaders/permutations`.
    pub permutation: String,
    /// Its text, with nothing left to expand.
    pub source: String,
    /// The sizes, for its `override` declarations.
    pub constants: Vec<(&'static str, f64)>,
    /// Workgroups to launch.
    pub workgroups: [u32; 3],
    /// Threads of a workgroup.
    pub threads: u32,
    /// Memory of a workgroup.
    pub workgroup_bytes: u32,
}

/// The shader for `kernel` with operands that are stored as `operands`; matrix products by tiles of `tile`, or of a
/// size that keeps a large GPU busy.
///
/// # Errors
/// A usage error that names the kernel where no variant serves its sizes or the way in which its operands are stored.
pub fn shader(kernel: &Kernel, operands: &[Dtype], tile: Option<Tile>) -> Result<Shader> {
    let choice = choose::choose(kernel, operands, tile)?;
    let source = expand::named(&choice.permutation)?.source()?;
    Ok(Shader {
        permutation: choice.permutation,
        source,
        constants: choice.constants,
        workgroups: choice.workgroups,
        threads: choice.threads,
        workgroup_bytes: choice.workgroup_bytes,
    })
}

/// Whether there is a shader for each dispatch of `plan`.
pub fn serves(plan: &Plan) -> bool {
    plan.dispatches.iter().all(|dispatch| {
        let stored: Vec<Dtype> = dispatch.operands.iter().map(|id| plan.buffer(*id).dtype).collect();
        choose::choose(&dispatch.kernel, &stored, None).is_ok()
    })
}
