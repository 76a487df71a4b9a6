//! The narrow transformer that predicts the features of hidden blocks from the context.
//!
//! `B` batch, `C` context masks, `T` target masks, `K` context tokens, `M` target tokens, `D` encoder's width, `E`
//! predictor's width.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::block::BlockShape;
use super::encoder::{rescaled, rope, table};
use super::{Block, Gather, Init, LayerNorm, Linear, Rope};
use crate::config::{ModelConfig, Precision, PredictorConfig};
use crate::masks::Masks;

/// Predicts each target from the whole context, one sequence a target.
#[derive(Module, Debug)]
pub struct Predictor {
    /// From the encoder's width to the predictor's.
    pub predictor_embed: Linear,
    /// `[1, 1, E]`: stands for every hidden token, where there is one such token.
    pub mask_token: Option<Param<Tensor<3>>>,
    /// `[1, 1, E]` each: several of them, one for each range of masks.
    pub mask_tokens: Vec<Param<Tensor<3>>>,
    /// `[1, N, E]`, fixed: no gradient reaches it. None where positions are rotations.
    pub predictor_pos_embed: Option<Param<Tensor<3>>>,
    /// The blocks.
    pub predictor_blocks: Vec<Block>,
    /// After the last block.
    pub predictor_norm: LayerNorm,
    /// Back to the width of what is predicted.
    pub predictor_proj: Linear,
    #[module(skip)]
    rope: Option<Rope>,
    #[module(skip)]
    tokens: usize,
}

impl Predictor {
    /// The predictor of `config`, for targets of `output` values a token.
    pub fn new(config: &ModelConfig, output: usize, precision: Precision, init: Init, device: &Device) -> Self {
        let PredictorConfig { dim, depth, heads, mlp, mask_tokens } = config.predictor;
        let (grid, norm_eps) = (config.grid(), config.norm_eps);
        let block = |i: usize| {
            let shape = BlockShape { dim, heads, mlp, norm_eps, precision, layer: rescaled(config, i) };
            Block::new(&format!("predictor_blocks.{i}"), shape, init, device)
        };
        // Reference: I-JEPA's one mask token is drawn, those of V-JEPA begin as zeros.
        let several = if mask_tokens > 1 { mask_tokens } else { 0 };
        let zeros = |_| Init::Constant.weight("mask_tokens", [1, 1, dim], device);
        Self {
            predictor_embed: Linear::new("predictor_embed", [config.dim, dim], precision, init, device),
            mask_token: (mask_tokens == 1).then(|| init.weight("mask_token", [1, 1, dim], device)),
            mask_tokens: (0..several).map(zeros).collect(),
            predictor_pos_embed: table(config, dim, device),
            predictor_blocks: (0..depth).map(block).collect(),
            predictor_norm: LayerNorm::new(dim, norm_eps, init, device),
            predictor_proj: Linear::new("predictor_proj", [dim, output], precision, init, device),
            rope: rope(config, [grid.time, grid.side, grid.side], dim / heads),
            tokens: config.tokens(),
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
        let batch = masks.context.first().map_or(1, |mask| mask.batch);
        let targets = masks.targets.len();
        let shown = Gather::new(&masks.context, self.tokens, &device);
        let per_context: Vec<_> =
            masks.targets.iter().flat_map(|mask| std::iter::repeat_n(mask.clone(), masks.context.len())).collect();
        let hidden = Gather::new(&per_context, self.tokens, &device);

        let mut context = self.predictor_embed.forward(context); // [C B, K, E]
        let [_, _, dim] = context.dims();
        let mut guess = self.mask_token(masks.range).expand([targets * rows, hidden.keep(), dim]); // [T C B, M, E]
        if let Some(table) = &self.predictor_pos_embed {
            let positions = table.val().repeat_dim(0, batch); // [B, N, E]
            context = context + shown.apply(positions.clone());
            guess = hidden.apply(positions) + guess;
        }
        let rotation = self.rope.as_ref().map(|rope| {
            let whole = rope.whole(&device);
            whole.keep(&shown, batch).repeat(targets).then(whole.keep(&hidden, batch))
        });

        let x = Tensor::cat(vec![context.repeat_dim(0, targets), guess], 1);
        let blocks = self.predictor_blocks.iter();
        let x = blocks.fold(x, |x, block| block.forward(x, rotation.as_ref()));
        let x = x.slice([0..targets * rows, kept..kept + hidden.keep(), 0..dim]);
        self.predictor_proj.forward(self.predictor_norm.forward(x))
    }

    /// The token that stands for what masks of `range` hide, `[1, 1, E]`.
    fn mask_token(&self, range: usize) -> Tensor<3> {
        match (&self.mask_token, self.mask_tokens.len()) {
            (Some(token), _) => token.val(),
            // Reference: counted around.
            (None, count) => self.mask_tokens[range % count.max(1)].val(),
        }
    }
}
