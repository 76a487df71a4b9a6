//! Multi-head self-attention.
//!
//! `B` batch, `N` tokens, `D` width, `H` heads, `K` head size; `D = H * K`.

use burn::module::Module;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, Tensor, module};

use super::block::BlockShape;
use super::{Init, Linear};

/// Multi-head self-attention over all tokens; scores are scaled by `1 / sqrt(K)`.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[D, 3 D]`: queries of all heads, then keys, then values.
    pub qkv: Linear,
    /// `[D, D]`
    pub proj: Linear,
    #[module(skip)]
    heads: usize,
}

impl Attention {
    pub(super) fn new(name: &str, shape: BlockShape, init: Init, device: &Device) -> Self {
        let dim = shape.dim;
        Self {
            qkv: Linear::new(&format!("{name}.qkv"), [dim, 3 * dim], shape.precision, init, device),
            proj: Linear::new(&format!("{name}.proj"), [dim, dim], shape.precision, init, device),
            heads: shape.heads,
        }
    }

    /// # Shapes
    /// - `x` and output: `[B, N, D]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, dim] = x.dims();
        let heads = self.heads;
        let qkv = self.qkv.forward(x).reshape([batch, tokens, 3, heads, dim / heads]).permute([2, 0, 3, 1, 4]); // [3, B, H, N, K]
        let part = |i: usize| -> Tensor<4> { qkv.clone().slice([i..i + 1]).squeeze_dim(0) }; // [B, H, N, K]
        let options = AttentionModuleOptions::default();
        let mixed = module::attention(part(0), part(1), part(2), None, None, options); // [B, H, N, K]
        self.proj.forward(mixed.swap_dims(1, 2).reshape([batch, tokens, dim]))
    }
}
