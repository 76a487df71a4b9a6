//! A whole plan by the plain twins: slow, and what every engine is compared with. Values are rounded as the plan stores
//! them, sums are of 64 bits.

use half::{bf16, f16};

use super::run;
use crate::compile::{BufferId, Dispatch, Dtype, Kernel, Plan};
use crate::error::Result;
use crate::runtime::check::{Ends, check, count, room};
use crate::runtime::kept::Kept;
use crate::runtime::{Engine, Weights};

/// A plan and all its memory, every buffer apart.
#[derive(Debug)]
pub struct TwinEngine {
    plan: Plan,
    ends: Ends,
    kept: Kept,
    values: Vec<Vec<f32>>,
}

impl TwinEngine {
    /// Takes the memory and fills the weights.
    ///
    /// # Errors
    /// A data error where the plan is broken, a device error where the machine lacks the memory; whatever `weights`
    /// reports.
    pub fn new(plan: Plan, weights: Weights<'_>) -> Result<Self> {
        let ends = check(&plan)?;
        room(plan.buffers.iter().map(|buffer| buffer.len() * size_of::<f32>()))?;
        let values = plan.buffers.iter().map(|buffer| {
            if !buffer.role.is_constant() {
                return Ok(vec![0.0; buffer.len()]);
            }
            let values = weights(buffer)?;
            count(buffer, &values)?;
            Ok(stored(values, buffer.dtype))
        });
        Ok(Self { values: values.collect::<Result<_>>()?, kept: Kept::of(&plan), plan, ends })
    }

    /// The values of a buffer.
    pub fn values(&self, id: BufferId) -> &[f32] {
        &self.values[id.0]
    }

    /// Puts other values in a buffer; they must be as many.
    pub fn set(&mut self, id: BufferId, values: &[f32]) {
        self.values[id.0].copy_from_slice(values);
    }

    /// Runs one dispatch on what the buffers hold.
    ///
    /// # Errors
    /// A failure where its operands are not those that its kernel takes.
    pub fn step(&mut self, dispatch: &Dispatch) -> Result<()> {
        let Some((write, reads)) = dispatch.operands.split_last() else { return Ok(()) };
        let mut y = std::mem::take(&mut self.values[write.0]);
        let rounded = match (dispatch.kernel, reads) {
            // What weights of bfloat16 are multiplied with is rounded to it as well.
            (Kernel::Matmul { .. }, [x, w, ..]) if self.plan.buffer(*w).dtype == Dtype::Bf16 => {
                Some(stored(self.values[x.0].clone(), Dtype::Bf16))
            }
            _ => None,
        };
        let mut reads: Vec<&[f32]> = reads.iter().map(|read| self.values[read.0].as_slice()).collect();
        if let Some(rounded) = &rounded {
            reads[0] = rounded;
        }
        let done = run(&dispatch.kernel, &reads, &mut y);
        self.values[write.0] = stored(y, self.plan.buffer(*write).dtype);
        done
    }
}

impl Engine for TwinEngine {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn keep(&mut self, rows: &[u32]) -> Result<()> {
        let place = self.kept.name(rows)?;
        self.values[place.0] = rows.iter().map(|row| *row as f32).collect();
        Ok(())
    }

    fn run(&mut self, images: &[f32]) -> Result<Vec<f32>> {
        self.trace(images, &mut |_, _| Ok(()))?;
        Ok(self.values(self.ends.output).to_vec())
    }

    fn trace(&mut self, images: &[f32], see: &mut dyn FnMut(&Dispatch, &[f32]) -> Result<()>) -> Result<()> {
        count(self.plan.buffer(self.ends.input), images)?;
        self.kept.check()?;
        self.set(self.ends.input, images);
        for dispatch in self.plan.dispatches.clone() {
            self.step(&dispatch)?;
            if let Some(write) = dispatch.operands.last() {
                see(&dispatch, self.values(*write))?;
            }
        }
        Ok(())
    }
}

/// Values as they are stored.
fn stored(mut values: Vec<f32>, dtype: Dtype) -> Vec<f32> {
    match dtype {
        Dtype::F32 | Dtype::U32 => {}
        Dtype::F16 => values.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32()),
        Dtype::Bf16 => values.iter_mut().for_each(|value| *value = bf16::from_f32(*value).to_f32()),
    }
    values
}
