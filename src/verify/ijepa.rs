//! A case of the kind `ijepa`: every activation, loss and gradient of a training step over pictures.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use serde::Deserialize;

use super::case::Case;
use super::checkpoint;
use super::report::Report;
use super::tolerance::{ACTIVATION, LOSS};
use super::training::{INPUTS, Setup, check_masks, gradient_norms, setup, training};
use crate::config::{LossConfig, LossKind};
use crate::device::read;
use crate::error::Result;
use crate::masks::Masks;
use crate::model::Gather;
use crate::train::{Networks, distance, normalise_targets};

/// What the case's configuration says of I-JEPA alone.
#[derive(Deserialize)]
struct Own {
    n_enc: Option<usize>,
    n_pred: Option<usize>,
    #[serde(rename = "K_enc")]
    k_enc: Option<usize>,
    #[serde(rename = "K_pred")]
    k_pred: Option<usize>,
    #[serde(default)]
    grad_norm_mse: BTreeMap<String, f64>,
    #[serde(default)]
    grad_norm_l1: BTreeMap<String, f64>,
}

/// Runs the case on `device`.
///
/// # Errors
/// A data error where the case is incomplete or its parts do not fit each other, a device error where the device fails.
pub fn verify(case: &Case, device: &Device) -> Result<Report> {
    let own: Own = case.config()?;
    let setup = setup(case)?;
    let expected = case.tensors("expected.safetensors")?;
    let masks = [masks(case, &own, &setup)?];
    let (networks, images) = (setup.networks(case, device)?, setup.on_device(device));

    let mut report = Report::new(expected);
    checkpoint::verify(&mut report, case, &setup.weights)?;
    activations(&mut report, &networks, &setup.run.loss, images.clone(), &masks[0])?;
    for (loss, kind, norms) in [("mse", LossKind::L2, &own.grad_norm_mse), ("l1", LossKind::L1, &own.grad_norm_l1)] {
        gradient_norms(&mut report, &networks, (loss, kind), norms, images.clone(), &masks)?;
    }
    training(&mut report, &setup, networks, images, &masks)?;
    Ok(report)
}

/// The case's masks, as many and as large as its configuration says.
fn masks(case: &Case, own: &Own, setup: &Setup) -> Result<Masks> {
    let masks = Masks {
        context: case.masks(INPUTS, &setup.inputs, "masks_enc", setup.fit())?,
        targets: case.masks(INPUTS, &setup.inputs, "masks_pred", setup.fit())?,
        ..Masks::default()
    };
    check_masks(case, "masks_enc", &masks.context, (own.n_enc, own.k_enc))?;
    check_masks(case, "masks_pred", &masks.targets, (own.n_pred, own.k_pred))?;
    Ok(masks)
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
    for pass in networks.forward(loss, images, std::slice::from_ref(masks)).passes {
        report.tensor("predictor", pass.prediction.clone(), ACTIVATION)?;
        report.tensor("target", pass.target.clone(), ACTIVATION)?;
        for (name, kind) in
            [("loss_smooth_l1", LossKind::SmoothL1), ("loss_mse", LossKind::L2), ("loss_l1", LossKind::L1)]
        {
            let loss = distance(kind, pass.prediction.clone().inner(), pass.target.clone());
            report.scalar(name, read::scalar(loss)?, LOSS);
        }
    }
    Ok(())
}
