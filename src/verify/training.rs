//! What the cases of a training step share, of pictures and of clips: the run that they describe, its losses and gradients,
//! and what the steps leave behind.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use serde::Deserialize;

use super::case::{Case, Fit};
use super::report::Report;
use super::schedule::CaseSchedule;
use super::tolerance::{
    GRADIENT, GRADIENT_NORM, LATER_LOSS, LATER_PARAMETER, LOSS, PARAMETER, QUIET_GRADIENT, QUIET_ROUNDING,
};
use crate::config::{
    LossConfig, LossKind, MaskShape, ModelConfig, Positions, Precision, PredictorConfig, Preset, RunConfig, SpreadOf,
    TargetKind,
};
use crate::device::read;
use crate::error::{Error, Result};
use crate::masks::{IndexMask, Masks};
use crate::model::Init;
use crate::train::{AdamW, Networks, Rates, Schedule, upload};
use crate::weights::Tensors;

/// `config.json` of a case; what belongs to one kind alone is read by that kind.
#[derive(Deserialize)]
pub(super) struct CaseConfig {
    kind: String,
    model: CaseModel,
    schedule: CaseSchedule,
    batch: Option<usize>,
    #[serde(default)]
    train_losses: Vec<f64>,
    #[serde(default)]
    train_lr: Vec<f64>,
    #[serde(default)]
    train_wd: Vec<f64>,
    #[serde(default)]
    train_momentum: Vec<f64>,
    smooth_l1_beta: Option<f64>,
    target_layer_norm_eps: Option<f64>,
    #[serde(default)]
    param_groups: Vec<CaseGroup>,
}

/// A group of parameters that AdamW treats alike.
#[derive(Deserialize)]
struct CaseGroup {
    betas: Option<[f64; 2]>,
    eps: Option<f64>,
}

#[derive(Deserialize)]
struct CaseModel {
    img_size: usize,
    patch_size: usize,
    #[serde(default = "one")]
    num_frames: usize,
    #[serde(default = "one")]
    tubelet_size: usize,
    #[serde(default)]
    uniform_power: bool,
    in_chans: usize,
    embed_dim: usize,
    depth: usize,
    num_heads: usize,
    mlp_ratio: f64,
    layer_norm_eps: f64,
    qkv_bias: Option<bool>,
    predictor: CasePredictor,
}

#[derive(Deserialize)]
struct CasePredictor {
    embed_dim: usize,
    depth: usize,
    num_heads: usize,
    #[serde(default = "usual_ratio")]
    mlp_ratio: f64,
    layer_norm_eps: Option<f64>,
    #[serde(default = "one")]
    num_mask_tokens: usize,
}

fn one() -> usize {
    1
}

fn usual_ratio() -> f64 {
    4.0
}

pub(super) const INPUTS: &str = "inputs.safetensors";
pub(super) const WEIGHTS: &str = "weights.safetensors";

/// What the passes of a case need.
pub(super) struct Setup {
    /// The run that the case describes.
    pub run: RunConfig,
    /// `[B, C F, H, W]`
    pub images: Vec<f32>,
    /// `B`, `C F`, `H`, `W`.
    pub shape: [usize; 4],
    /// All of the case's inputs.
    pub inputs: Tensors,
    /// Of all networks.
    pub weights: Tensors,
    config: CaseConfig,
}

/// Reads the case's images or clips and its weights, and compares their sizes with its configuration's.
pub(super) fn setup(case: &Case) -> Result<Setup> {
    let config: CaseConfig = case.config()?;
    let run = run_config(&config).map_err(|error| case.fault(case.config_file, error))?;
    let (model, inputs) = (&run.model, case.tensors(INPUTS)?);
    let [channels, frames, side] = [model.channels, model.frames, model.image_size].map(Some);
    let (images, batch) = match model.frames {
        1 => {
            let (images, [batch, ..]) =
                case.images(INPUTS, &inputs, "images", "BCHW", [config.batch, channels, side, side])?;
            (images, batch)
        }
        _ => {
            let sides = [config.batch, channels, frames, side, side];
            let (clips, [batch, ..]) = case.images(INPUTS, &inputs, "clips", "BCTHW", sides)?;
            (clips, batch)
        }
    };
    let [planes, height, width] = model.input_shape();
    let (images, shape) = (images.values.clone(), [batch, planes, height, width]);
    let weights = case.tensors(WEIGHTS)?;
    sizes_of(case, model, &weights)?;
    Ok(Setup { run, images, shape, inputs, weights, config })
}

