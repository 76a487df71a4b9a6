//! LayerNorm over the last axis.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::elementary::sum;

/// Rows that one task works through; fixed, for it sets the order in which the gradients of gain and bias are summed.
const ROWS: usize = 32;

/// Mean and reciprocal deviation of a row.
#[inline(always)]
fn moments(row: &[f32], eps: f32) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = sum([row], |[x]| x) / count;
    let variance = sum([row], |[x]| (x - mean) * (x - mean)) / count;
    (mean, 1.0 / (variance + eps).sqrt())
}

/// A LayerNorm: `y = (x - mean) / sqrt(variance + eps) * gain + bias`.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// `[D]`
    pub gain: &'a [f32],
    /// `[D]`
    pub bias: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
    /// From row to row of the result.
    pub stride: usize,
    /// The first column of the result that is written.
    pub column: usize,
}

/// Normalises the rows of `x`, `[R, D]`, to columns of `y`, `[R, stride]`.
pub fn forward(norm: Norm, arch: Arch, x: &[f32], y: &mut [f32]) {
    let blocks = y.par_chunks_mut(ROWS * norm.stride).zip(x.par_chunks(ROWS * norm.gain.len()));
    blocks.for_each(|(y, x)| arch.dispatch(Forward { norm, x, y }));
}

/// Turns the gradient of the result into that of `x`; gives those of the gain and of the bias, one after the other.
///
/// With `h` the normalised row and `d = grad * gain`, that of `x` is `(d - mean(d) - h mean(d h)) / deviation`.
pub fn backward(x: &[f32], gain: &[f32], eps: f32, grad: &mut [f32]) -> Vec<f32> {
    let arch = Arch::new();
    let dim = gain.len();
    let blocks = grad.par_chunks_mut(ROWS * dim).zip(x.par_chunks(ROWS * dim));
    let parts: Vec<Vec<f32>> = blocks.map(|(grad, x)| arch.dispatch(Backward { x, gain, grad, eps })).collect();
    let mut sums = vec![0.0; 2 * dim];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    sums
}

/// A block of rows, forward.
struct Forward<'a, 'b> {
    norm: Norm<'a>,
    x: &'a [f32],
    y: &'b mut [f32],
}

impl WithSimd for Forward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { norm: Norm { gain, bias, eps, stride, column }, x, y } = self;
        for (y, x) in y.chunks_exact_mut(stride).zip(x.chunks_exact(gain.len())) {
            let (mean, scale) = moments(x, eps);
            for (((y, x), gain), bias) in y[column..].iter_mut().zip(x).zip(gain).zip(bias) {
                *y = (x - mean) * scale * gain + bias;
            }
        }
    }
}

/// A block of rows, backward.
struct Backward<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    /// Of the result, then of the rows.
    grad: &'a mut [f32],
    eps: f32,
}

impl WithSimd for Backward<'_> {
    /// The gradient of the gain, then that of the bias.
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<f32> {
        let Self { x, gain, grad, eps } = self;
        let dim = gain.len();
        let mut sums = vec![0.0; 2 * dim];
        let (gains, biases) = sums.split_at_mut(dim);
        for (grad, x) in grad.chunks_exact_mut(dim).zip(x.chunks_exact(dim)) {
            row_backward(x, gain, grad, [&mut *gains, &mut *biases], eps);
        }
        sums
    }
}

/// Turns the gradient of a row's result into that of the row, and adds what gain and bias get from it.
#[inline(always)]
fn row_backward(x: &[f32], gain: &[f32], grad: &mut [f32], [gains, biases]: [&mut [f32]; 2], eps: f32) {
    let dim = x.len();
    let (gain, grad, gains, biases) = (&gain[..dim], &mut grad[..dim], &mut gains[..dim], &mut biases[..dim]);
    let (mean, scale) = moments(x, eps);
    let mean_d = sum([grad, gain], |[grad, gain]| grad * gain) / dim as f32;
    let mean_dh = sum([grad, gain, x], |[grad, gain, x]| grad * gain * ((x - mean) * scale)) / dim as f32;
    for i in 0..dim {
        let normalised = (x[i] - mean) * scale;
        gains[i] += grad[i] * normalised;
        biases[i] += grad[i];
        grad[i] = (grad[i] * gain[i] - mean_d - normalised * mean_dh) * scale;
    }
}
