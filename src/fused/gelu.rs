//! GELU and its gradient over tensors of the CPU backend.

use burn::backend::flex::FlexTensor;

use super::memory::{contiguous, tensor};
use crate::kernels::gelu;

/// GELU of every value, in place where nothing else holds them.
pub fn forward(x: FlexTensor) -> FlexTensor {
    let mut x = contiguous(x);
    if let Some(values) = x.try_storage_mut::<f32>() {
        gelu::in_place(values);
        return x;
    }
    let values = x.storage::<f32>();
    let mut result = vec![0.0; values.len()];
    gelu::forward(values, &mut result);
    tensor(result, x.layout().shape().clone())
}

/// The gradient of `x`, from that of the result.
pub fn backward(x: FlexTensor, grad: FlexTensor) -> FlexTensor {
    let (x, mut grad) = (contiguous(x), contiguous(grad));
    gelu::backward(x.storage(), grad.storage_mut());
    grad
}
