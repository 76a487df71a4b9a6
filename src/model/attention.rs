//! Multi-head self-attention.
//!
//! `B` batch, `N` tokens, `D` width, `H` heads, `K` head size; `D = H * K`.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::block::BlockShape;
use super::{Init, Linear, Rotation};
use crate::fused;

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
            proj: Linear::new(&format!("{name}.proj"), [dim, dim], shape.precision, init.residual(shape.layer), device),
            heads: shape.heads,
        }
    }

    /// The tokens' positions are turned into queries and keys by `rotation`, where there is one.
    ///
    /// # Shapes
    /// - `x` and output: `[B, N, D]`
    pub fn forward(&self, x: Tensor<3>, rotation: Option<&Rotation>) -> Tensor<3> {
        let qkv = self.qkv.forward(x);
        let qkv = match rotation {
            Some(rotation) => rotation.turn(qkv, self.heads),
            None => qkv,
        };
        self.proj.forward(fused::attention(qkv, self.heads))
    }
}
