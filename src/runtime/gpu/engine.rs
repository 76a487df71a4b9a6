//! The engine: a plan's memory, pipelines and bind groups on a device, and one pass a batch.

use std::sync::Arc;
use std::time::Duration;

use super::adapter::Gpu;
use super::faults::guarded;
use super::memory::Memory;
use super::pipeline::{self, Launch, TileChoice};
use super::timing;
use crate::compile::{BufferId, Dispatch, Plan};
use crate::error::Result;
use crate::faults::{self, Point};
use crate::runtime::Weights;
use crate::runtime::check::{Ends, check};
use crate::runtime::kept::Kept;

/// A plan on a GPU.
#[derive(Debug)]
pub struct GpuEngine {
    gpu: Arc<Gpu>,
    plan: Plan,
    memory: Memory,
    launches: Vec<(Launch, wgpu::BindGroup)>,
    input: BufferId,
    output: BufferId,
    kept: Kept,
}

impl GpuEngine {
    /// Brings a plan to a device: makes its memory, fills the weights, compiles the shaders.
    ///
    /// `weights` gives the values of a weight's buffer in the plan's layout; they are rounded where it stores them in 16
    /// bits. `tile` chooses the tile of each matrix product; `&|_, _| None` leaves it to a rule.
    ///
    /// # Errors
    /// A data error where the plan is broken, a usage error where no shader serves it, a device error where it is too
    /// large for the device; whatever `weights` reports.
    pub fn new(gpu: Arc<Gpu>, plan: Plan, weights: Weights<'_>, tile: TileChoice<'_>) -> Result<Self> {
        let Ends { input, output } = check(&plan)?;
        let memory = Memory::new(&gpu, &plan, weights)?;
        let launches = pipeline::compile(&gpu, &plan, tile)?;
        let bound = launches.into_iter().zip(&plan.dispatches).map(|(launch, dispatch)| {
            let group = bind(&gpu, &plan, &memory, dispatch, &launch)?;
            Ok((launch, group))
        });
        let launches = bound.collect::<Result<Vec<_>>>()?;
        gpu.faults.check("bring the plan to the device")?;
        let kept = Kept::of(&plan);
        Ok(Self { gpu, plan, memory, launches, input, output, kept })
    }

    /// The variant of `shaders/permutations` that computes the plan's `dispatch`.
    pub fn shader(&self, dispatch: usize) -> Option<&str> {
        self.launches.get(dispatch).map(|(launch, _)| launch.shader.as_str())
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Names the rows of the flattened tokens that later runs keep.
    ///
    /// # Errors
    /// A usage error where the plan keeps none, or more or fewer, or has no such row; a device error where the device
    /// fails.
    pub fn keep(&mut self, rows: &[u32]) -> Result<()> {
        let place = self.kept.name(rows)?;
        self.memory.write_rows(&self.gpu, &self.plan, place, rows)
    }

    /// The features of a batch of images.
    ///
    /// # Errors
    /// A data error where there are more or fewer values than the plan takes, a usage error where it keeps rows that were
    /// not named, a device error where the device fails.
    pub fn run(&mut self, images: &[f32]) -> Result<Vec<f32>> {
        self.begin(images)?;
        let all = 0..self.launches.len();
        self.launch(all, self.output)
    }

    /// Like [`Self::run`], but shows the result of each dispatch before the next one runs.
    ///
    /// # Errors
    /// As [`Self::run`]; whatever `see` reports.
    pub fn trace(&mut self, images: &[f32], see: &mut dyn FnMut(&Dispatch, &[f32]) -> Result<()>) -> Result<()> {
        self.begin(images)?;
        for i in 0..self.launches.len() {
            if let Some(written) = self.plan.dispatches[i].operands.last().copied() {
                let values = self.launch(i..i + 1, written)?;
                see(&self.plan.dispatches[i], &values)?;
            }
        }
        Ok(())
    }

    /// How long each dispatch takes on the device, in the plan's order; nothing where the device shows no clock.
    ///
    /// Each runs in a pass of its own, so that their sum is more than a batch takes.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn time(&mut self, images: &[f32]) -> Result<Option<Vec<Duration>>> {
        self.begin(images)?;
        timing::time(&self.gpu, &self.launches)
    }

    /// The values that a buffer holds now; memory of a slot holds those of the last buffer that was written.
    ///
    /// # Errors
    /// A device error where the device fails.
    pub fn read(&mut self, id: BufferId) -> Result<Vec<f32>> {
        self.launch(0..0, id)
    }

    /// Sets a buffer's values.
    ///
    /// # Errors
    /// A data error where there are more or fewer than it holds, a device error where the device fails.
    pub fn write(&self, id: BufferId, values: &[f32]) -> Result<()> {
        self.memory.write(&self.gpu, &self.plan, id, values)
    }

    fn begin(&self, images: &[f32]) -> Result<()> {
        self.kept.check()?;
        self.write(self.input, images)
    }

    /// Launches some dispatches in one pass, waits, and reads a buffer.
    fn launch(&mut self, which: std::ops::Range<usize>, read: BufferId) -> Result<Vec<f32>> {
        let Self { gpu, plan, memory, launches, .. } = self;
        if faults::at(Point::Launch).is_err() {
            gpu.device.destroy();
        }
        guarded(&gpu.device, "launch the plan", || {
            let mut commands =
                gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("plan") });
            {
                let mut pass = commands
                    .begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("plan"), timestamp_writes: None });
                for (launch, group) in &launches[which] {
                    launch.add_to(&mut pass, group);
                }
            }
            memory.fetch(gpu, plan, read, &mut commands)?;
            gpu.queue.submit([commands.finish()]);
            Ok(())
        })??;
        memory.fetched(gpu, plan.buffer(read))
    }
}

fn bind(gpu: &Gpu, plan: &Plan, memory: &Memory, dispatch: &Dispatch, launch: &Launch) -> Result<wgpu::BindGroup> {
    let entries: Vec<_> = dispatch
        .operands
        .iter()
        .enumerate()
        .map(|(i, id)| wgpu::BindGroupEntry { binding: i as u32, resource: memory.binding(plan, *id) })
        .collect();
    let description =
        wgpu::BindGroupDescriptor { label: Some(&dispatch.label), layout: &launch.layout, entries: &entries };
    guarded(&gpu.device, &format!("bind {}", dispatch.label), || gpu.device.create_bind_group(&description))
}
