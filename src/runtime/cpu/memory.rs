//! What a plan takes of the machine's memory on the processor, known before any of it is taken.

use std::iter::{repeat_n, successors};

use super::{check::packed, shapes_of};
use crate::compile::{BufferId, Dtype, Kernel, Plan, Role};
use crate::error::Result;
use crate::kernels::matmul;
use crate::kernels::panels::Panels;
use crate::kernels::workspace::Workspace;
use crate::runtime::check::room;

/// Values that the kernels of a plan need beside its buffers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside {
    /// Of an attention's result head by head, and of the logarithms of its sums.
    pub heads: [usize; 2],
    /// Of the workspace of a thread.
    pub workspace: usize,
}

impl Beside {
    /// The most that any kernel of a checked plan needs: its buffers can be counted, and so can what follows from them.
    pub fn of(plan: &Plan) -> Self {
        let mut most = Self::default();
        for dispatch in &plan.dispatches {
            let (heads, workspace) = match (dispatch.kernel, shapes_of(dispatch.kernel)) {
                (Kernel::Matmul { k, .. }, _) => ([0; 2], matmul::workspace(k)),
                (_, Some(shapes)) => {
                    let rows = shapes.batch * shapes.tokens * shapes.heads;
                    ([rows * shapes.size, rows], shapes.workspace())
                }
                _ => ([0; 2], 0),
            };
            most.workspace = most.workspace.max(workspace);
            most.heads = [most.heads[0].max(heads[0]), most.heads[1].max(heads[1])];
        }
        most
    }
}

/// Checks that the machine has memory for a checked `plan`, with its weights as they are packed, and for what its kernels
/// need beside it in the current pool.
///
/// # Errors
/// A device error with what is needed and what there is.
pub fn require(plan: &Plan) -> Result<()> {
    let Beside { heads, workspace } = Beside::of(plan);
    let own = (0..plan.buffers.len()).map(|i| lasting(plan, BufferId(i)));
    let beside = heads.into_iter().chain(repeat_n(workspace, Workspace::threads()));
    room(own.chain(plan.slots()).chain(beside.map(|values| values * size_of::<f32>())))
}

/// A checked `plan` for as many images at once as the machine has memory for: its batch is halved until they fit. Where not
/// even one does, or images share something unevenly, it is `plan` itself.
pub fn fitting(plan: Plan) -> Plan {
    let mut halves = successors(Some(plan.batch), |images| (*images > 1).then(|| images.div_ceil(2)));
    let fits = halves.find_map(|images| plan.of_batch(images).filter(|plan| require(plan).is_ok()));
    fits.unwrap_or(plan)
}

/// Bytes of a buffer that shares its memory with no other.
fn lasting(plan: &Plan, id: BufferId) -> usize {
    let buffer = plan.buffer(id);
    if let Role::Scratch { .. } = buffer.role {
        return 0;
    }
    match plan.dispatches.iter().find_map(|dispatch| packed(dispatch, id)) {
        Some([k, n]) if buffer.dtype == Dtype::Bf16 => Panels::values([k.div_ceil(2), n]) * size_of::<u32>(),
        Some(sizes) => Panels::values(sizes) * size_of::<f32>(),
        None => buffer.len() * size_of::<f32>(),
    }
}

#[cfg(all(test, feature = "train"))]
mod tests {
    use super::*;
    use crate::compile::{Outputs, Take, compile};
    use crate::config::Preset;

    #[test]
    fn a_batch_that_no_memory_holds_is_halved_until_it_fits() {
        let model = Preset::find("ijepa-vit-tiny16").unwrap().config().model;
        let plan = compile(&model, 1, Outputs { layers: 1, take: Take::Mean }, Dtype::F32).unwrap();
        let huge = plan.of_batch(1 << 20).unwrap();
        assert!(require(&huge).is_err());
        let fits = fitting(huge.clone());
        assert!(fits.batch.is_power_of_two() && require(&fits).is_ok() && fits == plan.of_batch(fits.batch).unwrap());
        // Memory may have become free meanwhile, but not four times as much.
        assert!(require(&plan.of_batch(4 * fits.batch).unwrap()).is_err());
        assert_eq!(fitting(plan.clone()), plan);
    }
}
