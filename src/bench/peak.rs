//! The measured peak: how fast one large matrix product is.

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use pulp::Arch;
use serde::Serialize;

use super::clock::{Repetitions, Timing, repeat};
use crate::config::Precision;
use crate::device::{Api, Spec, read};
use crate::error::{Error, Result};
use crate::kernels::matmul::{self, Finish, Matrix, Product};
use crate::kernels::panels::{Bf16, Panels};
use crate::kernels::workspace::Workspace;
use crate::random::{Purpose, Stream};

/// Sides of the products, tried in turn: 2048 fills a processor, a large GPU needs more.
const SIDES: [usize; 3] = [2048, 4096, 8192];
/// A product that takes fewer seconds than this is followed by a larger one.
const LONG_ENOUGH: f64 = 0.02;
/// Different values in a matrix; a prime, so that they repeat at another place in each row.
const VALUES: usize = 65_537;

/// The fastest large matrix product.
#[derive(Debug, Clone, Serialize)]
pub struct Peak {
    /// Thousand millions of floating-point operations a second, from the median.
    pub gflops: f64,
    /// Rows and columns of each matrix.
    pub side: usize,
    /// The arithmetic.
    pub precision: Precision,
    /// The seconds of a product.
    #[serde(flatten)]
    pub timing: Timing,
}

/// Measures the peak in `precision` of the device that `spec` names and that is burn's `device`.
///
/// # Errors
/// A device error where the device fails or computes what is no number.
pub fn peak(precision: Precision, repetitions: Repetitions, spec: Spec, device: &Device) -> Result<Peak> {
    let mut best: Option<Peak> = None;
    for side in SIDES {
        // burn's product knows no instructions for bfloat16 on the processor.
        let peak = match (precision, spec.api) {
            (Precision::Bf16, Api::Cpu) => own_product(side, repetitions, device)?,
            _ => product(side, precision, repetitions, device)?,
        };
        let long_enough = peak.timing.median_s >= LONG_ENOUGH;
        if best.as_ref().is_none_or(|best| peak.gflops > best.gflops) {
            best = Some(peak);
        }
        if long_enough {
            break;
        }
    }
    best.ok_or_else(|| Error::device("no matrix product could be timed"))
}

fn product(side: usize, precision: Precision, repetitions: Repetitions, device: &Device) -> Result<Peak> {
    let dtype = match precision {
        Precision::F32 => FloatDType::F32,
        Precision::Bf16 => FloatDType::BF16,
    };
    let [x, y] =
        matrices(side).map(|values| Tensor::<2>::from_data(TensorData::new(values, [side, side]), device).cast(dtype));
    let (product, timing) = repeat(device, repetitions, None, |_| Ok(Some(x.clone().matmul(y.clone()))))?;
    let corner = product.map(|product| product.slice([0..1, 0..1]).cast(FloatDType::F32).reshape([1]));
    let corner = corner.map(read::scalar).transpose()?;
    timed(side, precision, timing, corner)
}

/// The product of the compiled encoders of bfloat16.
fn own_product(side: usize, repetitions: Repetitions, device: &Device) -> Result<Peak> {
    let [x, y] = matrices(side);
    let strides = [side, 1];
    let right = Panels::bf16(Matrix { values: &y, strides }, [side; 2], Bf16::new());
    let product = Product { left: Matrix { values: &x, strides }, right: &right, bias: None, finish: Finish::Store };
    let (arch, workspace) = (Arch::new(), Workspace::new(matmul::workspace(side)));
    let (product, timing) = repeat(device, repetitions, vec![0.0; side * side], |mut out| {
        matmul::matmul(product, arch, &workspace, &mut out);
        Ok(out)
    })?;
    timed(side, Precision::Bf16, timing, product.first().copied().map(f64::from))
}

/// Values of two matrices.
fn matrices(side: usize) -> [Vec<f32>; 2] {
    [0, 1].map(|sample| {
        let mut stream = Stream::new(0, 0, sample, Purpose::Init);
        let values: Vec<f32> = (0..VALUES).map(|_| stream.normal() as f32).collect();
        values.into_iter().cycle().take(side * side).collect()
    })
}

/// The peak of products of `side`, whose first value is `corner`.
fn timed(side: usize, precision: Precision, timing: Timing, corner: Option<f64>) -> Result<Peak> {
    if !corner.is_some_and(f64::is_finite) {
        return Err(Error::device(format!("a matrix product of {side} on the device is no number")));
    }
    let gflops = 2.0 * (side as f64).powi(3) / timing.median_s / 1e9;
    Ok(Peak { gflops, side, precision, timing })
}
