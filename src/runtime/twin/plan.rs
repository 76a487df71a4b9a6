//! A whole plan by the plain twins: slow, and what every engine is compared with.

use half::f16;

use super::run;
use crate::compile::{Buffer, Dispatch, Dtype, Plan, Role};
use crate::error::{Error, Kind, Result};
use crate::runtime::check::check;

/// The features of a batch of images; `see` is shown the result of each dispatch. Values are rounded as the plan stores
/// them, sums are of 64 bits.
///
/// # Errors
/// A data error where the plan is broken or there are more or fewer values than it takes; whatever `weights` or `see`
/// report.
pub fn interpret(
    plan: &Plan,
    weights: &dyn Fn(&Buffer) -> Result<Vec<f32>>,
    images: &[f32],
    see: &mut dyn FnMut(&Dispatch, &[f32]) -> Result<()>,
) -> Result<Vec<f32>> {
    check(plan)?;
    let mut memory: Vec<Vec<f32>> = Vec::new();
    for buffer in &plan.buffers {
        let values = match buffer.role {
            Role::Input => images.to_vec(),
            Role::Weight { .. } => stored(weights(buffer)?, buffer.dtype),
            Role::Output | Role::Scratch { .. } => vec![0.0; buffer.len()],
        };
        if values.len() != buffer.len() {
            let message = format!("{} has {} values, expected {:?}", buffer.label, values.len(), buffer.shape);
            return Err(Error::new(Kind::Data, message));
        }
        memory.push(values);
    }
    for dispatch in &plan.dispatches {
        let Some((written, read)) = dispatch.operands.split_last() else { continue };
        let mut y = std::mem::take(&mut memory[written.0]);
        let read: Vec<&[f32]> = read.iter().map(|id| memory[id.0].as_slice()).collect();
        run(&dispatch.kernel, &read, &mut y)?;
        memory[written.0] = stored(y, plan.buffer(*written).dtype);
        see(dispatch, &memory[written.0])?;
    }
    Ok(plan.output().map(|id| std::mem::take(&mut memory[id.0])).unwrap_or_default())
}

/// Values as they are stored.
fn stored(mut values: Vec<f32>, dtype: Dtype) -> Vec<f32> {
    match dtype {
        Dtype::F32 => {}
        Dtype::F16 => values.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32()),
        Dtype::Bf16 => values.iter_mut().for_each(|value| *value = half::bf16::from_f32(*value).to_f32()),
    }
    values
}
