//! The narrow transformer that predicts the features of hidden blocks from the context.
//!
//! `B` batch, `C` context masks, `T` target masks, `K` context tokens, `M` target tokens, `D` encoder's width, `E`
//! predictor's width.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

use super::block::BlockShape;
use super::encoder::fixed;
use super::{Block, Gather, Init, LayerNorm, Linear, sincos_2d};
use crate::config::{ModelConfig, Precision};
use crate::masks::Masks;

/// Predicts each target block from the whole context, one sequence a block.
#[derive(Module, Debug)]
pub struct Predictor {
    /// From the encoder's width to the predictor's.
    pub predictor_embed: Linear,
    /// `[1, 1, E]`: stands for every hidden token.
    pub mask_token: Param<Tensor<3>>,
    /// `[1, N, E]`, fixed: no gradient reaches it.
    pub predictor_pos_embed: Param<Tensor<3>>,
    /// The blocks.
    pub predictor_blocks: Vec<Block>,
    /// After the last block.
    pub predictor_norm: LayerNorm,
    /// Back to the width of what is predicted.
    pub predictor_proj: Linear,
}

impl Predictor {
    /// The predictor of `config`, for targets of `output` values a token.
    pub fn new(config: &ModelConfig, output: usize, precision: Precision, init: Init, device: &Device) -> Self {
        let predictor = &config.predictor;
        let (dim, norm_eps) = (predictor.dim, config.norm_eps);
        let shape = BlockShape { dim, heads: predictor.heads, mlp: predictor.mlp, norm_eps, precision };
        let table = TensorData::new(sincos_2d(dim, config.grid()), [1, config.tokens(), dim]);
        let block = |i| Block::new(&format!("predictor_blocks.{i}"), shape, init, device);
        Self {
            predictor_embed: Linear::new("predictor_embed", [config.dim, dim], precision, init, device),
            mask_token: init.weight("mask_token", [1, 1, dim], device),
            predictor_pos_embed: fixed(Tensor::from_data(table, device)),
            predictor_blocks: (0..predictor.depth).map(block).collect(),
            predictor_norm: LayerNorm::new(dim, norm_eps, init, device),
            predictor_proj: Linear::new("predictor_proj", [dim, output], precision, init, device),
        }
    }

    /// Predicts the targets of every (target mask, context mask, sample).
    ///
    /// Reference: rows are ordered `(target * C + context) * B + sample`. All sequences run in one batch, so all target
    /// masks keep the same number of tokens, as the samplers guarantee.
    ///
    /// # Shapes
    /// - `context`: `[C * B, K, D]`, as from [`super::Encoder::forward`] with the masks' context
    /// - output: `[T * C * B, M, output]`
    pub fn forward(&self, context: Tensor<3>, masks: &Masks) -> Tensor<3> {
        let device = context.device();
        let [rows, kept, _] = context.dims();
        let [_, tokens, dim] = self.predictor_pos_embed.dims();
        let batch = masks.context.first().map_or(1, |mask| mask.batch);
        let targets = masks.targets.len();

        let positions = self.predictor_pos_embed.val().repeat_dim(0, batch); // [B, N, E]
        let context_positions = Gather::new(&masks.context, tokens, &device).apply(positions.clone()); // [C B, K, E]
        let context = (self.predictor_embed.forward(context) + context_positions).repeat_dim(0, targets); // [T C B, K, E]

        let per_context: Vec<_> =
            masks.targets.iter().flat_map(|mask| std::iter::repeat_n(mask.clone(), masks.context.len())).collect();
        let gather = Gather::new(&per_context, tokens, &device);
        let hidden = gather.apply(positions) + self.mask_token.val(); // [T C B, M, E]

        let x = Tensor::cat(vec![context, hidden], 1);
        let x = self.predictor_blocks.iter().fold(x, |x, block| block.forward(x));
        let x = x.slice([0..targets * rows, kept..kept + gather.keep(), 0..dim]);
        self.predictor_proj.forward(self.predictor_norm.forward(x))
    }
}
