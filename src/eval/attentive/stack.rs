//! Attentive probes of one shape side by side: one computation takes a step of each, and their gradients do not meet.
//!
//! `P` probes, `B` batch, `N` tokens, `D` width, `H` heads, `K` head size, `C` classes; `D = H * K`.
//!
//! A probe has one query, so that no key and no value of a token need be computed: the query goes through the keys'
//! weights instead of the tokens, and the tokens are mixed before they go through the values' weights. Normalised tokens
//! are the same for all probes, whose gains and offsets go the same way. That is `model::AttentiveProbe` in another
//! order of products, which the tests compare.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData, activation};

use super::Rates;
use crate::device::read;
use crate::error::Result;
use crate::fused;
use crate::model::{ATTENTIVE_NORM_EPS, AttentiveProbe, AttentiveShape, Init};
use crate::weights::{HostTensor, Tensors, Values, collect};

/// The largest norm of a probe's gradient. Reference: V-JEPA's evaluation.
const CLIP: f64 = 1.0;
/// Added to a norm before it divides: PyTorch's.
const CLIP_EPS: f64 = 1e-6;
/// AdamW's, PyTorch's defaults, which the reference leaves as they are.
const BETAS: [f64; 2] = [0.9, 0.999];
const EPS: f64 = 1e-8;

const POOLER: &str = "pooler.cross_attention_block";

/// Probes of one shape, on a device with automatic differentiation.
pub struct Stack {
    shape: AttentiveShape,
    rates: Vec<Rates>,
    /// By the published names, each `[P, values of one]`.
    parameters: BTreeMap<String, Parameter>,
    device: Device,
    /// Steps made so far.
    steps: i32,
}

struct Parameter {
    /// Of one probe, in the layout of the checkpoints.
    shape: Vec<usize>,
    value: Tensor<2>,
    /// AdamW's first and second moment.
    moments: Option<[Tensor<2>; 2]>,
}

impl Stack {
    /// Probes that begin with the same values, drawn from `seed`, one for each of `rates`.
    ///
    /// # Errors
    /// A device error where the values cannot be read.
    pub fn new(shape: AttentiveShape, seed: u64, rates: &[Rates], device: &Device) -> Result<Self> {
        let probe = AttentiveProbe::new(shape, Init::Seed(seed), &Device::flex());
        let device = device.clone().autodiff();
        let parameter = |tensor: HostTensor| {
            let data = TensorData::new(tensor.values.repeat(rates.len()), [rates.len(), tensor.values.len()]);
            let value = Tensor::from_data(data, &device).require_grad();
            Parameter { shape: tensor.shape, value, moments: None }
        };
        let tensors = collect(&probe, "", &Values)?.into_iter();
        let parameters = tensors.map(|(name, tensor)| (name, parameter(tensor))).collect();
        Ok(Self { shape, rates: rates.to_vec(), parameters, device, steps: 0 })
    }

    /// The largest number of probes whose largest tensor has no more than `most` values, for batches of `tokens` tokens.
    pub fn fitting(shape: AttentiveShape, tokens: usize, most: usize) -> usize {
        let scores = tokens.saturating_mul(shape.heads);
        let widest = shape.mlp.max(2 * shape.dim).max(shape.classes).saturating_mul(shape.dim);
        (most / scores.max(widest).max(1)).max(1)
    }

    /// The tensors of probe `at`, by the published names.
    ///
    /// # Errors
    /// A device error where one cannot be read back.
    pub fn tensors(&self, at: usize) -> Result<Tensors> {
        let host = |parameter: &Parameter| {
            let values = read::values(parameter.value.clone().inner().slice([at..at + 1]))?;
            HostTensor::new(parameter.shape.clone(), values)
        };
        self.parameters.iter().map(|(name, parameter)| Ok((name.clone(), host(parameter)?))).collect()
    }