impl Setup {
    /// The networks of the case on `device`.
    ///
    /// # Errors
    /// A data error where the weights do not fit.
    pub fn networks(&self, case: &Case, device: &Device) -> Result<Networks> {
        let networks = Networks::new(&self.run, Init::Constant, device).load(&self.weights);
        networks.map_err(|error| case.fault(WEIGHTS, error))
    }

    /// What the masks must fit.
    pub fn fit(&self) -> Fit {
        Fit { batch: self.shape[0], tokens: self.run.model.tokens() }
    }

    /// The case's images on `device`.
    pub fn on_device(&self, device: &Device) -> Tensor<4> {
        upload(self.images.clone(), self.shape, device)
    }
}

/// Compares how many masks there are, and of how many tokens, with what the case says: `expected`, where it says it.
pub(super) fn check_masks(
    case: &Case,
    prefix: &str,
    masks: &[IndexMask],
    expected: (Option<usize>, Option<usize>),
) -> Result<()> {
    let found = (masks.len(), masks.first().map_or(0, |mask| mask.keep));
    let expected = (expected.0.unwrap_or(found.0), expected.1.unwrap_or(found.1));
    if found == expected {
        return Ok(());
    }
    let (masks, tokens) = found;
    let problem = format!(
        "it holds {masks} {prefix} of {tokens} tokens, expected {} of {} as {} says",
        expected.0, expected.1, case.config_file
    );
    Err(case.misfit(INPUTS, problem))
}

/// Compares the sizes of the configuration with the weights', before memory is taken for networks of these sizes.
fn sizes_of(case: &Case, model: &ModelConfig, weights: &Tensors) -> Result<()> {
    let ModelConfig { dim, depth, mlp, channels, tubelet, patch_size, ref predictor, .. } = *model;
    let tokens = model.tokens();
    let kernel = match model.frames {
        1 => vec![dim, channels, patch_size, patch_size],
        _ => vec![dim, channels, tubelet, patch_size, patch_size],
    };
    for (name, expected) in [
        ("encoder.patch_embed.proj.weight".to_owned(), kernel),
        ("encoder.pos_embed".to_owned(), vec![1, tokens, dim]),
        (format!("encoder.blocks.{}.mlp.fc1.weight", depth - 1), vec![mlp, dim]),
        ("predictor.predictor_pos_embed".to_owned(), vec![1, tokens, predictor.dim]),
        (
            format!("predictor.predictor_blocks.{}.mlp.fc1.weight", predictor.depth - 1),
            vec![predictor.mlp, predictor.dim],
        ),
    ] {
        let found = weights.get(&name).map(|tensor| &tensor.shape);
        if found != Some(&expected) {
            let found = found.map_or("is missing".to_owned(), |shape| format!("has the shape {shape:?}"));
            let problem = format!("`{name}` {found}, expected {expected:?} as {} says", case.config_file);
            return Err(case.misfit(WEIGHTS, problem));
        }
    }
    Ok(())
}

/// Trains the case's steps over the same batch, and compares rates, losses, gradients and what the steps leave behind.
pub(super) fn training(
    report: &mut Report,
    setup: &Setup,
    mut networks: Networks,
    images: Tensor<4>,
    masks: &[Masks],
) -> Result<()> {
    let Setup { run, config, .. } = setup;
    let schedule = Schedule::new(&run.optim, config.schedule.ipe);
    let golden_rates: [(&str, &[f64], fn(Rates) -> f64); 3] = [
        ("lr", &config.train_lr, |rates| rates.lr),
        ("wd", &config.train_wd, |rates| rates.weight_decay),
        ("momentum", &config.train_momentum, |rates| rates.momentum),
    ];
    for (name, goldens, of) in golden_rates {
        for (step, golden) in goldens.iter().enumerate() {
            report.value(&format!("train_{name}.{step}"), of(schedule.at(step)), *golden, LOSS);
        }
    }
    let mut optimizer = AdamW::default();
    let (mut first, mut noise) = (Tensors::new(), Noise::default());
    // The gradients are compared also where the case trains no step.
    for step in 0..config.train_losses.len().max(1) {
        let forward = networks.forward(&run.loss, images.clone(), masks);
        if let Some(golden) = config.train_losses.get(step) {
            let tolerance = if step == 0 { LOSS } else { LATER_LOSS };
            report.value(
                &format!("train_losses.{step}"),
                read::scalar(forward.loss.clone().inner())?,
                *golden,
                tolerance,
            );
        }
        let grads = networks.backward(forward.loss);
        if step == 0 {
            first = networks.named(&grads.encoder, &grads.predictor)?;
            for (name, grad) in &first {
                report.host(&format!("grad.{name}"), grad, GRADIENT);
            }
        }
        let rates = schedule.at(step);
        networks = networks.update(&mut optimizer, grads, run, rates);
        noise.grow(rates);
        after_step(report, step + 1, &networks, &first, noise)?;
    }
    Ok(())
}

