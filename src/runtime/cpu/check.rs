//! What the processor's kernels ask of a plan beside what every engine does: values of 32 bits but for the weights of
//! products, and weights where weights belong.

use super::memory;
use crate::compile::{Buffer, BufferId, Dispatch, Dtype, Kernel, Plan, Role};
use crate::error::Result;
use crate::runtime::check::{self as all, Ends, broken};

/// The operand of a product that is packed; no other place can read what is.
const WEIGHT: usize = 1;
/// That which is its table: a constant, or the rows that are kept of one.
const TABLE: usize = 3;

/// Checks all of `plan`.
///
/// # Errors
/// A data error that names the buffer or the dispatch, a device error where the machine lacks the memory.
pub fn check(plan: &Plan) -> Result<Ends> {
    let ends = all::check(plan)?;
    if let Some(buffer) = plan.buffers.iter().find(|buffer| buffer.dtype == Dtype::F16) {
        return Err(broken(&buffer.label, "the processor knows no values of f16")
            .with_remedy("compile it again with --dtype f32 or bf16, or take a GPU with --device"));
    }
    let mut reads = vec![None; plan.buffers.len()];
    plan.dispatches.iter().try_for_each(|dispatch| weights(plan, dispatch, &mut reads))?;
    let unpacked = |(buffer, read): (&Buffer, &Option<Option<_>>)| {
        let lost = buffer.dtype == Dtype::Bf16 && !matches!(read, Some(Some(_)));
        lost.then(|| broken(&buffer.label, "only the weights of products can be of bf16"))
    };
    if let Some(error) = plan.buffers.iter().zip(&reads).find_map(unpacked) {
        return Err(error);
    }
    memory::require(plan)?;
    Ok(ends)
}

/// Checks the roles of a dispatch's operands; `reads` says of each buffer how its readers so far read it.
fn weights(plan: &Plan, dispatch: &Dispatch, reads: &mut [Option<Option<[usize; 2]>>]) -> Result<()> {
    let read = dispatch.operands.len().saturating_sub(1);
    for (place, id) in dispatch.operands[..read].iter().enumerate() {
        if plan.buffer(*id).role == Role::Kept {
            continue;
        }
        let is_weight = plan.buffer(*id).role.is_constant();
        let sizes = packed(dispatch, *id).filter(|_| place == WEIGHT);
        let before = reads[id.0].replace(sizes);
        let either = matches!((dispatch.kernel, place), (Kernel::Gather { .. }, 0) | (Kernel::Matmul { .. }, TABLE));
        if !either && is_weight != (place > 0) || is_weight && before.is_some_and(|before| before != sizes) {
            return Err(broken(&dispatch.label, &format!("{} cannot be its operand {place}", plan.buffer(*id).label)));
        }
    }
    Ok(())
}

/// Rows and columns of the weight `id`, where it is the one that a product packs.
pub fn packed(dispatch: &Dispatch, id: BufferId) -> Option<[usize; 2]> {
    match dispatch.kernel {
        Kernel::Matmul { k, n, .. } if dispatch.operands.get(WEIGHT) == Some(&id) => Some([k, n]),
        _ => None,
    }
}