    /// Each probe takes its step on a batch: `share` of its learning rate, by AdamW; gives each one's loss before it.
    ///
    /// # Shapes
    /// - `tokens`: `[B, N, D]`, without autodiff
    /// - `labels`: `[B]`
    /// - output: `[P]`, without autodiff
    pub fn step(&mut self, tokens: Tensor<3>, labels: &[u32], share: f64) -> Tensor<1> {
        let losses = self.losses(tokens, labels);
        let grads = losses.clone().sum().backward();
        let probes = self.rates.len();
        let mut found: Vec<(&mut Parameter, Tensor<2>)> = Vec::new();
        for parameter in self.parameters.values_mut() {
            if let Some(grad) = parameter.value.grad(&grads) {
                found.push((parameter, grad));
            }
        }
        let squares = |(_, grad): &(&mut Parameter, Tensor<2>)| grad.clone().square().sum_dim(1); // [P, 1]
        let norms = found.iter().map(squares).reduce(|sum, more| sum + more).map(Tensor::sqrt);
        let clipped = norms.map(|norms| ((norms + CLIP_EPS).recip() * CLIP).clamp_max(1.0));

        self.steps += 1;
        let [correction1, correction2] = BETAS.map(|beta| 1.0 - beta.powi(self.steps));
        let inner = self.device.clone().inner();
        let column = |value: &dyn Fn(&Rates) -> f64| {
            let values: Vec<f32> = self.rates.iter().map(|rates| value(rates) as f32).collect();
            Tensor::<2>::from_data(TensorData::new(values, [probes, 1]), &inner)
        };
        let lr = column(&|rates| share * rates.lr / correction1);
        let decay = column(&|rates| 1.0 - share * rates.lr * rates.weight_decay);
        for (parameter, grad) in found {
            let grad = match &clipped {
                Some(factor) => grad * factor.clone(),
                None => grad,
            };
            let weigh = |old: Option<Tensor<2>>, new: Tensor<2>, beta: f64| match old {
                Some(old) => old * beta + new * (1.0 - beta),
                None => new * (1.0 - beta),
            };
            let [first, second] = match parameter.moments.take() {
                Some(moments) => moments.map(Some),
                None => [None, None],
            };
            let first = weigh(first, grad.clone(), BETAS[0]);
            let second = weigh(second, grad.square(), BETAS[1]);
            let root = second.clone().sqrt() / correction2.sqrt() + EPS;
            let value = parameter.value.clone().inner();
            let value = if parameter.shape.len() >= 2 { value * decay.clone() } else { value };
            let value = value - first.clone() / root * lr.clone();
            parameter.value = value.autodiff().require_grad();
            parameter.moments = Some([first, second]);
        }
        losses.inner()
    }

    /// The cross-entropy of each probe, the mean over the batch, `[P]`.
    fn losses(&self, tokens: Tensor<3>, labels: &[u32]) -> Tensor<1> {
        let classes = self.shape.classes;
        let mut chosen = vec![0.0f32; labels.len() * classes];
        labels.iter().enumerate().for_each(|(row, label)| chosen[row * classes + *label as usize] = 1.0);
        let chosen = Tensor::<3>::from_data(TensorData::new(chosen, [1, labels.len(), classes]), &self.device);
        let logs = activation::log_softmax(self.forward(tokens), 2) * chosen; // [P, B, C]
        logs.reshape([self.rates.len(), labels.len() * classes]).sum_dim(1).reshape([-1]) / -(labels.len() as f64)
    }