/// Compares the norm of every gradient under another loss than the one that is trained.
pub(super) fn gradient_norms(
    report: &mut Report,
    networks: &Networks,
    (name, kind): (&str, LossKind),
    goldens: &BTreeMap<String, f64>,
    images: Tensor<4>,
    masks: &[Masks],
) -> Result<()> {
    if goldens.is_empty() {
        return Ok(());
    }
    let loss =
        LossConfig { kind, target: TargetKind::Features, variance: 0.0, covariance: 0.0, spread: SpreadOf::Pooled };
    let grads = networks.backward(networks.forward(&loss, images, masks).loss);
    let named = networks.named(&grads.encoder, &grads.predictor)?;
    for (parameter, golden) in goldens {
        let norm = named
            .get(parameter)
            .map_or(f64::NAN, |grad| grad.values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt());
        report.value(&format!("grad_norm_{name}.{parameter}"), norm, *golden, GRADIENT_NORM);
    }
    Ok(())
}

/// How far apart two runs may be where the true gradient is zero.
#[derive(Clone, Copy, Default)]
struct Noise {
    learner: f64,
    target: f64,
}

impl Noise {
    /// Adds a step: AdamW turns rounding noise into steps of the size of the learning rate, in either direction, and those
    /// after the first may be a little longer.
    fn grow(&mut self, rates: Rates) {
        self.learner += 2.1 * rates.lr;
        self.target = rates.momentum * self.target + (1.0 - rates.momentum) * self.learner;
    }
}

/// Compares the parameters after step `count`, where the case holds them; `grads` are those of the first step.
///
/// Where the true gradient is zero (all key biases), parameters are as far from the golden ones as `noise` says.
fn after_step(report: &mut Report, count: usize, networks: &Networks, grads: &Tensors, noise: Noise) -> Result<()> {
    let prefix = format!("step{count}.");
    if !report.expects(&prefix) {
        return Ok(());
    }
    // After the first step each parameter must be there, after later ones those that the case chose.
    let wanted = |name: &str| match count {
        1 => !name.ends_with("pos_embed"),
        _ => report.golden(&format!("{prefix}{name}")).is_some(),
    };
    let tensors: Vec<_> = networks.tensors()?.into_iter().filter(|(name, _)| wanted(name)).collect();
    let tolerance = if count == 1 { PARAMETER } else { LATER_PARAMETER };
    for (name, value) in tensors {
        let learner = name.replace("target_encoder.", "encoder.");
        let noise = if learner == name { noise.learner } else { noise.target };
        let grad = grads.get(&learner).map(|grad| grad.values.as_slice()).unwrap_or_default();
        let third = value.values.len() / 3;
        let key_bias = |i: usize| learner.ends_with("attn.qkv.bias") && (third..2 * third).contains(&i);
        let quiet = |i: usize| key_bias(i) || grad.get(i).is_some_and(|g| g.abs() < QUIET_GRADIENT);
        report.host_but(&format!("{prefix}{name}"), &value, tolerance, |i| quiet(i).then_some(noise + QUIET_ROUNDING));
    }
    report.note(format!("step{count}: elements whose gradient is noise may differ by {:.1e}", noise.learner));
    Ok(())
}

/// Refuses what has problems.
pub(super) fn can_be_made(problems: &[String]) -> Result<()> {
    match problems {
        [] => Ok(()),
        _ => Err(Error::usage(format!("no such network or step can be made: {}", problems.join("; ")))),
    }
}

