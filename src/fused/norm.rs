//! LayerNorm and its gradients over tensors of the CPU backend.

use burn::backend::Shape;
use burn::backend::flex::FlexTensor;
use pulp::Arch;

use super::memory::{contiguous, tensor, width};
use crate::kernels::norm::{self, Norm};

/// `y = (x - mean) / sqrt(variance + eps) * gain + bias`, row by row.
pub fn forward(x: &FlexTensor, gain: &FlexTensor, bias: &FlexTensor, eps: f32) -> FlexTensor {
    let (x, gain, bias) = (x.to_contiguous(), gain.to_contiguous(), bias.to_contiguous());
    let values = x.storage::<f32>();
    let mut result = vec![0.0; values.len()];
    let norm = Norm { gain: gain.storage(), bias: bias.storage(), eps, stride: width(&x), column: 0 };
    norm::forward(norm, Arch::new(), values, &mut result);
    tensor(result, x.layout().shape().clone())
}

/// The gradients of `x`, gain and bias, from that of the result.
pub fn backward(x: &FlexTensor, gain: &FlexTensor, grad: FlexTensor, eps: f32) -> [FlexTensor; 3] {
    let (x, gain, mut grad) = (x.to_contiguous(), gain.to_contiguous(), contiguous(grad));
    let dim = width(&x);
    let mut sums = norm::backward(x.storage(), gain.storage(), eps, grad.storage_mut());
    let biases = sums.split_off(dim);
    [grad, tensor(sums, Shape::from([dim])), tensor(biases, Shape::from([dim]))]
}
