//! What a network's arithmetic and memory come to: operations, parameters, and values kept for the backward pass.

use crate::config::{RunConfig, TargetKind};
use crate::masks::Masks;

/// The masks of one pass: how many, and how many tokens each keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PassTokens {
    /// Context masks of a sample.
    pub contexts: usize,
    /// Target masks of a sample.
    pub targets: usize,
    /// Tokens of a context mask.
    pub context_tokens: f64,
    /// Tokens of a target mask.
    pub target_tokens: f64,
}

impl PassTokens {
    /// Of one draw.
    pub fn of(masks: &Masks) -> Self {
        let kept = |masks: &[crate::masks::IndexMask]| masks.first().map_or(0.0, |mask| mask.keep as f64);
        Self {
            contexts: masks.context.len(),
            targets: masks.targets.len(),
            context_tokens: kept(&masks.context),
            target_tokens: kept(&masks.targets),
        }
    }

    /// The mean of `draws`, pass by pass.
    pub fn mean<'a>(draws: impl Iterator<Item = &'a [Self]>) -> Vec<Self> {
        let draws: Vec<&[Self]> = draws.collect();
        let passes = draws.iter().map(|draw| draw.len()).min().unwrap_or(0);
        let mean = |number: usize| {
            let mean =
                |of: fn(&Self) -> f64| draws.iter().map(|draw| of(&draw[number])).sum::<f64>() / draws.len() as f64;
            Self {
                context_tokens: mean(|pass| pass.context_tokens),
                target_tokens: mean(|pass| pass.target_tokens),
                ..draws[0][number]
            }
        };
        (0..passes).map(mean).collect()
    }

    /// Sequences of the predictor for a sample.
    pub(super) fn sequences(&self) -> f64 {
        (self.contexts * self.targets) as f64
    }
}

/// Floating-point operations of one image, those of matrix products only.
#[derive(Debug, Clone, Copy)]
pub struct Flops {
    /// Of an encoder's forward pass over all tokens.
    pub encoder: f64,
    /// Of a training step: the target encoder once, what learns three times.
    pub step: f64,
}

impl Flops {
    /// Those of `config` with passes of such masks.
    pub fn new(config: &RunConfig, passes: &[PassTokens]) -> Self {
        let model = &config.model;
        let (encoder, predictor) = shapes(config);
        let tokens = model.tokens() as f64;
        let embed = 2.0 * tokens * (model.patch_values() * model.dim) as f64;
        let full = embed + encoder.flops(tokens);
        let learning = |pass: &PassTokens| {
            let narrow = 2.0 * pass.context_tokens * (model.dim * predictor.dim) as f64;
            let widen = 2.0 * pass.sequences() * pass.target_tokens * (predictor.dim * output_values(config)) as f64;
            embed
                + pass.contexts as f64 * (encoder.flops(pass.context_tokens) + narrow)
                + pass.sequences() * predictor.flops(pass.context_tokens + pass.target_tokens)
                + widen
        };
        let target = if config.loss.target == TargetKind::Features { full } else { 0.0 };
        Self { encoder: full, step: target + 3.0 * passes.iter().map(learning).sum::<f64>() }
    }
}

/// The blocks of encoder and predictor.
pub(super) fn shapes(config: &RunConfig) -> (Shape, Shape) {
    let (model, small) = (&config.model, &config.model.predictor);
    (
        Shape { dim: model.dim, depth: model.depth, mlp: model.mlp, heads: model.heads },
        Shape { dim: small.dim, depth: small.depth, mlp: small.mlp, heads: small.heads },
    )
}

/// Values that the predictor gives for a token.
pub(super) fn output_values(config: &RunConfig) -> usize {
    match config.loss.target {
        TargetKind::Features => config.model.dim,
        TargetKind::Pixels => config.model.patch_values(),
    }
}

/// What the blocks of a network cost.
pub(super) struct Shape {
    pub dim: usize,
    depth: usize,
    mlp: usize,
    heads: usize,
}

impl Shape {
    /// Parameters of all blocks and of the norm after them.
    pub fn parameters(&self) -> usize {
        let (dim, mlp) = (self.dim, self.mlp);
        let attention = dim * 3 * dim + 3 * dim + dim * dim + dim;
        let perceptron = dim * mlp + mlp + mlp * dim + dim;
        self.depth * (attention + perceptron + 4 * dim) + 2 * dim
    }

    /// Operations of all blocks over one sequence of `tokens`.
    pub fn flops(&self, tokens: f64) -> f64 {
        let (dim, mlp) = (self.dim as f64, self.mlp as f64);
        self.depth as f64 * (2.0 * tokens * (4.0 * dim * dim + 2.0 * dim * mlp) + 4.0 * tokens * tokens * dim)
    }

    /// Values that all blocks keep of one sequence for the backward pass: two norms, queries, keys and values with
    /// their copies by head, scores before and after the softmax, both residuals, and the MLP's hidden layer twice.
    pub fn kept(&self, tokens: f64) -> f64 {
        let (dim, mlp, heads) = (self.dim as f64, self.mlp as f64, self.heads as f64);
        self.depth as f64 * tokens * (12.0 * dim + 2.0 * mlp + 2.0 * heads * tokens)
    }
}