/// What the case says of a step that no step here does: each fact with what it would have to be.
fn foreign(case: &CaseConfig) -> Vec<String> {
    let model = &case.model;
    let mut problems = Vec::new();
    let mut must = |key: &str, found: Option<String>, built: String| {
        if let Some(found) = found.filter(|found| *found != built) {
            problems.push(format!("{key} is {found}, and only {built} is built"));
        }
    };
    let number = |value: Option<f64>| value.map(|value| format!("{value:e}"));
    must("model.qkv_bias", model.qkv_bias.map(|bias| bias.to_string()), true.to_string());
    let eps = format!("{:e}", model.layer_norm_eps);
    must("model.predictor.layer_norm_eps", number(model.predictor.layer_norm_eps), eps);
    must("target_layer_norm_eps", number(case.target_layer_norm_eps), format!("{:e}", 1e-5));
    must("smooth_l1_beta", number(case.smooth_l1_beta), format!("{:e}", 1.0));
    for (i, group) in case.param_groups.iter().enumerate() {
        let betas = |betas: [f64; 2]| format!("{betas:?}");
        must(&format!("param_groups.{i}.betas"), group.betas.map(betas), betas([0.9, 0.999]));
        must(&format!("param_groups.{i}.eps"), number(group.eps), format!("{:e}", 1e-8));
    }
    if case.train_losses.is_empty() && !case.train_lr.is_empty() {
        problems.push(format!("train_lr lists {} steps, and train_losses none", case.train_lr.len()));
    }
    problems
}

/// The run that the case describes, whose values can work.
fn run_config(case: &CaseConfig) -> Result<RunConfig> {
    /// Steps of an epoch, far above every case's.
    const MOST_STEPS: usize = 1 << 20;
    let (model, schedule) = (&case.model, &case.schedule);
    let (preset, positions, kind) = match (case.kind.as_str(), model.uniform_power) {
        ("ijepa", _) => ("ijepa-vit-tiny16", Positions::Ijepa, LossKind::SmoothL1),
        (_, true) => ("vjepa-vit-tiny16", Positions::UniformPower, LossKind::L1),
        (_, false) => ("vjepa-vit-tiny16", Positions::Vjepa, LossKind::L1),
    };
    let mut run = Preset::find(preset)?.config();
    run.name = "reference case".into();
    run.model = ModelConfig {
        image_size: model.img_size,
        patch_size: model.patch_size,
        frames: model.num_frames,
        tubelet: model.tubelet_size,
        channels: model.in_chans,
        dim: model.embed_dim,
        depth: model.depth,
        heads: model.num_heads,
        mlp: (model.embed_dim as f64 * model.mlp_ratio) as usize,
        norm_eps: model.layer_norm_eps,
        positions,
        predictor: PredictorConfig {
            dim: model.predictor.embed_dim,
            depth: model.predictor.depth,
            heads: model.predictor.num_heads,
            mlp: (model.predictor.embed_dim as f64 * model.predictor.mlp_ratio) as usize,
            mask_tokens: model.predictor.num_mask_tokens,
        },
    };
    run.data.mean.resize(model.in_chans, 0.5);
    run.data.std.resize(model.in_chans, 0.5);
    run.data.resize = model.img_size;
    if let MaskShape::Blocks(blocks) = &mut run.mask.shape {
        blocks.min_keep = 0;
    }
    run.loss =
        LossConfig { kind, target: TargetKind::Features, variance: 0.0, covariance: 0.0, spread: SpreadOf::Pooled };
    run.optim = schedule.optim(run.optim);
    run.train.precision = Precision::F32;
    // The rules of a run that learns from pictures do not bind a few steps on given tensors.
    can_be_made(&[foreign(case), run.model.problems(), run.optim.problems()].concat())?;
    if !(1..=MOST_STEPS).contains(&schedule.ipe) {
        return Err(Error::usage(format!("schedule.ipe is {}, expected 1 to {MOST_STEPS}", schedule.ipe)));
    }
    Ok(run)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_case_of_a_step_that_is_not_built_is_refused_by_name() {
        let config: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/reference/ijepa_p14/config.json")).unwrap();
        let run = |config: Value| run_config(&serde_json::from_value(config).unwrap());
        assert!(run(config.clone()).is_ok());
        for (place, value) in [
            ("/model/qkv_bias", json!(false)),
            ("/model/predictor/layer_norm_eps", json!(1e-3)),
            ("/target_layer_norm_eps", json!(1e-2)),
            ("/smooth_l1_beta", json!(0.5)),
            ("/param_groups/1/betas", json!([0.1, 0.2])),
            ("/param_groups/2/eps", json!(1e-6)),
            ("/train_losses", json!([])),
        ] {
            let mut config = config.clone();
            *config.pointer_mut(place).unwrap() = value;
            let error = run(config).err().unwrap().to_string();
            let key = place[1..].replace('/', ".");
            assert!(error.contains(&key), "{key}: {error}");
        }
    }
}
