//! Fused multiply-adds in the registers of every thread: what no product of f32 on this processor exceeds.

use std::hint::black_box;

use burn::tensor::Device;
use pulp::{Arch, Simd, WithSimd};

use super::clock::{Repetitions, Timing, repeat};
use crate::error::{Error, Result};

/// Sums that do not wait for each other: more than two units of four cycles need, and no more than 16 registers hold.
const SUMS: usize = 12;
/// Additions to each: a tenth of a second and more, as a shared machine is fast and slow by turns.
const ADDITIONS: usize = 1 << 25;

/// Times them; gives the floating-point operations of a repetition too, over all threads.
///
/// # Errors
/// A device error where a sum is not what it must be.
pub(super) fn time(repetitions: Repetitions, device: &Device) -> Result<(f64, Timing)> {
    let arch = Arch::new();
    let (chains, timing) = repeat(device, repetitions, Vec::new(), |_| Ok(rayon::broadcast(|_| arch.dispatch(Chain))))?;
    if chains.iter().any(|chain| (chain.value - 1.0).abs() > 1e-3) {
        return Err(Error::device("the processor's multiply-adds are wrong")
            .with_remedy("check the machine: other numbers that it computes are wrong, too"));
    }
    let sums = chains.iter().map(|chain| chain.lanes * SUMS).sum::<usize>();
    Ok(((2 * sums * ADDITIONS) as f64, timing))
}

/// What one thread does.
struct Chain;

/// What it found: how many sums an instruction adds to, and one of them.
struct Chained {
    lanes: usize,
    value: f32,
}

impl WithSimd for Chain {
    type Output = Chained;

    /// `x = x / 2 + 1 / 2`, again and again, which ends at 1.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Chained {
        let half = simd.splat_f32s(black_box(0.5));
        let mut sums = [0.0; SUMS].map(|start| simd.splat_f32s(black_box(start)));
        for _ in 0..ADDITIONS {
            for sum in &mut sums {
                *sum = simd.mul_add_e_f32s(*sum, half, half);
            }
        }
        let value = sums.iter().map(|sum| simd.reduce_sum_f32s(*sum)).sum::<f32>();
        Chained { lanes: S::F32_LANES, value: value / (S::F32_LANES * SUMS) as f32 }
    }
}
