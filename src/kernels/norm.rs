//! LayerNorm over the last axis.

use burn::backend::Shape;
use burn::backend::flex::FlexTensor;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::elementary::sum;
use super::memory::{contiguous, tensor, width};

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

/// `y = (x - mean) / sqrt(variance + eps) * gain + bias`, row by row.
pub fn forward(x: &FlexTensor, gain: &FlexTensor, bias: &FlexTensor, eps: f32) -> FlexTensor {
    let (x, gain, bias) = (x.to_contiguous(), gain.to_contiguous(), bias.to_contiguous());
    let dim = width(&x);
    let (values, gain, bias) = (x.storage::<f32>(), gain.storage::<f32>(), bias.storage::<f32>());
    let mut result = vec![0.0; values.len()];
    let arch = Arch::new();
    let blocks = result.par_chunks_mut(ROWS * dim).zip(values.par_chunks(ROWS * dim));
    blocks.for_each(|(y, x)| arch.dispatch(Forward { x, gain, bias, y, eps }));
    tensor(result, x.layout().shape().clone())
}

/// The gradients of `x`, gain and bias, from that of the result.
///
/// With `h` the normalised row and `d = grad * gain`, that of `x` is `(d - mean(d) - h mean(d h)) / deviation`.
pub fn backward(x: &FlexTensor, gain: &FlexTensor, grad: FlexTensor, eps: f32) -> [FlexTensor; 3] {
    let (x, gain, mut grad) = (x.to_contiguous(), gain.to_contiguous(), contiguous(grad));
    let dim = width(&x);
    let (values, gain) = (x.storage::<f32>(), gain.storage::<f32>());
    let arch = Arch::new();
    let blocks = grad.storage_mut().par_chunks_mut(ROWS * dim).zip(values.par_chunks(ROWS * dim));
    let parts: Vec<Vec<f32>> = blocks.map(|(grad, x)| arch.dispatch(Backward { x, gain, grad, eps })).collect();
    let mut sums = vec![0.0; 2 * dim];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    let biases = sums.split_off(dim);
    [grad, tensor(sums, Shape::from([dim])), tensor(biases, Shape::from([dim]))]
}

/// A block of rows, forward.
struct Forward<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    bias: &'a [f32],
    y: &'a mut [f32],
    eps: f32,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, gain, bias, y, eps } = self;
        for (y, x) in y.chunks_exact_mut(gain.len()).zip(x.chunks_exact(gain.len())) {
            let (mean, scale) = moments(x, eps);
            for (((y, x), gain), bias) in y.iter_mut().zip(x).zip(gain).zip(bias) {
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
