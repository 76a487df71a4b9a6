//! Operations that burn's CPU backend composes from slow parts, fused; on every other device they are burn's own.
//!
//! The arithmetic itself stands in `kernels`; here it meets burn's tensors and automatic differentiation.

mod attention;
mod autodiff;
mod gelu;
mod linear;
mod memory;
mod norm;

use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{DType, Device, Tensor, activation, module};

/// The fused operations, for burn's dispatch to its CPU backend with and without gradients.
#[backend_extension(Flex, Autodiff)]
trait Fused: Backend {
    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_norm(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self>;
    fn fused_attention(qkv: FloatTensor<Self>, heads: usize) -> FloatTensor<Self>;
}

impl Fused for Flex {
    fn fused_gelu(x: FlexTensor) -> FlexTensor {
        gelu::forward(x)
    }

    fn fused_linear(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        linear::forward(&x, &weight, &bias)
    }

    fn fused_norm(x: FlexTensor, gain: FlexTensor, bias: FlexTensor, eps: f32) -> FlexTensor {
        norm::forward(&x, &gain, &bias, eps)
    }

    fn fused_attention(qkv: FlexTensor, heads: usize) -> FlexTensor {
        attention::forward(&qkv, heads).0
    }
}

/// Whether the fused operations take `x`: 32-bit values of the CPU backend.
fn takes<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && x.device() == Device::flex()
}

/// The exact GELU, `x` times the share of the normal distribution below `x`.
///
/// # Shapes
/// - `x` and output: any
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !takes(&x) {
        return activation::gelu(x);
    }
    Tensor::from_dispatch(Dispatch::fused_gelu(x.into_dispatch()))
}

/// `x W + b`.
///
/// # Shapes
/// - `x`: `[.., input]`, `weight`: `[input, output]`, `bias`: `[output]`
/// - output: `[.., output]`
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<D> {
    if !takes(&x) {
        return module::linear(x, weight, Some(bias));
    }
    Tensor::from_dispatch(Dispatch::fused_linear(x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()))
}

/// LayerNorm over the last axis.
///
/// # Shapes
/// - `x` and output: `[.., dim]`, `gain` and `bias`: `[dim]`
pub fn layer_norm<const D: usize>(x: Tensor<D>, gain: Tensor<1>, bias: Option<Tensor<1>>, eps: f64) -> Tensor<D> {
    if !takes(&x) {
        return module::layer_norm(x, gain, bias, eps);
    }
    let bias = bias.unwrap_or_else(|| Tensor::zeros(gain.dims(), &gain.device()));
    let (gain, bias) = (gain.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::fused_norm(x.into_dispatch(), gain, bias, eps as f32))
}

/// Self-attention of all tokens to all tokens; scores are scaled by `1 / sqrt(K)`.
///
/// # Shapes
/// `B` batch, `N` tokens, `H` heads, `K` head size.
/// - `qkv`: `[B, N, 3 H K]`: queries of all heads, then keys, then values
/// - output: `[B, N, H K]`
pub fn attention(qkv: Tensor<3>, heads: usize) -> Tensor<3> {
    if takes(&qkv) {
        return Tensor::from_dispatch(Dispatch::fused_attention(qkv.into_dispatch(), heads));
    }
    let [batch, tokens, triple] = qkv.dims();
    let dim = triple / 3;
    let qkv = qkv.reshape([batch, tokens, 3, heads, dim / heads]).permute([2, 0, 3, 1, 4]); // [3, B, H, N, K]
    let part = |i: usize| -> Tensor<4> { qkv.clone().slice([i..i + 1]).squeeze_dim(0) }; // [B, H, N, K]
    let mixed = module::attention(part(0), part(1), part(2), None, None, AttentionModuleOptions::default());
    mixed.swap_dims(1, 2).reshape([batch, tokens, dim])
}

#[cfg(test)]
mod tests;
