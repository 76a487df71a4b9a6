//! `y = x W + b` over the last axis, and its gradients.

use burn::backend::Shape;
use burn::backend::flex::FlexTensor;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::memory::{tensor, width};
use crate::kernels::matmul::{self, Epilogue, Matrix, Product};
use crate::kernels::panels::Panels;
use crate::kernels::workspace::Workspace;

/// Rows that one task sums; fixed, for it sets the order of the sum.
const ROWS: usize = 64;

/// `x W + b` over the last axis of `x`.
pub fn forward(x: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor) -> FlexTensor {
    let (x, weight, bias) = (x.to_contiguous(), plane(weight), bias.to_contiguous());
    let (input, output) = (width(&x), width(&bias));
    let values = x.storage::<f32>();
    let left = Matrix { values, strides: [input, 1] };
    let sizes = [values.len() / input.max(1), input, output];
    tensor(product(left, matrix(&weight), sizes, Some(bias.storage())), last(&x, output))
}

/// The gradient of `x`: `grad W^T`.
pub fn x_backward(weight: &FlexTensor, grad: &FlexTensor) -> FlexTensor {
    let (weight, grad) = (plane(weight), grad.to_contiguous());
    let [input, output] = weight.layout().shape().dims();
    let values = grad.storage::<f32>();
    let left = Matrix { values, strides: [output, 1] };
    let sizes = [values.len() / output.max(1), output, input];
    tensor(product(left, turned(matrix(&weight)), sizes, None), last(&grad, input))
}

/// The gradient of the weight: `x^T grad`, over all rows.
pub fn weight_backward(x: &FlexTensor, grad: &FlexTensor) -> FlexTensor {
    let (x, grad) = (x.to_contiguous(), grad.to_contiguous());
    let (input, output) = (width(&x), width(&grad));
    let values = x.storage::<f32>();
    let left = turned(Matrix { values, strides: [input, 1] });
    let right = Matrix { values: grad.storage(), strides: [output, 1] };
    let sizes = [input, values.len() / input.max(1), output];
    tensor(product(left, right, sizes, None), Shape::from([input, output]))
}

/// The gradient of the bias: the sum of `grad` over all axes but the last.
pub fn bias_backward(grad: &FlexTensor) -> FlexTensor {
    let grad = grad.to_contiguous();
    let dim = width(&grad);
    let arch = Arch::new();
    let blocks = grad.storage::<f32>().par_chunks(ROWS * dim);
    let parts: Vec<Vec<f32>> = blocks.map(|rows| arch.dispatch(Sum { rows, dim })).collect();
    let mut sums = vec![0.0; dim];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    tensor(sums, Shape::from([dim]))
}

/// The sum of rows of `dim` values.
struct Sum<'a> {
    rows: &'a [f32],
    dim: usize,
}

impl WithSimd for Sum<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<f32> {
        let mut sums = vec![0.0; self.dim];
        for row in self.rows.chunks_exact(self.dim) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        sums
    }
}

/// The product of sizes `[M, K, N]`, plus `bias` on every row.
fn product(left: Matrix, right: Matrix, [m, k, n]: [usize; 3], bias: Option<&[f32]>) -> Vec<f32> {
    let mut out = vec![0.0; m * n];
    let right = Panels::new(right, [k, n]);
    let product = Product { left, right: &right, bias, epilogue: Epilogue::Bias };
    matmul::matmul(product, Arch::new(), &Workspace::new(matmul::workspace(k)), &mut out);
    out
}

/// A weight that [`matrix`] can read where it stands: as it is, or turned; anything else is copied.
fn plane(weight: &FlexTensor) -> FlexTensor {
    match *weight.layout().strides() {
        [1, down] if down > 1 => weight.clone(),
        _ => weight.to_contiguous(),
    }
}

fn matrix(weight: &FlexTensor) -> Matrix<'_> {
    let layout = weight.layout();
    let strides = [layout.strides()[0].unsigned_abs(), layout.strides()[1].unsigned_abs()];
    Matrix { values: &weight.storage()[layout.start_offset()..], strides }
}

fn turned(Matrix { values, strides: [down, across] }: Matrix) -> Matrix {
    Matrix { values, strides: [across, down] }
}

/// The shape of `x` with another last axis.
fn last(x: &FlexTensor, width: usize) -> Shape {
    let mut axes: Vec<usize> = x.layout().shape().iter().copied().collect();
    axes.pop();
    axes.push(width);
    Shape::from(axes)
}
