//! The distance between predictions and targets, and the terms that keep features from collapsing.
//!
//! `R` rows (target mask, context mask, sample), `M` target tokens, `D` width, `B` batch, `K` context tokens.

use burn::tensor::Tensor;

use crate::config::{LossConfig, LossKind, SpreadOf};
use crate::fused;

/// Epsilon of the targets' LayerNorm: PyTorch's default, not the model's 1e-6.
const TARGET_NORM_EPS: f64 = 1e-5;
/// Epsilon under the root of the variance term (VICReg, section 4.1).
const VARIANCE_EPS: f64 = 1e-4;

/// Normalises each token over its features, without gain and offset.
///
/// # Shapes
/// - `x` and output: `[B, N, D]`
pub fn normalise_targets(x: Tensor<3>) -> Tensor<3> {
    let [_, _, dim] = x.dims();
    let gain = Tensor::ones([dim], &x.device());
    fused::layer_norm(x, gain, None, TARGET_NORM_EPS)
}

/// The mean distance between `prediction` and `target`, a scalar.
///
/// # Shapes
/// - `prediction`, `target`: `[R, M, D]`
/// - output: `[1]`
pub fn distance(kind: LossKind, prediction: Tensor<3>, target: Tensor<3>) -> Tensor<1> {
    let difference = prediction - target;
    match kind {
        LossKind::L1 => difference.abs().mean(),
        LossKind::L2 => difference.powi_scalar(2).mean(),
        // With c = min(|d|, 1): c (|d| - c / 2) is d^2 / 2 below 1 and |d| - 1/2 above.
        LossKind::SmoothL1 => {
            let size = difference.abs();
            let clipped = size.clone().clamp_max(1.0);
            (clipped.clone() * (size - clipped * 0.5)).mean()
        }
    }
}

/// VICReg's variance and covariance terms (arXiv 2105.04906, equations 1 to 4) on the context features, pooled or token by
/// token, weighted as `config` says; `None` where both weights are 0.
///
/// # Shapes
/// - `context`: `[R, K, D]`
/// - output: `[1]`
pub fn spread(config: &LossConfig, context: Tensor<3>) -> Option<Tensor<1>> {
    if config.variance == 0.0 && config.covariance == 0.0 {
        return None;
    }
    let [rows, tokens, dim] = context.dims();
    let (count, features) = match config.spread {
        SpreadOf::Pooled => (rows, context.mean_dim(1).reshape([rows, dim])),
        SpreadOf::Tokens => (rows * tokens, context.reshape([rows * tokens, dim])),
    };
    let freedom = (count.max(2) - 1) as f64;
    let centred = features.clone() - features.mean_dim(0);
    let covariance = centred.clone().transpose().matmul(centred.clone()) / freedom; // [D, D]
    let variance = centred.powi_scalar(2).sum_dim(0) / freedom; // [1, D]
    let hinge = (-(variance.clone() + VARIANCE_EPS).sqrt() + 1.0).clamp_min(0.0).mean();
    let off_diagonal = (covariance.powi_scalar(2).sum() - variance.powi_scalar(2).sum()) / dim as f64;
    Some(hinge * config.variance + off_diagonal * config.covariance)
}
