//! Runs a plan: on a GPU, by our own kernels through wgpu, on the processor, and by the kernels' plain twins.
//!
//! It knows neither the model nor burn: a [`Plan`] and the values of its weights are all it needs.

mod check;
pub mod cpu;
pub mod gpu;
mod kept;
pub mod twin;

pub(crate) use check::halves;
pub use check::{Ends, check};

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::compile::{Buffer, Dispatch, Dtype, Kernel, Plan};
use crate::device::{Api, Spec};
use crate::error::{Error, Result};

/// Gives the values of a constant's buffer, in the plan's layout.
pub type Weights<'a> = &'a dyn Fn(&Buffer) -> Result<Vec<f32>>;

/// A plan with its memory, ready to run.
pub trait Engine: Send {
    /// The plan.
    fn plan(&self) -> &Plan;

    /// Names the rows of the flattened tokens, `[B N, D]`, that later runs keep, of a plan with a buffer for them.
    ///
    /// # Errors
    /// A usage error where the plan keeps none, or more or fewer, or has no such row; a device error where the device
    /// fails.
    fn keep(&mut self, rows: &[u32]) -> Result<()>;

    /// The features of a batch of images, `[B, C F, H, W]`.
    ///
    /// # Errors
    /// A data error where there are more or fewer values than the plan takes, a usage error where it keeps rows that were
    /// not named, a device error where the device fails.
    fn run(&mut self, images: &[f32]) -> Result<Vec<f32>>;

    /// Like [`Self::run`], but shows the result of each dispatch before the next one runs.
    ///
    /// # Errors
    /// As [`Self::run`]; whatever `see` reports.
    fn trace(&mut self, images: &[f32], see: &mut dyn FnMut(&Dispatch, &[f32]) -> Result<()>) -> Result<()>;

    /// The variant of `shaders/permutations` that computes the plan's dispatch of this place; none where no shader does.
    fn shader(&self, _: usize) -> Option<&str> {
        None
    }

    /// How long each dispatch takes, in the plan's order, each by itself and by the device's own clock; nothing where the
    /// device shows none.
    ///
    /// # Errors
    /// As [`Self::run`].
    fn time(&mut self, images: &[f32]) -> Result<Option<Vec<Duration>>> {
        let mut times = Vec::with_capacity(self.plan().dispatches.len());
        let mut begin = Instant::now();
        self.trace(images, &mut |_, _| {
            times.push(begin.elapsed());
            begin = Instant::now();
            Ok(())
        })?;
        Ok(Some(times))
    }
}

impl Engine for cpu::CpuEngine {
    fn plan(&self) -> &Plan {
        self.plan()
    }

    fn keep(&mut self, rows: &[u32]) -> Result<()> {
        self.keep(rows)
    }

    fn run(&mut self, images: &[f32]) -> Result<Vec<f32>> {
        self.run(images).map(<[f32]>::to_vec)
    }

    fn trace(&mut self, images: &[f32], see: &mut dyn FnMut(&Dispatch, &[f32]) -> Result<()>) -> Result<()> {
        self.trace(images, see)
    }
}

impl Engine for gpu::GpuEngine {
    fn plan(&self) -> &Plan {
        self.plan()
    }

    fn keep(&mut self, rows: &[u32]) -> Result<()> {
        self.keep(rows)
    }

    fn run(&mut self, images: &[f32]) -> Result<Vec<f32>> {
        self.run(images)
    }

    fn trace(&mut self, images: &[f32], see: &mut dyn FnMut(&Dispatch, &[f32]) -> Result<()>) -> Result<()> {
        self.trace(images, see)
    }

    fn shader(&self, dispatch: usize) -> Option<&str> {
        self.shader(dispatch)
    }

    fn time(&mut self, images: &[f32]) -> Result<Option<Vec<Duration>>> {
        self.time(images)
    }
}

/// What becomes of a plan whose batch is too large for its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooLarge {
    /// The engine takes fewer images at once; its plan says how many.
    Split,
    /// A device error.
    Refuse,
}

