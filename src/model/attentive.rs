//! The attentive probe: one learned query gathers a sample's tokens, and a linear head names its class.
//!
//! `B` batch, `N` tokens, `D` width, `H` heads, `K` head size; `D = H * K`.

use burn::module::{Module, Param};
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, Tensor, module};

use super::block::BlockShape;
use super::{Block, Init, LayerNorm, Linear, Mlp};
use crate::config::Precision;

/// LayerNorm's epsilon in the published probes; the encoders' is another one.
pub const NORM_EPS: f64 = 1e-5;

/// The sizes of an attentive probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentiveShape {
    /// `D`
    pub dim: usize,
    /// `H`
    pub heads: usize,
    /// Width of the hidden layer of a block's MLP.
    pub mlp: usize,
    /// Blocks, at least one: the first is the cross-attention, those after it are self-attention.
    pub depth: usize,
    /// What the head tells apart.
    pub classes: usize,
}

/// A pooler and a linear head over it.
#[derive(Module, Debug)]
pub struct AttentiveProbe {
    /// From all tokens to one.
    pub pooler: AttentivePooler,
    /// From it to a score for each class.
    pub linear: Linear,
}

impl AttentiveProbe {
    /// The probe of these sizes.
    pub fn new(shape: AttentiveShape, init: Init, device: &Device) -> Self {
        Self {
            pooler: AttentivePooler::new("pooler", shape, init, device),
            linear: Linear::new("linear", [shape.dim, shape.classes], Precision::F32, init, device),
        }
    }

    /// # Shapes
    /// - `tokens`: `[B, N, D]`
    /// - output: `[B, classes]`
    pub fn forward(&self, tokens: Tensor<3>) -> Tensor<2> {
        self.linear.forward(self.pooler.forward(tokens).squeeze_dim(1))
    }
}

/// One learned query that looks at all tokens, and blocks that work on what it found.
///
/// Reference (V-JEPA): the blocks see the query, not the tokens.
#[derive(Module, Debug)]
pub struct AttentivePooler {
    /// `[1, 1, D]`
    pub query_tokens: Param<Tensor<3>>,
    /// Looks at the tokens.
    pub cross_attention_block: CrossAttentionBlock,
    /// After it; often none.
    pub blocks: Vec<Block>,
}

impl AttentivePooler {
    fn new(name: &str, sizes: AttentiveShape, init: Init, device: &Device) -> Self {
        let AttentiveShape { dim, heads, mlp, depth, .. } = sizes;
        let shape = BlockShape { dim, heads, mlp, norm_eps: NORM_EPS, precision: Precision::F32, layer: None };
        let block = |i: usize| Block::new(&format!("{name}.blocks.{i}"), shape, init, device);
        Self {
            query_tokens: init.weight(&format!("{name}.query_tokens"), [1, 1, dim], device),
            cross_attention_block: CrossAttentionBlock::new(
                &format!("{name}.cross_attention_block"),
                shape,
                init,
                device,
            ),
            blocks: (1..depth).map(|layer| block(layer - 1)).collect(),
        }
    }

    /// # Shapes
    /// - `tokens`: `[B, N, D]`
    /// - output: `[B, 1, D]`
    pub fn forward(&self, tokens: Tensor<3>) -> Tensor<3> {
        let [batch, _, dim] = tokens.dims();
        let query = self.query_tokens.val().expand([batch, 1, dim]);
        let found = self.cross_attention_block.forward(query, tokens);
        self.blocks.iter().fold(found, |query, block| block.forward(query, None))
    }
}

/// `q + xattn(q, norm1(x))`, then `q + mlp(norm2(q))`.
#[derive(Module, Debug)]
pub struct CrossAttentionBlock {
    /// Before keys and values. Reference: the query is not normalised.
    pub norm1: LayerNorm,
    /// The attention.
    pub xattn: CrossAttention,
    /// Before the MLP.
    pub norm2: LayerNorm,
    /// The MLP.
    pub mlp: Mlp,
}

impl CrossAttentionBlock {
    fn new(name: &str, shape: BlockShape, init: Init, device: &Device) -> Self {
        Self {
            norm1: LayerNorm::new(shape.dim, shape.norm_eps, init, device),
            xattn: CrossAttention::new(&format!("{name}.xattn"), [shape.dim, shape.heads], init, device),
            norm2: LayerNorm::new(shape.dim, shape.norm_eps, init, device),
            mlp: Mlp::new(&format!("{name}.mlp"), shape, init, device),
        }
    }

    fn forward(&self, queries: Tensor<3>, x: Tensor<3>) -> Tensor<3> {
        let gathered = queries.clone() + self.xattn.forward(queries, self.norm1.forward(x));
        gathered.clone() + self.mlp.forward(self.norm2.forward(gathered))
    }
}

/// Attention of queries to other tokens; scores are scaled by `1 / sqrt(K)`.
#[derive(Module, Debug)]
pub struct CrossAttention {
    /// `[D, D]`
    pub q: Linear,
    /// `[D, 2 D]`: keys of all heads, then values.
    pub kv: Linear,
    /// `[D, D]`. Reference: it stands in the published weights, and is never applied.
    pub proj: Linear,
    #[module(skip)]
    heads: usize,
}

impl CrossAttention {
    /// Attention between tokens of width `dim` with so many heads; `name` is its path.
    pub fn new(name: &str, [dim, heads]: [usize; 2], init: Init, device: &Device) -> Self {
        let linear = |part: &str, output: usize| {
            Linear::new(&format!("{name}.{part}"), [dim, output], Precision::F32, init, device)
        };
        Self { q: linear("q", dim), kv: linear("kv", 2 * dim), proj: linear("proj", dim), heads }
    }

    /// # Shapes
    /// - `queries` and output: `[B, Q, D]`
    /// - `x`: `[B, N, D]`
    pub fn forward(&self, queries: Tensor<3>, x: Tensor<3>) -> Tensor<3> {
        let [batch, count, dim] = queries.dims();
        let (heads, size) = (self.heads, dim / self.heads);
        let tokens = x.dims()[1];
        let q = self.q.forward(queries).reshape([batch, count, heads, size]).swap_dims(1, 2); // [B, H, Q, K]
        let kv = self.kv.forward(x).reshape([batch, tokens, 2, heads, size]).permute([2, 0, 3, 1, 4]); // [2, B, H, N, K]
        let part = |i: usize| -> Tensor<4> { kv.clone().slice([i..i + 1]).squeeze_dim(0) }; // [B, H, N, K]
        let mixed = module::attention(q, part(0), part(1), None, None, AttentionModuleOptions::default());
        mixed.swap_dims(1, 2).reshape([batch, count, dim])
    }
}
