//! The plan for other batches: of all that is no constant each image has an equal share.

use std::iter::successors;

use super::{Buffer, Dispatch, Kernel, Plan, wgsl};

impl Plan {
    /// The plan for at most as many images whose buffers have at most `bound` bytes each, and which shaders serve: the
    /// batch is halved until that is so. A plan for one image is returned whatever its size, and so is one whose images
    /// share something unevenly.
    pub fn within(self, bound: usize) -> Self {
        let bytes = |buffer: &Buffer, images: usize| match buffer.role.is_constant() {
            true => buffer.bytes(),
            false => buffer.bytes() / self.batch.max(1) * images,
        };
        let fits = |images: usize| {
            let small = self.buffers.iter().all(|buffer| bytes(buffer, images) <= bound);
            small && self.of_batch(images).is_none_or(|plan| wgsl::serves(&plan))
        };
        let mut halves = successors(Some(self.batch), |images| Some(images.div_ceil(2)));
        match halves.find(|&images| images <= 1 || fits(images)) {
            Some(fewer) if fewer < self.batch => self.of_batch(fewer).unwrap_or(self),
            _ => self,
        }
    }

    /// The plan for batches of `batch` images, as it would have been compiled for them; nothing where its images share
    /// something unevenly.
    pub fn of_batch(&self, batch: usize) -> Option<Self> {
        let share = |size: usize| match size.checked_rem(self.batch)? {
            0 => (size / self.batch).checked_mul(batch),
            _ => None,
        };
        let mut plan = Self { batch, ..self.clone() };
        for buffer in plan.buffers.iter_mut().filter(|buffer| !buffer.role.is_constant()) {
            let first = buffer.shape.first_mut()?;
            *first = share(*first)?;
        }
        for Dispatch { kernel, operands, .. } in &mut plan.dispatches {
            let varies = |place: usize| Some(!self.buffers.get(operands.get(place)?.0)?.role.is_constant());
            match kernel {
                Kernel::Patchify { batch, .. } | Kernel::Attention { batch, .. } | Kernel::Pool { batch, .. } => {
                    *batch = share(*batch)?;
                }
                Kernel::Norm { rows, .. } => *rows = share(*rows)?,
                Kernel::Matmul { m, table, .. } => {
                    *m = share(*m)?;
                    if *table > 0 && varies(3)? {
                        *table = share(*table)?;
                    }
                }
                Kernel::Gather { from, rows, .. } => {
                    *rows = share(*rows)?;
                    if varies(0)? {
                        *from = share(*from)?;
                    }
                }
            }
        }
        Some(plan)
    }
}

#[cfg(all(test, feature = "train"))]
mod tests {
    use crate::compile::{Dtype, Outputs, Take, compile, wgsl};
    use crate::config::{ModelConfig, PRESETS, Preset};

    #[test]
    fn a_plan_of_another_batch_is_the_one_that_is_compiled_for_it() {
        for preset in PRESETS {
            let model = ModelConfig { depth: 2, ..preset.config().model };
            for (layers, take) in [(1, Take::Mean), (2, Take::Tokens), (1, Take::Kept(9))] {
                let compiled = |batch| compile(&model, batch, Outputs { layers, take }, Dtype::F16).unwrap();
                for (from, to) in [(6, 1), (6, 4), (2, 3)] {
                    assert_eq!(compiled(from).of_batch(to), Some(compiled(to)), "{}, {take:?}", preset.name);
                }
            }
        }
    }

    #[test]
    fn a_batch_that_no_shader_serves_is_halved_until_one_does() {
        let model = ModelConfig { depth: 1, ..Preset::find("vjepa-vit-l16").unwrap().config().model };
        let plan = compile(&model, 512, Outputs { layers: 1, take: Take::Mean }, Dtype::F32).unwrap();
        assert!(!wgsl::serves(&plan));
        let half = plan.clone().within(usize::MAX);
        assert!(half.batch == 256 && wgsl::serves(&half), "{}", half.batch);
        let unserved = plan.dispatches.iter().find_map(|dispatch| {
            let stored: Vec<Dtype> = dispatch.operands.iter().map(|id| plan.buffer(*id).dtype).collect();
            wgsl::shader(&dispatch.kernel, &stored, None).err()
        });
        assert!(unserved.unwrap().remedy().unwrap().contains("take a smaller batch (`--batch`"));
    }

    #[test]
    fn what_images_share_unevenly_stays_as_it_is() {
        let model = ModelConfig { depth: 1, ..PRESETS[0].config().model };
        let mut plan = compile(&model, 4, Outputs { layers: 1, take: Take::Mean }, Dtype::F32).unwrap();
        assert_eq!(plan.clone().within(0).batch, 1);
        plan.buffers[1].shape[0] += 1;
        assert_eq!((plan.of_batch(2), plan.clone().within(0)), (None, plan.clone()));
        plan.batch = 0;
        assert_eq!((plan.of_batch(2), plan.clone().within(0)), (None, plan));
    }
}