    /// # Shapes
    /// - `tokens`: `[B, N, D]`, without autodiff
    /// - output: `[P, B, C]`
    pub fn forward(&self, tokens: Tensor<3>) -> Tensor<3> {
        let (probes, AttentiveShape { dim, heads, depth, .. }) = (self.rates.len(), self.shape);
        let (batch, size) = (tokens.dims()[0], dim / heads);
        let one = Tensor::ones([dim], &tokens.device());
        let tokens = fused::layer_norm(tokens, one, None, ATTENTIVE_NORM_EPS).autodiff(); // [B, N, D]

        // Through the keys' weights: what the keys add to every score of a head changes no attention.
        let name = |part: &str| format!("{POOLER}.{part}");
        let query = self.parameter("pooler.query_tokens", [probes, 1, dim]);
        let q = self.linear(query.clone(), &name("xattn.q"), dim).reshape([probes, heads, 1, size]);
        let kv = self.parameter(&name("xattn.kv.weight"), [probes, 2, heads, size, dim]);
        let part = |i: usize| kv.clone().narrow(1, i, 1).reshape([probes, heads, size, dim]); // [P, H, K, D]
        let gain = self.parameter(&name("norm1.weight"), [probes, 1, 1, dim]);
        let directions = q.matmul(part(0)) * gain.clone() / (size as f64).sqrt(); // [P, H, 1, D]
        let scores = directions.reshape([1, probes * heads, dim]).matmul(tokens.clone().swap_dims(1, 2)); // [B, P H, N]
        let mixed = activation::softmax(scores, 2).matmul(tokens); // [B, P H, D]

        let mixed = mixed.reshape([batch, probes, heads, dim]).permute([1, 2, 0, 3]); // [P, H, B, D]
        let mixed = mixed * gain + self.parameter(&name("norm1.bias"), [probes, 1, 1, dim]);
        let values = mixed.matmul(part(1).swap_dims(2, 3)); // [P, H, B, K]
        let bias = self.parameter(&name("xattn.kv.bias"), [probes, 2, dim]).narrow(1, 1, 1); // [P, 1, D]
        let found = values.swap_dims(1, 2).reshape([probes, batch, dim]) + bias + query; // [P, B, D]
        let mut x = found.clone() + self.mlp(self.norm(found, &name("norm2")), &name("mlp"));

        for block in 0..depth - 1 {
            let name = |part: &str| format!("pooler.blocks.{block}.{part}");
            // Of one token, attention gives its value; queries and keys are there for the gradient that is zero.
            let qkv = self.linear(self.norm(x.clone(), &name("norm1")), &name("attn.qkv"), 3 * dim);
            x = x + self.linear(qkv.narrow(2, 2 * dim, dim), &name("attn.proj"), dim);
            x = x.clone() + self.mlp(self.norm(x, &name("norm2")), &name("mlp"));
        }
        self.linear(x, "linear", self.shape.classes)
    }

    /// # Shapes
    /// - `x` and output: `[P, B, D]`
    fn mlp(&self, x: Tensor<3>, name: &str) -> Tensor<3> {
        let hidden = fused::gelu(self.linear(x, &format!("{name}.fc1"), self.shape.mlp));
        self.linear(hidden, &format!("{name}.fc2"), self.shape.dim)
    }

    /// # Shapes
    /// - `x`: `[P, B, input]`
    /// - output: `[P, B, output]`
    fn linear(&self, x: Tensor<3>, name: &str, output: usize) -> Tensor<3> {
        let [probes, _, input] = x.dims();
        let weight = self.parameter(&format!("{name}.weight"), [probes, output, input]);
        x.matmul(weight.swap_dims(1, 2)) + self.parameter(&format!("{name}.bias"), [probes, 1, output])
    }

    /// # Shapes
    /// - `x` and output: `[P, B, D]`
    fn norm(&self, x: Tensor<3>, name: &str) -> Tensor<3> {
        let [probes, _, dim] = x.dims();
        let one = Tensor::ones([dim], &self.device);
        let gain = self.parameter(&format!("{name}.weight"), [probes, 1, dim]);
        let offset = self.parameter(&format!("{name}.bias"), [probes, 1, dim]);
        fused::layer_norm(x, one, None, ATTENTIVE_NORM_EPS) * gain + offset
    }

    fn parameter<const R: usize>(&self, name: &str, shape: [usize; R]) -> Tensor<R> {
        self.parameters[name].value.clone().reshape(shape)
    }
}
