//! The values of the CPU backend's tensors.

use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Bytes, DType, Shape};

/// The same tensor with its values in order, one after the other, and nothing else in its memory.
pub fn contiguous(x: FlexTensor) -> FlexTensor {
    let packed = x.to_contiguous();
    drop(x); // so that the one handle that is left can be written to without a copy
    packed
}

/// A new tensor of `values`.
pub fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}

/// Length of the last axis.
pub fn width(x: &FlexTensor) -> usize {
    x.layout().shape().iter().copied().next_back().unwrap_or(1)
}
