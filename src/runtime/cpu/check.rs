//! Whether the processor's kernels can run a plan: sizes that fit together, and weights where weights belong.

use crate::compile::{BufferId, Dispatch, Dtype, Epilogue, Kernel, Plan, Role};
use crate::error::{Error, Kind, Result};
use crate::runtime::check as operands;

/// Checks all of `plan`.
///
/// # Errors
/// A data error that names the buffer or the dispatch.
pub fn check(plan: &Plan) -> Result<()> {
    for buffer in &plan.buffers {
        /// Values past which no buffer is sound.
        const MOST: usize = 1 << 40;
        let values = buffer.shape.iter().try_fold(1usize, |product, axis| product.checked_mul(*axis));
        if buffer.dtype != Dtype::F32 || values.is_none_or(|values| values > MOST) {
            return Err(broken(&buffer.label, "the processor cannot hold its values"));
        }
        if matches!(buffer.role, Role::Scratch { slot } if slot >= plan.buffers.len()) {
            return Err(broken(&buffer.label, "its memory is beyond all memory"));
        }
    }
    operands::check(plan)?;
    let mut matrices = vec![None; plan.buffers.len()];
    plan.dispatches.iter().try_for_each(|dispatch| weights(plan, dispatch, &mut matrices))
}

/// Checks the sizes of a dispatch and the roles of its operands; `matrices` says of each weight whether it is packed.
fn weights(plan: &Plan, dispatch: &Dispatch, matrices: &mut [Option<bool>]) -> Result<()> {
    if !sound(dispatch.kernel) {
        return Err(broken(&dispatch.label, "its sizes do not fit together"));
    }
    let read = dispatch.operands.len().saturating_sub(1);
    for (place, id) in dispatch.operands[..read].iter().enumerate() {
        let is_weight = matches!(plan.buffer(*id).role, Role::Weight { .. });
        let is_matrix = matrix(dispatch) == Some(*id);
        let before = matrices[id.0].replace(is_matrix);
        if is_weight != (place > 0) || is_weight && before.is_some_and(|before| before != is_matrix) {
            return Err(broken(&dispatch.label, &format!("{} cannot be its operand {place}", plan.buffer(*id).label)));
        }
    }
    Ok(())
}

/// The weight that a product packs.
pub fn matrix(dispatch: &Dispatch) -> Option<BufferId> {
    match dispatch.kernel {
        Kernel::Matmul { .. } => dispatch.operands.get(1).copied(),
        _ => None,
    }
}

/// Whether the sizes of a kernel fit together and leave something to do.
fn sound(kernel: Kernel) -> bool {
    match kernel {
        Kernel::Patchify { channels, height, width, patch, .. } => {
            channels > 0 && patch > 0 && height.is_multiple_of(patch) && width.is_multiple_of(patch)
        }
        Kernel::Matmul { k, n, epilogue, table, .. } => {
            k > 0 && n > 0 && (table > 0) == (epilogue == Epilogue::Position)
        }
        Kernel::Norm { dim, stride, column, .. } => dim > 0 && column.checked_add(dim).is_some_and(|end| end <= stride),
        Kernel::Attention { tokens, heads, size, .. } => tokens > 0 && heads > 0 && size > 0,
        Kernel::Pool { tokens, dim, .. } => tokens > 0 && dim > 0,
    }
}

fn broken(name: &str, why: &str) -> Error {
    Error::new(Kind::Data, format!("the plan cannot be run: {name}: {why}")).with_remedy("compile it again")
}
