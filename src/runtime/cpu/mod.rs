//! Runs a plan on the processor: weights packed once, memory taken once, every dispatch over all threads.

mod check;
mod memory;

use pulp::Arch;

use crate::compile::{Buffer, BufferId, Dispatch, Dtype, Epilogue, Kernel, Plan, Role};
use crate::error::Result;
use crate::kernels::aligned::Aligned;
use crate::kernels::attention::{self, Outputs};
use crate::kernels::gather::gather;
use crate::kernels::matmul::{self, Matrix, Product};
use crate::kernels::norm::{self, Norm};
use crate::kernels::panels::{Bf16, Panels};
use crate::kernels::patchify::{self, patchify};
use crate::kernels::pool::pool;
use crate::kernels::workspace::Workspace;
use crate::runtime::check::{Ends, count};
use crate::runtime::kept::Kept;
use memory::Beside;
pub use memory::fitting;

/// A plan with its weights, ready to run again and again.
#[derive(Debug)]
pub struct CpuEngine {
    plan: Plan,
    input: BufferId,
    kept: Kept,
    /// The numbers of the rows that are kept.
    rows: Vec<u32>,
    /// Of each buffer.
    places: Vec<Home>,
    weights: Vec<Weight>,
    /// The slots of scratch memory, and last the features.
    memory: Vec<Aligned>,
    /// The result of an attention head by head, and the logarithms of its sums.
    heads: [Aligned; 2],
    workspace: Workspace,
    arch: Arch,
}

/// Where the values of a buffer are.
#[derive(Debug, Clone, Copy)]
enum Home {
    Images,
    Rows,
    Weight(usize),
    Memory(usize),
}

/// A weight as its kernel reads it.
#[derive(Debug)]
enum Weight {
    Panels(Panels),
    Values(Vec<f32>),
}

impl CpuEngine {
    /// Makes `plan` ready to run in rayon's current pool; `weights` gives the values of a weight in the shape that its
    /// buffer has.
    ///
    /// # Errors
    /// A data error where the plan cannot run or a weight has another number of values; a device error where the machine
    /// lacks the memory; an error of `weights`.
    pub fn new(plan: Plan, weights: &mut dyn FnMut(&Buffer) -> Result<Vec<f32>>) -> Result<Self> {
        let Ends { input, .. } = check::check(&plan)?;
        let bf16 = Bf16::new();
        if plan.buffers.iter().any(|buffer| buffer.dtype == Dtype::Bf16) {
            tracing::info!("products of bfloat16: {bf16}");
        }
        let slots = plan.slots();
        let mut memory: Vec<Aligned> = slots.iter().map(|bytes| Aligned::zeros(bytes / size_of::<f32>())).collect();
        let (mut places, mut packed) = (Vec::new(), Vec::new());
        for (i, buffer) in plan.buffers.iter().enumerate() {
            places.push(match buffer.role {
                Role::Input => Home::Images,
                Role::Kept => Home::Rows,
                Role::Output => {
                    memory.push(Aligned::zeros(buffer.len()));
                    Home::Memory(slots.len())
                }
                Role::Scratch { slot } => Home::Memory(slot),
                Role::Weight { .. } | Role::Angles { .. } => {
                    packed.push(Weight::new(&plan, BufferId(i), weights(buffer)?, bf16)?);
                    Home::Weight(packed.len() - 1)
                }
            });
        }
        let Beside { heads, workspace } = Beside::of(&plan);
        let (heads, workspace) = (heads.map(Aligned::zeros), Workspace::new(workspace));
        let (kept, rows) = (Kept::of(&plan), Vec::new());
        Ok(Self { plan, input, kept, rows, places, weights: packed, memory, heads, workspace, arch: Arch::new() })
    }

    /// Names the rows of the flattened tokens that later runs keep.
    ///
    /// # Errors
    /// A usage error where the plan keeps none, or more or fewer, or has no such row.
    pub fn keep(&mut self, rows: &[u32]) -> Result<()> {
        self.kept.name(rows)?;
        self.rows = rows.to_vec();
        Ok(())
    }

    /// The features, `[B, ..]`, of `images`, `[B, C F, H, W]`.
    ///
    /// # Errors
    /// A data error where there are more or fewer values than the plan takes, a usage error where it keeps rows that were
    /// not named.
    pub fn run(&mut self, images: &[f32]) -> Result<&[f32]> {
        count(self.plan.buffer(self.input), images)?;
        self.kept.check()?;
        // Enters the pool once, not with every dispatch.
        rayon::join(|| (0..self.plan.dispatches.len()).for_each(|i| self.dispatch(i, images)), || {});
        Ok(self.memory.last().map_or(&[], |features| features))
    }