/// Brings a plan to the device that `spec` names.
///
/// # Errors
/// A data error where the plan is broken; a device error where this machine lacks the device or it is too small for the
/// plan; whatever `weights` reports.
pub fn open(spec: Spec, plan: Plan, too_large: TooLarge, weights: Weights<'_>) -> Result<Box<dyn Engine>> {
    check(&plan)?;
    let splits = too_large == TooLarge::Split;
    match spec.api {
        Api::Cpu => {
            let plan = if splits { cpu::fitting(plan) } else { plan };
            Ok(Box::new(cpu::CpuEngine::new(plan, &mut |buffer| weights(buffer))?))
        }
        Api::Cuda => Err(Error::device("compiled encoders do not run through CUDA").with_remedy(
            "take `--device vulkan`, which reaches the same GPU; weights run with `--engine burn` too, packages do not",
        )),
        Api::Wgpu | Api::Vulkan | Api::Metal | Api::Dx12 => {
            let gpu = Arc::new(gpu::Gpu::open(spec, gpu::Bounds::Adapter, gpu::Checks::Off)?);
            let bound = usize::try_from(gpu.adapter().max_binding_bytes).unwrap_or(usize::MAX);
            let plan = if splits { plan.within(bound) } else { plan };
            if let Some(buffer) = plan.buffers.iter().find(|buffer| buffer.dtype == Dtype::Bf16) {
                return Err(check::broken(&buffer.label, "a GPU knows no values of bf16")
                    .with_remedy("compile it again with --dtype f16 or f32, or take --device cpu"));
            }
            let tiles = tiles(&gpu, &plan)?;
            let tile = |kernel: &Kernel, stored: &[Dtype]| tiles.get(&gpu, kernel, stored);
            Ok(Box::new(gpu::GpuEngine::new(gpu.clone(), plan, weights, &tile)?))
        }
    }
}

/// The fastest tiles of the plan's products: from the file of an earlier measurement, or measured now and kept there.
fn tiles(gpu: &Arc<gpu::Gpu>, plan: &Plan) -> Result<gpu::Tiles> {
    // A choice with matrix units and one without are kept side by side.
    let units = if gpu.listed().is_some() { "-cooperative" } else { "" };
    let file = cache().join(format!("tiles-{}{units}.json", gpu.adapter().device.replace(':', "-")));
    let known = gpu::Tiles::read(&file, gpu);
    let mut tiles = known.clone();
    // A CPU that imitates a GPU would take minutes, and every tile is slow there.
    if !gpu.adapter().software {
        tiles.measure(gpu, plan)?;
    }
    if tiles != known
        && let Err(error) = tiles.write(&file)
    {
        tracing::warn!("{error}; tiles are measured again the next time");
    }
    Ok(tiles)
}

/// The folder for what may be lost.
fn cache() -> PathBuf {
    cache_by(|name| std::env::var_os(name))
}

/// Likewise, by `variable`, whose folders count where they are absolute.
fn cache_by(variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = folder("XDG_CACHE_HOME").or_else(|| folder("LOCALAPPDATA"));
    let base = base.or_else(|| folder("HOME").map(|home| home.join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("anyjepa")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_in_an_absolute_folder() {
        let root = std::env::temp_dir();
        let at = |name: &str| root.join(name).into_os_string();
        let found = |set: &[(&str, OsString)]| {
            cache_by(|name| set.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone()))
        };
        let home = || ("HOME", at("home"));
        assert_eq!(found(&[("XDG_CACHE_HOME", at("cache")), home()]), root.join("cache/anyjepa"));
        for none in ["", "cache", "./cache"] {
            assert_eq!(found(&[("XDG_CACHE_HOME", none.into()), home()]), root.join("home/.cache/anyjepa"), "{none}");
            assert_eq!(found(&[("HOME", none.into())]), root.join("anyjepa"), "{none}");
        }
    }
}
