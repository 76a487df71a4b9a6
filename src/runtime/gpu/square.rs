//! One large matrix product on a GPU: the yardstick of what an encoder reaches there.

use std::sync::Arc;

use super::adapter::Gpu;
use super::engine::GpuEngine;
use super::tiles::{FIRST, alone, fastest};
use crate::compile::wgsl::Tile;
use crate::compile::{BufferId, Dtype, Epilogue, Kernel};
use crate::error::Result;

/// The side of the product by which a tile is chosen: large enough for every tile, and soon done.
const CHOSEN_AT: usize = 2048;

/// The product of two square matrices, ready to run again and again.
#[derive(Debug)]
pub struct Square {
    engine: GpuEngine,
    result: BufferId,
}

impl Square {
    /// The tile by which large products of values stored as `stored` run fastest; on a CPU that imitates a GPU none is
    /// measured, as it would take minutes.
    ///
    /// # Errors
    /// A device error where the device fails.
    pub fn tile(gpu: &Arc<Gpu>, stored: Dtype) -> Result<Option<Tile>> {
        match gpu.adapter().software {
            true => Ok(None),
            false => fastest(gpu, &kernel(CHOSEN_AT), &stored_as(stored)).map(Some),
        }
    }

    /// Brings the matrices `left` and `right`, `[side, side]`, to the device, where they are stored as `stored`.
    ///
    /// # Errors
    /// A data error where they have more or fewer values; a device error where the device cannot store or hold them, or
    /// fails.
    pub fn new(
        gpu: &Arc<Gpu>,
        side: usize,
        stored: Dtype,
        [left, right]: [&[f32]; 2],
        tile: Option<Tile>,
    ) -> Result<Self> {
        let plan = alone(&kernel(side), &stored_as(stored), 1);
        let [x, w, b, y] = [0, 1, 2, 3].map(|place| BufferId(FIRST + place));
        let engine = GpuEngine::new(gpu.clone(), plan, &|buffer| Ok(vec![0.0; buffer.len()]), &|_, _| tile)?;
        engine.write(x, left)?;
        engine.write(w, right)?;
        engine.write(b, &vec![0.0; side])?;
        Ok(Self { engine, result: y })
    }

    /// Computes the product, and waits for it.
    ///
    /// # Errors
    /// A device error where the device fails.
    pub fn run(&mut self) -> Result<()> {
        self.engine.run(&[0.0]).map(drop)
    }

    /// The product, `[side, side]`.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn values(&mut self) -> Result<Vec<f32>> {
        self.engine.read(self.result)
    }
}

fn kernel(side: usize) -> Kernel {
    Kernel::Matmul { m: side, k: side, n: side, epilogue: Epilogue::Bias, table: 0 }
}

/// How the operands of a product are stored.
fn stored_as(stored: Dtype) -> [Dtype; 4] {
    [stored, stored, Dtype::F32, stored]
}
