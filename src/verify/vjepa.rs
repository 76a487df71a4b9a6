//! A case of the kind `vjepa`: every activation, loss and gradient of a training step over clips, and the encoder at other
//! resolutions and lengths.

use burn::tensor::{Device, Tensor};
use serde::Deserialize;

use super::case::Case;
use super::checkpoint;
use super::report::Report;
use super::tolerance::{ACTIVATION, INTERPOLATED, LOSS};
use super::training::{INPUTS, Setup, check_masks, setup, training};
use crate::config::LossKind;
use crate::device::read;
use crate::error::Result;
use crate::masks::Masks;
use crate::model::Gather;
use crate::train::{Forward, Networks, distance, normalise_targets, upload};

/// Epsilon under the root of the logged regulariser.
const SPREAD_EPS: f64 = 1e-4;

/// What the case's configuration says of V-JEPA alone.
#[derive(Deserialize)]
struct Own {
    mask_groups: Vec<Group>,
}

/// Tokens of the masks of one pass.
#[derive(Deserialize)]
struct Group {
    #[serde(rename = "K_enc")]
    k_enc: usize,
    #[serde(rename = "K_pred")]
    k_pred: usize,
}

/// Runs the case on `device`.
///
/// # Errors
/// A data error where the case is incomplete or its parts do not fit each other, a device error where the device fails.
pub fn verify(case: &Case, device: &Device) -> Result<Report> {
    let own: Own = case.config()?;
    let setup = setup(case)?;
    let expected = case.tensors("expected.safetensors")?;
    let groups = own.mask_groups.iter().enumerate();
    let masks: Vec<Masks> = groups.map(|(range, group)| masks(case, range, group, &setup)).collect::<Result<_>>()?;
    let (networks, clips) = (setup.networks(case, device)?, setup.on_device(device));

    let mut report = Report::new(expected);
    checkpoint::verify(&mut report, case, &setup.weights)?;
    activations(&mut report, &networks, clips.clone(), &masks)?;
    let forward = networks.forward(&setup.run.loss, clips.clone(), &masks);
    passes(&mut report, &forward)?;
    resolutions(&mut report, case, &setup, &networks, device)?;
    training(&mut report, &setup, networks, clips, &masks)?;
    Ok(report)
}

/// The masks of the pass `range`, as large as the configuration says.
fn masks(case: &Case, range: usize, group: &Group, setup: &Setup) -> Result<Masks> {
    // Each pass has one mask of each kind.
    let one = |prefix: &str, keep: usize| {
        let name = format!("{prefix}.{range}");
        let masks = case.mask(INPUTS, &setup.inputs, &name, setup.fit())?;
        check_masks(case, &name, std::slice::from_ref(&masks), (Some(1), Some(keep)))?;
        Ok(vec![masks])
    };
    let (context, targets) = (one("masks_enc", group.k_enc)?, one("masks_pred", group.k_pred)?);
    Ok(Masks { context, targets, range, ..Masks::default() })
}

fn activations(report: &mut Report, networks: &Networks, clips: Tensor<4>, masks: &[Masks]) -> Result<()> {
    let encoder = &networks.encoder;
    let learning = clips.clone().autodiff();
    let embedded = encoder.patch_embed.forward(learning.clone());
    let tokens = embedded.dims()[1];
    report.tensor("patch_embed", embedded, ACTIVATION)?;
    report.tensor("encoder_full", encoder.forward(learning.clone(), None), ACTIVATION)?;
    for pass in masks {
        let visible = Gather::new(&pass.context, tokens, &clips.device());
        let masked = encoder.forward(learning.clone(), Some(&visible));
        report.tensor(&format!("encoder_masked.{}", pass.range), masked, ACTIVATION)?;
    }
    let raw = networks.target_encoder.forward(clips, None);
    report.tensor("target_raw", raw.clone(), ACTIVATION)?;
    report.tensor("target_ln", normalise_targets(raw), ACTIVATION)
}

/// Predictions, targets and losses of the passes; a loss is the mean of theirs.
fn passes(report: &mut Report, forward: &Forward) -> Result<()> {
    let (mut l1, mut l2, mut spread) = (0.0, 0.0, Vec::new());
    let count = forward.passes.len() as f64;
    for (i, pass) in forward.passes.iter().enumerate() {
        let prediction = pass.prediction.clone().inner();
        report.tensor(&format!("predictor.{i}"), prediction.clone(), ACTIVATION)?;
        report.tensor(&format!("target.{i}"), pass.target.clone(), ACTIVATION)?;
        let loss = |kind| read::scalar(distance(kind, prediction.clone(), pass.target.clone()));
        l1 += loss(LossKind::L1)? / count;
        // Reference: the exponent divides the loss.
        l2 += loss(LossKind::L2)? / 2.0 / count;
        spread.push(deviations(prediction)?);
    }
    report.scalar("loss_l1", l1, LOSS);
    report.scalar("loss_exp2", l2, LOSS);
    // Logged by the reference and not trained: how far the deviation over a prediction's tokens falls short of 1.
    let values = spread.first().map_or(0, Vec::len);
    let mean = |at: usize| spread.iter().map(|pass| pass[at]).sum::<f64>() / count;
    let short = (0..values).map(|at| (1.0 - mean(at)).max(0.0)).sum::<f64>();
    report.scalar("reg_loss", short / values.max(1) as f64, LOSS);
    Ok(())
}

/// The deviation of each sample's features over its tokens, `[B * D]`.
fn deviations(x: Tensor<3>) -> Result<Vec<f64>> {
    let [_, tokens, _] = x.dims();
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.powi_scalar(2).sum_dim(1) / (tokens.max(2) - 1) as f64;
    let variances = read::values(variance)?;
    Ok(variances.into_iter().map(|variance| (f64::from(variance) + SPREAD_EPS).sqrt()).collect())
}

/// The encoder on clips of other lengths and sizes, with the tables that it uses there.
fn resolutions(report: &mut Report, case: &Case, setup: &Setup, networks: &Networks, device: &Device) -> Result<()> {
    let channels = Some(setup.run.model.channels);
    for i in 0.. {
        let name = format!("clip_res.{i}");
        if !setup.inputs.contains_key(&name) {
            break;
        }
        let sides = [None, channels, None, None, None];
        let (clip, [batch, channels, frames, height, width]) =
            case.images(INPUTS, &setup.inputs, &name, "BCTHW", sides)?;
        let encoder = networks.encoder.clone().at_size([frames, height, width]);
        let encoder = encoder.map_err(|error| case.fault(INPUTS, error))?;
        if let Some(table) = &encoder.pos_embed {
            report.tensor(&format!("pos_embed_res.{i}"), table.val(), INTERPOLATED)?;
        }
        let clip = upload(clip.values.clone(), [batch, channels * frames, height, width], device).autodiff();
        report.tensor(&format!("encoder_res.{i}"), encoder.forward(clip, None), ACTIVATION)?;
    }
    Ok(())
}
