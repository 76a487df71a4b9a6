//! Linear layers and LayerNorm, with the checkpoints' names and nothing left to a default.

use burn::module::{Module, Param};
use burn::tensor::{Device, FloatDType, Tensor, module};

use super::Init;
use crate::config::Precision;
use crate::fused;

/// `y = x W + b`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[input, output]`: the transpose of the checkpoints' layout.
    pub weight: Param<Tensor<2>>,
    /// `[output]`
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    precision: Precision,
}

impl Linear {
    /// A layer from `input` to `output` values; `name` is its path.
    pub fn new(name: &str, [input, output]: [usize; 2], precision: Precision, init: Init, device: &Device) -> Self {
        Self {
            weight: init.weight(&format!("{name}.weight"), [input, output], device),
            bias: init.bias(output, device),
            precision,
        }
    }

    /// # Shapes
    /// - `x`: `[.., input]`
    /// - output: `[.., output]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self.precision {
            Precision::F32 => fused::linear(x, self.weight.val(), self.bias.val()),
            // The product runs in bf16, with f32 accumulation where the device has it; the bias is added in f32.
            Precision::Bf16 => {
                let product = module::linear(x.cast(FloatDType::BF16), self.weight.val().cast(FloatDType::BF16), None);
                product.cast(FloatDType::F32) + self.bias.val().unsqueeze()
            }
        }
    }
}

/// LayerNorm over the last axis, with gain and bias.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[dim]`
    pub weight: Param<Tensor<1>>,
    /// `[dim]`
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    eps: f64,
}

impl LayerNorm {
    /// A norm over `dim` values.
    pub fn new(dim: usize, eps: f64, init: Init, device: &Device) -> Self {
        Self { weight: init.gain(dim, device), bias: init.bias(dim, device), eps }
    }

    /// # Shapes
    /// - `x` and output: `[.., dim]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        fused::layer_norm(x, self.weight.val(), Some(self.bias.val()), self.eps)
    }
}
