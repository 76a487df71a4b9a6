//! `y = x W + b`, with the bias added, and its gradient summed, by all threads.

use burn::backend::Flex;
use burn::backend::Shape;
use burn::backend::flex::FlexTensor;
use burn::backend::ops::ModuleOps;
use pulp::Arch;
use rayon::prelude::*;

use super::memory::{CHUNK, contiguous, tensor, width};

/// Rows that one task sums; fixed, for it sets the order of the sum.
const ROWS: usize = 64;

/// `x W + b` over the last axis of `x`.
pub fn forward(x: FlexTensor, weight: FlexTensor, bias: &FlexTensor) -> FlexTensor {
    let mut y = contiguous(Flex::linear(x, weight, None));
    let bias = bias.to_contiguous();
    let bias = bias.storage::<f32>();
    let dim = bias.len().max(1);
    let arch = Arch::new();
    let rows = |rows: &mut [f32]| {
        arch.dispatch(
            #[inline(always)]
            || rows.chunks_exact_mut(dim).for_each(|row| row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias)),
        )
    };
    y.storage_mut().par_chunks_mut(CHUNK.div_ceil(dim) * dim).for_each(rows);
    y
}

/// The gradient of the bias: the sum of `grad` over all axes but the last.
pub fn bias_backward(grad: &FlexTensor) -> FlexTensor {
    let grad = grad.to_contiguous();
    let dim = width(&grad);
    let arch = Arch::new();
    let part = |rows: &[f32]| {
        let mut sums = vec![0.0; dim];
        arch.dispatch(
            #[inline(always)]
            || rows.chunks_exact(dim).for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value)),
        );
        sums
    };
    let parts: Vec<Vec<f32>> = grad.storage::<f32>().par_chunks(ROWS * dim).map(part).collect();
    let mut sums = vec![0.0; dim];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    tensor(sums, Shape::from([dim]))
}
