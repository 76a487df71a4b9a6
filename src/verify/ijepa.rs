//! A case of the kind `ijepa`: every activation, loss and gradient of a training step, and what the steps leave behind.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use serde::Deserialize;

use super::case::{Case, Fit};
use super::checkpoint;
use super::report::Report;
use super::tolerance::{ACTIVATION, GRADIENT, GRADIENT_NORM, LATER_LOSS, LOSS, PARAMETER, QUIET_GRADIENT};
use crate::config::{
    LossConfig, LossKind, ModelConfig, OptimConfig, Precision, PredictorConfig, Preset, RunConfig, TargetKind,
};
use crate::device::read;
use crate::error::{Error, Result};
use crate::masks::Masks;
use crate::model::{Gather, Init};
use crate::train::{AdamW, Networks, Rates, Schedule, distance, normalise_targets, upload};
use crate::weights::Tensors;

#[derive(Deserialize)]
struct CaseConfig {
    model: CaseModel,
    schedule: CaseSchedule,
    batch: Option<usize>,
    n_enc: Option<usize>,
    n_pred: Option<usize>,
    #[serde(rename = "K_enc")]
    k_enc: Option<usize>,
    #[serde(rename = "K_pred")]
    k_pred: Option<usize>,
    #[serde(default)]
    train_losses: Vec<f64>,
    #[serde(default)]
    train_lr: Vec<f64>,
    #[serde(default)]
    train_wd: Vec<f64>,
    #[serde(default)]
    train_momentum: Vec<f64>,
    #[serde(default)]
    grad_norm_mse: BTreeMap<String, f64>,
    #[serde(default)]
    grad_norm_l1: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct CaseModel {
    img_size: usize,
    patch_size: usize,
    in_chans: usize,
    embed_dim: usize,
    depth: usize,
    num_heads: usize,
    mlp_ratio: f64,
    layer_norm_eps: f64,
    predictor: CasePredictor,
}

#[derive(Deserialize)]
struct CasePredictor {
    embed_dim: usize,
    depth: usize,
    num_heads: usize,
    mlp_ratio: f64,
}

#[derive(Deserialize)]
struct CaseSchedule {
    ipe: usize,
    epochs: usize,
    ipe_scale: f64,
    warmup: f64,
    start_lr: f64,
    lr: f64,
    final_lr: f64,
    wd: f64,
    final_wd: f64,
    ema: [f64; 2],
}

const INPUTS: &str = "inputs.safetensors";
const WEIGHTS: &str = "weights.safetensors";

/// Runs the case on `device`.
///
/// # Errors
/// A data error where the case is incomplete or its parts do not fit each other, a device error where the device fails.
pub fn verify(case: &Case, device: &Device) -> Result<Report> {
    let config: CaseConfig = case.config()?;
    let run = run_config(&config).map_err(|error| case.fault(case.config_file, error))?;
    let expected = case.tensors("expected.safetensors")?;
    let inputs = case.tensors(INPUTS)?;
    let Setup { images, shape, weights, .. } = setup(case)?;
    let masks = masks(case, &config, &inputs, Fit { batch: shape[0], tokens: run.model.tokens() })?;
    let images = upload(images, shape, device);
    let networks = Networks::new(&run, Init::Constant, device).load(&weights);
    let networks = networks.map_err(|error| case.fault(WEIGHTS, error))?;

    let mut report = Report::new(expected);
    checkpoint::verify(&mut report, case, &weights)?;
    activations(&mut report, &networks, &run.loss, images.clone(), &masks)?;
    for (loss, kind, norms) in
        [("mse", LossKind::L2, &config.grad_norm_mse), ("l1", LossKind::L1, &config.grad_norm_l1)]
    {
        gradient_norms(&mut report, &networks, (loss, kind), norms, images.clone(), &masks)?;
    }
    training(&mut report, networks, &run, &config, images, &masks)?;
    Ok(report)
}

/// What a forward pass of the case needs.
pub(super) struct Setup {
    /// The networks' sizes.
    pub model: ModelConfig,
    /// `[B, C, H, W]`
    pub images: Vec<f32>,
    /// `B`, `C`, `H`, `W`.
    pub shape: [usize; 4],
    /// Of all networks.
    pub weights: Tensors,
}

/// Reads the case's images and weights, and compares their sizes with its configuration's.
pub(super) fn setup(case: &Case) -> Result<Setup> {
    let config: CaseConfig = case.config()?;
    let model = run_config(&config).map_err(|error| case.fault(case.config_file, error))?.model;
    let sides = [config.batch, Some(model.channels), Some(model.image_size), Some(model.image_size)];
    let inputs = case.tensors(INPUTS)?;
    let (images, shape) = case.images(INPUTS, &inputs, "images", sides)?;
    let weights = case.tensors(WEIGHTS)?;
    sizes_of(case, &model, &weights)?;
    Ok(Setup { model, images: images.values.clone(), shape, weights })
}

/// The case's masks, as many and as large as its configuration says.
fn masks(case: &Case, config: &CaseConfig, inputs: &Tensors, fit: Fit) -> Result<Masks> {
    let masks = Masks {
        context: case.masks(INPUTS, inputs, "masks_enc", fit)?,
        targets: case.masks(INPUTS, inputs, "masks_pred", fit)?,
        ..Masks::default()
    };
    for (prefix, masks, count, keep) in [
        ("masks_enc", &masks.context, config.n_enc, config.k_enc),
        ("masks_pred", &masks.targets, config.n_pred, config.k_pred),
    ] {
        let found = (masks.len(), masks.first().map_or(0, |mask| mask.keep));
        let expected = (count.unwrap_or(found.0), keep.unwrap_or(found.1));
        if found != expected {
            let (masks, tokens) = found;
            let problem = format!(
                "it holds {masks} {prefix} of {tokens} tokens, expected {} of {} as {} says",
                expected.0, expected.1, case.config_file
            );
            return Err(case.misfit(INPUTS, problem));
        }
    }
    Ok(masks)
}

/// Compares the sizes of the configuration with the weights', before memory is taken for networks of these sizes.
fn sizes_of(case: &Case, model: &ModelConfig, weights: &Tensors) -> Result<()> {
    let ModelConfig { dim, depth, mlp, channels, patch_size, ref predictor, .. } = *model;
    let tokens = model.tokens();
    for (name, expected) in [
        ("encoder.patch_embed.proj.weight".to_owned(), vec![dim, channels, patch_size, patch_size]),
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

fn activations(
    report: &mut Report,
    networks: &Networks,
    loss: &LossConfig,
    images: Tensor<4>,
    masks: &Masks,
) -> Result<()> {
    let encoder = &networks.encoder;
    let learning = images.clone().autodiff();
    let embedded = encoder.patch_embed.forward(learning.clone());
    let tokens = embedded.dims()[1];
    report.tensor("patch_embed", embedded, ACTIVATION)?;
    for (i, x) in encoder.forward_blocks(learning.clone()).into_iter().enumerate() {
        report.tensor(&format!("encoder_block.{i}"), x, ACTIVATION)?;
    }
    report.tensor("encoder_full", encoder.forward(learning.clone(), None), ACTIVATION)?;
    let visible = Gather::new(&masks.context, tokens, &images.device());
    report.tensor("encoder_masked", encoder.forward(learning, Some(&visible)), ACTIVATION)?;

    let raw = networks.target_encoder.forward(images.clone(), None);
    report.tensor("target_raw", raw.clone(), ACTIVATION)?;
    report.tensor("target_ln", normalise_targets(raw), ACTIVATION)?;
    let forward = networks.forward(loss, images, masks);
    report.tensor("predictor", forward.prediction.clone(), ACTIVATION)?;
    report.tensor("target", forward.target.clone(), ACTIVATION)?;
    for (name, kind) in [("loss_smooth_l1", LossKind::SmoothL1), ("loss_mse", LossKind::L2), ("loss_l1", LossKind::L1)]
    {
        let loss = distance(kind, forward.prediction.clone().inner(), forward.target.clone());
        report.scalar(name, read::scalar(loss)?, LOSS);
    }
    Ok(())
}

fn training(
    report: &mut Report,
    mut networks: Networks,
    run: &RunConfig,
    config: &CaseConfig,
    images: Tensor<4>,
    masks: &Masks,
) -> Result<()> {
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
        let named = if step == 0 { networks.named(&grads.encoder, &grads.predictor)? } else { Tensors::new() };
        for (name, grad) in &named {
            report.host(&format!("grad.{name}"), grad, GRADIENT);
        }
        let rates = schedule.at(step);
        networks = networks.update(&mut optimizer, grads, run, rates);
        if step == 0 && report.expects("step1.") {
            first_step(report, &networks, &named, rates)?;
        }
    }
    Ok(())
}

/// Compares the norm of every gradient under another loss than the one that is trained.
fn gradient_norms(
    report: &mut Report,
    networks: &Networks,
    (name, kind): (&str, LossKind),
    goldens: &BTreeMap<String, f64>,
    images: Tensor<4>,
    masks: &Masks,
) -> Result<()> {
    if goldens.is_empty() {
        return Ok(());
    }
    let loss = LossConfig { kind, target: TargetKind::Features, variance: 0.0, covariance: 0.0 };
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

/// Compares the parameters after the first step.
///
/// Where the true gradient is zero (all key biases), AdamW turns its rounding noise into a step of the size of the
/// learning rate, in either direction: those elements are left out.
fn first_step(report: &mut Report, networks: &Networks, grads: &Tensors, rates: Rates) -> Result<()> {
    for (name, value) in networks.tensors()? {
        if name.ends_with("pos_embed") {
            continue;
        }
        let learner = name.replace("target_encoder.", "encoder.");
        let grad = grads.get(&learner).map(|grad| grad.values.as_slice()).unwrap_or_default();
        let third = value.values.len() / 3;
        let key_bias = |i: usize| learner.ends_with("attn.qkv.bias") && (third..2 * third).contains(&i);
        let quiet = |i: usize| key_bias(i) || grad.get(i).is_none_or(|g| g.abs() < QUIET_GRADIENT);
        report.host_except(&format!("step1.{name}"), &value, PARAMETER, quiet);
    }
    report.note(format!("step1 at learning rate {:e} leaves out elements whose gradient is noise", rates.lr));
    Ok(())
}

/// The run that the case describes, whose values can work.
fn run_config(case: &CaseConfig) -> Result<RunConfig> {
    /// Steps of an epoch, far above every case's.
    const MOST_STEPS: usize = 1 << 20;
    let (model, schedule) = (&case.model, &case.schedule);
    let mut run = Preset::find("ijepa-vit-tiny16")?.config();
    run.name = "reference case".into();
    run.model = ModelConfig {
        image_size: model.img_size,
        patch_size: model.patch_size,
        channels: model.in_chans,
        dim: model.embed_dim,
        depth: model.depth,
        heads: model.num_heads,
        mlp: (model.embed_dim as f64 * model.mlp_ratio) as usize,
        norm_eps: model.layer_norm_eps,
        predictor: PredictorConfig {
            dim: model.predictor.embed_dim,
            depth: model.predictor.depth,
            heads: model.predictor.num_heads,
            mlp: (model.predictor.embed_dim as f64 * model.predictor.mlp_ratio) as usize,
        },
    };
    run.data.mean.resize(model.in_chans, 0.5);
    run.data.std.resize(model.in_chans, 0.5);
    run.data.resize = model.img_size;
    run.mask.min_keep = 0;
    run.loss = LossConfig { kind: LossKind::SmoothL1, target: TargetKind::Features, variance: 0.0, covariance: 0.0 };
    run.optim = OptimConfig {
        epochs: schedule.epochs,
        warmup_epochs: schedule.warmup,
        schedule_scale: schedule.ipe_scale,
        start_lr: schedule.start_lr,
        lr: schedule.lr,
        final_lr: schedule.final_lr,
        weight_decay: schedule.wd,
        final_weight_decay: schedule.final_wd,
        ema: schedule.ema,
        ..run.optim
    };
    run.train.precision = Precision::F32;
    run.validate()?;
    if !(1..=MOST_STEPS).contains(&schedule.ipe) {
        return Err(Error::usage(format!("schedule.ipe is {}, expected 1 to {MOST_STEPS}", schedule.ipe)));
    }
    Ok(run)
}
