//! Self-attention and its gradient over tensors of the CPU backend.

use burn::backend::Shape;
use burn::backend::flex::FlexTensor;
use pulp::Arch;

use super::memory::tensor;
use crate::kernels::attention::{self, Outputs, Shapes};
use crate::kernels::workspace::Workspace;

fn shapes(qkv: &FlexTensor, heads: usize) -> Shapes {
    let [batch, tokens, triple] = qkv.layout().shape().dims();
    let size = triple / 3 / heads;
    Shapes { batch, tokens, heads, size, scale: 1.0 / (size as f32).sqrt() }
}

/// The result, `[B, N, H K]`, and the logarithm of each query's sum, `[B, H, N]`, from `[B, N, 3 H K]`.
pub fn forward(qkv: &FlexTensor, heads: usize) -> (FlexTensor, Vec<f32>) {
    let shapes = shapes(qkv, heads);
    let Shapes { batch, tokens, size, .. } = shapes;
    let [mut mixed, mut by_head] = [(); 2].map(|()| vec![0.0; batch * tokens * heads * size]);
    let mut log_sums = vec![0.0; batch * heads * tokens];
    let outputs = Outputs { mixed: &mut mixed, heads: &mut by_head, log_sums: &mut log_sums };
    let workspace = Workspace::new(shapes.workspace());
    attention::forward(shapes, Arch::new(), &workspace, qkv.to_contiguous().storage(), outputs);
    (tensor(mixed, Shape::from([batch, tokens, heads * size])), log_sums)
}

/// The gradient of `[B, N, 3 H K]` from that of the result, `[B, N, H K]`.
pub fn backward(qkv: &FlexTensor, log_sums: &[f32], grad: &FlexTensor, heads: usize) -> FlexTensor {
    let (qkv, grad) = (qkv.to_contiguous(), grad.to_contiguous());
    let values = attention::backward(qkv.storage(), log_sums, grad.storage(), shapes(&qkv, heads));
    tensor(values, qkv.layout().shape().clone())
}
