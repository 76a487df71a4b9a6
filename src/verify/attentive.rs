//! A case of the kind `attentive_classifier`: the published attentive probe over given tokens, with its gradients.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use serde::Deserialize;

use super::case::Case;
use super::report::Report;
use super::tolerance::{ACTIVATION, GRADIENT, LOSS};
use crate::config::Precision;
use crate::device::read;
use crate::error::Result;
use crate::model::{AttentiveProbe, AttentiveShape, CrossAttention, Init, Linear};
use crate::weights::{self, Gradients, HostTensor, Tensors, collect};

const INPUTS: &str = "inputs.safetensors";
const WEIGHTS: &str = "weights.safetensors";
/// Far above every probe, and far below what would not fit into memory beside tokens of this width.
const MOST: usize = 1 << 12;
const MOST_BLOCKS: usize = 64;

#[derive(Deserialize)]
struct CaseConfig {
    embed_dim: usize,
    num_heads: usize,
    mlp_ratio: f64,
    num_classes: usize,
    variants: Vec<Variant>,
}

#[derive(Deserialize)]
struct Variant {
    name: String,
    depth: usize,
    /// Whether norms and an MLP stand around the attention.
    #[serde(default = "yes")]
    complete_block: bool,
}

fn yes() -> bool {
    true
}

/// The probe without norms and MLP around its attention, which no published weights have.
#[derive(Module, Debug)]
struct Bare {
    pooler: BarePooler,
    linear: Linear,
}

#[derive(Module, Debug)]
struct BarePooler {
    query_tokens: Param<Tensor<3>>,
    cross_attention_block: CrossAttention,
}

/// What all variants of the case share.
struct Shared<'a> {
    /// `[B, N, D]`
    tokens: &'a HostTensor,
    shape: [usize; 3],
    /// `[B]`
    labels: Tensor<1, Int>,
    weights: Tensors,
    device: Device,
}

/// Runs the case on `device`.
///
/// # Errors
/// A data error where the case is incomplete or its parts do not fit each other, a device error where the device fails.
pub fn verify(case: &Case, device: &Device) -> Result<Report> {
    let config: CaseConfig = case.config()?;
    let (dim, heads, classes) = (config.embed_dim, config.num_heads, config.num_classes);
    let mlp = (dim as f64 * config.mlp_ratio) as usize;
    let fits = [dim, heads, classes, mlp].iter().all(|size| (1..=MOST).contains(size)) && dim % heads == 0;
    if !fits || config.variants.iter().any(|variant| !(1..=MOST_BLOCKS).contains(&variant.depth)) {
        return Err(case.misfit(case.config_file, "its sizes are no attentive probe's"));
    }
    let inputs = case.tensors(INPUTS)?;
    let (tokens, shape) = case.images(INPUTS, &inputs, "tokens", "BND", [None, None, Some(dim)])?;
    let shared = Shared {
        tokens,
        shape,
        labels: labels(case, &inputs, [shape[0], classes], device)?,
        weights: case.tensors(WEIGHTS)?,
        device: device.clone().autodiff(),
    };
    let mut report = Report::new(case.tensors("expected.safetensors")?);
    for Variant { name, depth, complete_block } in &config.variants {
        let fault = |error| case.fault(WEIGHTS, error);
        if *complete_block {
            let probe = AttentiveProbe::new(
                AttentiveShape { dim, heads, mlp, depth: *depth, classes },
                Init::Constant,
                &shared.device,
            );
            let probe = weights::load(probe, name, &shared.weights).map_err(fault)?;
            shared.compare(&mut report, name, &probe, |tokens| probe.pooler.forward(tokens), &probe.linear)?;
        } else {
            let bare = Bare {
                pooler: BarePooler {
                    query_tokens: Param::from_tensor(Tensor::zeros([1, 1, dim], &shared.device)),
                    cross_attention_block: CrossAttention::new("", [dim, heads], Init::Constant, &shared.device),
                },
                linear: Linear::new("", [dim, classes], Precision::F32, Init::Constant, &shared.device),
            };
            let bare = weights::load(bare, name, &shared.weights).map_err(fault)?;
            let BarePooler { query_tokens, cross_attention_block } = &bare.pooler;
            let queries = query_tokens.val().expand([shape[0], 1, dim]);
            let pool = |tokens| cross_attention_block.forward(queries.clone(), tokens);
            shared.compare(&mut report, name, &bare, pool, &bare.linear)?;
        }
    }
    Ok(report)
}

impl Shared<'_> {
    /// Compares what the variant `name` makes of the tokens, and every gradient of its loss.
    fn compare<M: Module>(
        &self,
        report: &mut Report,
        name: &str,
        probe: &M,
        pool: impl Fn(Tensor<3>) -> Tensor<3>,
        linear: &Linear,
    ) -> Result<()> {
        let data = TensorData::new(self.tokens.values.clone(), self.shape);
        let tokens = Tensor::<3>::from_data(data, &self.device).require_grad();
        let pooled = pool(tokens.clone());
        let logits: Tensor<2> = linear.forward(pooled.clone().squeeze_dim(1));
        report.tensor(&format!("{name}.pooled"), pooled.inner(), ACTIVATION)?;
        report.tensor(&format!("{name}.logits"), logits.clone().inner(), ACTIVATION)?;
        let chosen = activation::log_softmax(logits, 1).gather(1, self.labels.clone().unsqueeze_dim(1));
        let loss = chosen.mean().neg();
        report.scalar(&format!("{name}.loss"), read::scalar(loss.clone().inner())?, LOSS);

        let mut grads = loss.backward();
        if let Some(grad) = tokens.grad(&grads) {
            report.tensor(&format!("{name}.grad_input"), grad, GRADIENT)?;
        }
        let grads = GradientsParams::from_module(&mut grads, probe);
        for (name, grad) in collect(probe, &format!("{name}.grad"), &Gradients(&grads))? {
            report.host(&name, &grad, GRADIENT);
        }
        Ok(())
    }
}

/// The class of each sample.
fn labels(case: &Case, inputs: &Tensors, [batch, classes]: [usize; 2], device: &Device) -> Result<Tensor<1, Int>> {
    let known = |label: &&f32| label.fract() == 0.0 && (0.0..classes as f32).contains(*label);
    let labels =
        inputs.get("labels").filter(|labels| labels.shape == [batch] && labels.values.iter().all(|l| known(&l)));
    let Some(labels) = labels else {
        return Err(case.misfit(INPUTS, format!("it holds no `labels`, expected {batch} below {classes}")));
    };
    let labels: Vec<i32> = labels.values.iter().map(|label| *label as i32).collect();
    Ok(Tensor::from_data(TensorData::new(labels, [batch]), &device.clone().autodiff()))
}