    /// Like [`Self::run`], but shows the result of each dispatch before the next one runs.
    ///
    /// # Errors
    /// As [`Self::run`]; whatever `see` reports.
    pub fn trace(&mut self, images: &[f32], see: &mut dyn FnMut(&Dispatch, &[f32]) -> Result<()>) -> Result<()> {
        count(self.plan.buffer(self.input), images)?;
        self.kept.check()?;
        for i in 0..self.plan.dispatches.len() {
            self.dispatch(i, images);
            let dispatch = &self.plan.dispatches[i];
            see(dispatch, dispatch.operands.last().map_or(&[], |written| self.values(*written, images)))?;
        }
        Ok(())
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn dispatch(&mut self, i: usize, images: &[f32]) {
        let Some(&written) = self.plan.dispatches[i].operands.last() else { return };
        let Home::Memory(slot) = self.places[written.0] else { return };
        // Taken out, so that it can be written while others are read; the check has seen that they are others.
        let mut memory = std::mem::take(&mut self.memory[slot]);
        let mut heads = std::mem::take(&mut self.heads);
        let y = &mut memory[..self.plan.buffer(written).len()];
        let operands = &self.plan.dispatches[i].operands;
        let at = |place: usize| self.values(operands[place], images);
        match self.plan.dispatches[i].kernel {
            Kernel::Patchify { channels, frames, height, width, tubelet, patch, .. } => {
                patchify(at(0), patchify::Shapes { channels, frames, height, width, tubelet, patch }, y);
            }
            Kernel::Matmul { k, epilogue, .. } => {
                if let Home::Weight(w) = self.places[operands[1].0]
                    && let Weight::Panels(right) = &self.weights[w]
                {
                    let epilogue = match epilogue {
                        Epilogue::Bias => matmul::Epilogue::Bias,
                        Epilogue::Gelu => matmul::Epilogue::Gelu,
                        Epilogue::Residual => matmul::Epilogue::Residual,
                        Epilogue::Position => matmul::Epilogue::Position(at(3)),
                        Epilogue::Rotation { size } => matmul::Epilogue::Rotation { table: at(3), size },
                    };
                    let left = Matrix { values: at(0), strides: [k, 1] };
                    let product = Product { left, right, bias: Some(at(2)), epilogue };
                    matmul::matmul(product, self.arch, &self.workspace, y);
                }
            }
            Kernel::Norm { eps, stride, column, .. } => {
                let norm = Norm { gain: at(1), bias: at(2), eps, stride, column };
                norm::forward(norm, self.arch, at(0), y);
            }
            kernel @ Kernel::Attention { .. } => {
                if let Some(shapes) = shapes_of(kernel) {
                    let values = shapes.batch * shapes.tokens * shapes.heads;
                    let [by_head, log_sums] = &mut heads;
                    let by_head = &mut by_head[..values * shapes.size];
                    let outputs = Outputs { mixed: y, heads: by_head, log_sums: &mut log_sums[..values] };
                    attention::forward(shapes, self.arch, &self.workspace, at(0), outputs);
                }
            }
            Kernel::Gather { dim, .. } => gather(dim, at(0), &self.rows, y),
            Kernel::Pool { tokens, dim, .. } => pool(self.arch, [tokens, dim], at(0), y),
        }
        self.memory[slot] = memory;
        self.heads = heads;
    }

    /// The values of a buffer that is not packed.
    fn values<'a>(&'a self, id: BufferId, images: &'a [f32]) -> &'a [f32] {
        match self.places[id.0] {
            Home::Images => images,
            Home::Rows => &[],
            Home::Memory(slot) => &self.memory[slot][..self.plan.buffer(id).len()],
            Home::Weight(place) => match &self.weights[place] {
                Weight::Values(values) => values,
                Weight::Panels(_) => &[],
            },
        }
    }
}

impl Weight {
    fn new(plan: &Plan, id: BufferId, values: Vec<f32>, bf16: Bf16) -> Result<Self> {
        let buffer = plan.buffer(id);
        count(buffer, &values)?;
        Ok(match plan.dispatches.iter().find_map(|dispatch| check::packed(dispatch, id)) {
            Some([k, n]) => {
                let right = Matrix { values: &values, strides: [n, 1] };
                Self::Panels(match buffer.dtype {
                    Dtype::Bf16 => Panels::bf16(right, [k, n], bf16),
                    Dtype::F32 | Dtype::F16 | Dtype::U32 => Panels::new(right, [k, n]),
                })
            }
            None => Self::Values(values),
        })
    }
}

fn shapes_of(kernel: Kernel) -> Option<attention::Shapes> {
    match kernel {
        Kernel::Attention { batch, tokens, heads, size, scale } => {
            Some(attention::Shapes { batch, tokens, heads, size, scale })
        }
        _ => None,
    }
}
