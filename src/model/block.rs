//! The pre-norm transformer block of encoder and predictor.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::{Attention, Init, LayerNorm, Mlp, Rotation};
use crate::config::Precision;

/// What all blocks of one network share.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockShape {
    pub dim: usize,
    pub heads: usize,
    pub mlp: usize,
    pub norm_eps: f64,
    pub precision: Precision,
    /// The block's number, counted from 1, where its residual projections begin smaller by the root of twice of it.
    pub layer: Option<usize>,
}

/// `x + attn(norm1(x))`, then `x + mlp(norm2(x))`.
#[derive(Module, Debug)]
pub struct Block {
    /// Before the attention.
    pub norm1: LayerNorm,
    /// Self-attention.
    pub attn: Attention,
    /// Before the MLP.
    pub norm2: LayerNorm,
    /// The MLP.
    pub mlp: Mlp,
}

impl Block {
    pub(super) fn new(name: &str, shape: BlockShape, init: Init, device: &Device) -> Self {
        Self {
            norm1: LayerNorm::new(shape.dim, shape.norm_eps, init, device),
            attn: Attention::new(&format!("{name}.attn"), shape, init, device),
            norm2: LayerNorm::new(shape.dim, shape.norm_eps, init, device),
            mlp: Mlp::new(&format!("{name}.mlp"), shape, init, device),
        }
    }

    /// # Shapes
    /// - `x` and output: `[B, N, D]`
    pub fn forward(&self, x: Tensor<3>, rotation: Option<&Rotation>) -> Tensor<3> {
        let x = x.clone() + self.attn.forward(self.norm1.forward(x), rotation);
        x.clone() + self.mlp.forward(self.norm2.forward(x))
    }
}
