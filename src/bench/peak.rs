//! The measured peak: of a processor its fused multiply-adds alone, else one large matrix product.

use std::fmt;
use std::sync::Arc;

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use pulp::Arch;
use serde::Serialize;

use super::clock::{Repetitions, Timing, repeat};
use super::{Engine, multiply_adds, repeated};
use crate::compile::Dtype;
use crate::config::Precision;
use crate::device::{Api, Spec, read};
use crate::error::{Error, Result};
use crate::kernels::matmul::{self, Epilogue, Matrix, Product};
use crate::kernels::panels::{Bf16, Panels};
use crate::kernels::workspace::Workspace;
use crate::runtime::gpu::{Bounds, Checks, Gpu, Square};

/// Sides of the products, tried in turn: 512 is enough for a CPU that imitates a GPU, 2048 fills a processor, a large GPU
/// needs more.
const SIDES: [usize; 4] = [512, 2048, 4096, 8192];
/// A product that takes fewer seconds than this is followed by a larger one.
const LONG_ENOUGH: f64 = 0.02;

/// The most that a device was seen to compute.
#[derive(Debug, Clone, Serialize)]
pub struct Peak {
    /// Thousand millions of floating-point operations a second, from the median.
    pub gflops: f64,
    /// The large product that was timed; none where fused multiply-adds alone were.
    pub product: Option<LargeProduct>,
    /// How what is multiplied is stored.
    pub precision: Dtype,
    /// The seconds of a repetition.
    #[serde(flatten)]
    pub timing: Timing,
}

impl fmt::Display for Peak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} GFLOP/s, ", self.gflops)?;
        match self.product {
            None => write!(f, "fused multiply-adds alone")?,
            Some(LargeProduct { side, .. }) => write!(f, "a product of two {side} x {side} matrices")?,
        }
        write!(f, " ({:.1} to {:.1} ms)", 1e3 * self.timing.min_s, 1e3 * self.timing.max_s)
    }
}

/// A product of two square matrices.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct LargeProduct {
    /// Rows and columns of each matrix.
    pub side: usize,
    /// What makes the product.
    pub engine: Engine,
}

/// What is timed as a device's peak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Yardstick {
    /// Fused multiply-adds of f32 in the processor's registers, by all threads.
    MultiplyAdds,
    /// The fastest large product of an engine.
    Product(Engine),
}

/// Measures the peak in `precision` of the device that `spec` names, which burn calls `device`.
///
/// # Errors
/// A device error where the device fails or computes what is no number.
pub(super) fn peak(
    yardstick: Yardstick,
    precision: Precision,
    repetitions: Repetitions,
    spec: Spec,
    device: &Device,
) -> Result<Peak> {
    match yardstick {
        Yardstick::MultiplyAdds => {
            let (flop, timing) = multiply_adds::time(repetitions, device)?;
            Ok(Peak { gflops: flop / timing.median_s / 1e9, product: None, precision: Dtype::F32, timing })
        }
        Yardstick::Product(engine) => fastest_product(engine, precision, repetitions, spec, device),
    }
}

fn fastest_product(
    engine: Engine,
    precision: Precision,
    repetitions: Repetitions,
    spec: Spec,
    device: &Device,
) -> Result<Peak> {
    let stored = if engine == Engine::CompiledF16 { Dtype::F16 } else { Dtype::F32 };
    let gpu = match (engine, spec.api) {
        (Engine::Burn, _) | (_, Api::Cpu) => None,
        _ => {
            let gpu = Arc::new(Gpu::open(spec, Bounds::Adapter, Checks::Off)?);
            Some((Square::tile(&gpu, stored)?, gpu))
        }
    };
    let mut best: Option<Peak> = None;
    for side in SIDES {
        let (timing, corner) = match (&gpu, engine) {
            (Some((_, gpu)), _) if !fits(gpu, side, stored) => break,
            (Some((tile, gpu)), _) => {
                let [x, y] = matrices(side);
                let mut square = Square::new(gpu, side, stored, [&x, &y], *tile)?;
                let ((), timing) = repeat(device, repetitions, (), |()| square.run())?;
                (timing, square.values()?.first().copied().map(f64::from))
            }
            (None, Engine::Burn) => product(side, precision, repetitions, device)?,
            (None, _) => own_product(side, repetitions, device)?,
        };
        if !corner.is_some_and(f64::is_finite) {
            return Err(Error::device(format!("a matrix product of {side} on the device is no number")));
        }
        let long_enough = timing.median_s >= LONG_ENOUGH;
        let gflops = 2.0 * (side as f64).powi(3) / timing.median_s / 1e9;
        if best.as_ref().is_none_or(|best| gflops > best.gflops) {
            let product = Some(LargeProduct { side, engine });
            best = Some(Peak { gflops, product, precision: engine.stored(precision), timing });
        }
        if long_enough {
            break;
        }
    }
    best.ok_or_else(|| Error::device("no matrix product could be timed"))
}

/// Whether matrices of `side` can be bound.
fn fits(gpu: &Gpu, side: usize, stored: Dtype) -> bool {
    (side * side * stored.bytes()) as u64 <= gpu.adapter().max_binding_bytes
}

/// Times burn's product; gives its first value too.
fn product(
    side: usize,
    precision: Precision,
    repetitions: Repetitions,
    device: &Device,
) -> Result<(Timing, Option<f64>)> {
    let dtype = match precision {
        Precision::F32 => FloatDType::F32,
        Precision::Bf16 => FloatDType::BF16,
    };
    let [x, y] =
        matrices(side).map(|values| Tensor::<2>::from_data(TensorData::new(values, [side, side]), device).cast(dtype));
    let (product, timing) = repeat(device, repetitions, None, |_| Ok(Some(x.clone().matmul(y.clone()))))?;
    let corner = product.map(|product| product.slice([0..1, 0..1]).cast(FloatDType::F32).reshape([1]));
    Ok((timing, corner.map(read::scalar).transpose()?))
}

/// Likewise the product of the compiled encoders of bfloat16.
fn own_product(side: usize, repetitions: Repetitions, device: &Device) -> Result<(Timing, Option<f64>)> {
    let [x, y] = matrices(side);
    let strides = [side, 1];
    let right = Panels::bf16(Matrix { values: &y, strides }, [side; 2], Bf16::new());
    let product = Product { left: Matrix { values: &x, strides }, right: &right, bias: None, epilogue: Epilogue::Bias };
    let (arch, workspace) = (Arch::new(), Workspace::new(matmul::workspace(side)));
    let (product, timing) = repeat(device, repetitions, vec![0.0; side * side], |mut out| {
        matmul::matmul(product, arch, &workspace, &mut out);
        Ok(out)
    })?;
    Ok((timing, product.first().copied().map(f64::from)))
}

/// Values of two matrices.
fn matrices(side: usize) -> [Vec<f32>; 2] {
    [0, 1].map(|sample| repeated(sample).take(side * side).collect())
}
