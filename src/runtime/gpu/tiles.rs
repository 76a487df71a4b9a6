//! Which tile each matrix product takes: measured once on a device, and kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::adapter::Gpu;
use super::engine::GpuEngine;
use super::pipeline;
use crate::atomic;
use crate::compile::wgsl::{self, MATMUL_TILES, Matrices, Tile};
use crate::compile::{Buffer, BufferId, Dispatch, Dtype, Kernel, Plan, Role};
use crate::error::{Error, IoContext, Kind, Result};

/// The fastest tile of each matrix product that was measured on one device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tiles {
    adapter: String,
    driver: String,
    /// The sum of the shaders that were measured.
    shaders: String,
    fastest: BTreeMap<String, Tile>,
}

/// A product is launched so often in one pass, so that the time to launch weighs little.
const LAUNCHES: usize = 8;
/// Of so many passes the fastest counts.
const PASSES: usize = 3;

impl Tiles {
    /// What the file `path` knows of `gpu`: nothing where it is missing, cannot be read, or tells of another device, another
    /// driver or other shaders.
    pub fn read(path: &Path, gpu: &Gpu) -> Self {
        let adapter = gpu.adapter();
        let fresh = Self {
            adapter: adapter.name.clone(),
            driver: adapter.driver.clone(),
            shaders: shaders(),
            fastest: BTreeMap::new(),
        };
        let Ok(text) = std::fs::read(path) else { return fresh };
        match serde_json::from_slice::<Self>(&text) {
            Ok(known) if Self { fastest: BTreeMap::new(), ..known.clone() } == fresh => known,
            Ok(_) => fresh,
            Err(error) => {
                tracing::warn!("{}: {error}; tiles are measured again", path.display());
                fresh
            }
        }
    }

    /// Writes what is known.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).at("create", folder)?;
        }
        let text = serde_json::to_vec_pretty(self);
        atomic::write(path, &text.map_err(|error| Error::new(Kind::Other, error.to_string()))?)
    }

    /// The tile for a product, where it was measured; one that `gpu` cannot take, as a file may name it, is none.
    pub fn get(&self, gpu: &Gpu, kernel: &Kernel, stored: &[Dtype]) -> Option<Tile> {
        let tile = self.fastest.get(&name(kernel, stored)?).copied();
        tile.filter(|tile| serves(gpu, gpu.listed(), kernel, stored, *tile))
    }

    /// Measures the products of `plan` whose tiles are not known yet.
    ///
    /// # Errors
    /// A device error where no tile can be measured.
    pub fn measure(&mut self, gpu: &Arc<Gpu>, plan: &Plan) -> Result<()> {
        for dispatch in &plan.dispatches {
            let stored: Vec<Dtype> = dispatch.operands.iter().map(|id| plan.buffer(*id).dtype).collect();
            let Some(name) = name(&dispatch.kernel, &stored) else { continue };
            if self.get(gpu, &dispatch.kernel, &stored).is_none() {
                let tile = fastest(gpu, &dispatch.kernel, &stored)?;
                tracing::debug!("{name}: {tile:?}");
                self.fastest.insert(name, tile);
            }
        }
        Ok(())
    }
}

/// The tile by which `kernel` runs fastest; those that a driver refuses or fails at are left out, with a warning.
///
/// # Errors
/// A device error where there is no other.
pub fn fastest(gpu: &Arc<Gpu>, kernel: &Kernel, stored: &[Dtype]) -> Result<Tile> {
    let (mut best, mut refused) = (None, None);
    for tile in candidates(gpu, kernel, stored) {
        match time(gpu, kernel, stored, tile) {
            Ok(time) if best.is_none_or(|(least, _)| time < least) => best = Some((time, tile)),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!("{kernel} is not computed by {tile:?}: {error}");
                refused = Some(error);
            }
        }
    }
    let none = || Error::device(format!("{} serves no tile of {kernel}", gpu.adapter().name));
    best.map(|(_, tile)| tile).ok_or_else(|| refused.unwrap_or_else(none))
}

/// The least time of a few passes.
fn time(gpu: &Arc<Gpu>, kernel: &Kernel, stored: &[Dtype], tile: Tile) -> Result<Duration> {
    let nothing = |buffer: &Buffer| Ok(vec![0.0; buffer.len()]);
    let plan = alone(kernel, stored, LAUNCHES);
    let mut engine = GpuEngine::new(gpu.clone(), plan, &nothing, &|_, _| Some(tile))?;
    engine.run(&[0.0])?;
    let mut least = Duration::MAX;
    for _ in 0..PASSES {
        let start = Instant::now();
        engine.run(&[0.0])?;
        least = least.min(start.elapsed());
    }
    Ok(least)
}

/// The tiles that the device can compute `kernel` by.
pub fn candidates(gpu: &Arc<Gpu>, kernel: &Kernel, stored: &[Dtype]) -> Vec<Tile> {
    let units = if stored.first() == Some(&Dtype::F16) { gpu.cooperative() } else { None };
    let all = MATMUL_TILES.into_iter().chain(units.into_iter().flat_map(Tile::cooperative));
    all.filter(|tile| serves(gpu, units, kernel, stored, *tile)).collect()
}

/// Whether `gpu`, with no matrix units but `units`, can compute `kernel` by `tile`.
fn serves(gpu: &Gpu, units: Option<Matrices>, kernel: &Kernel, stored: &[Dtype], tile: Tile) -> bool {
    let fits = |tile| {
        wgsl::shader(kernel, stored, Some(tile)).is_ok_and(|shader| pipeline::fits(gpu, "measured", &shader).is_ok())
    };
    let known = MATMUL_TILES.contains(&tile) || units.is_some_and(|units| Tile::cooperative(units).contains(&tile));
    known && fits(tile)
}

/// The sum of all that is made into shaders.
fn shaders() -> String {
    let mut sum = blake3::Hasher::new();
    wgsl::FILES.iter().for_each(|(_, text)| _ = sum.update(text.as_bytes()));
    sum.finalize().to_hex().to_string()
}

/// What a product is known by; nothing for other kernels, and for products with one tile only.
fn name(kernel: &Kernel, stored: &[Dtype]) -> Option<String> {
    match *kernel {
        Kernel::Matmul { m, k, n, epilogue, .. } if Tile::fit(m, k, n, epilogue) != Tile::Scalar => {
            Some(format!("{m}x{k}x{n} {epilogue:?} {:?} {:?}", stored.first()?, stored.last()?))
        }
        _ => None,
    }
}

/// The first operand's buffer in a plan of one kernel; the others follow.
pub(super) const FIRST: usize = 2;

/// A plan of one kernel, `launches` times over.
pub(super) fn alone(kernel: &Kernel, stored: &[Dtype], launches: usize) -> Plan {
    let buffer = |label: String, role, len, dtype| Buffer { label, role, shape: vec![len], dtype };
    let mut buffers = vec![
        buffer("images".into(), Role::Input, 1, Dtype::F32),
        buffer("features".into(), Role::Output, 1, Dtype::F32),
    ];
    for (slot, (len, dtype)) in kernel.lengths().into_iter().zip(stored).enumerate() {
        buffers.push(buffer(format!("operand {slot}"), Role::Scratch { slot }, len, *dtype));
    }
    let operands: Vec<BufferId> = (FIRST..buffers.len()).map(BufferId).collect();
    let dispatch = Dispatch { label: "measured".into(), kernel: *kernel, operands };
    Plan { batch: 1, dtype: Dtype::F32, buffers, dispatches: vec![dispatch; launches] }
}
