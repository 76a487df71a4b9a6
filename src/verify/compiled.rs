//! The golden values of an encoder's forward pass, computed by a plan of our own kernels.

use super::case::{Case, Fit};
use super::report::Report;
use super::tolerance::ACTIVATION;
use super::{hf_ijepa, hf_vjepa2, training, vjepa_image};
use crate::compile::{Dtype, Outputs, Take, compile};
use crate::config::ModelConfig;
use crate::device::Spec;
use crate::error::{Error, Result};
use crate::masks::IndexMask;
use crate::model::rows_of;
use crate::runtime::{self, TooLarge};
use crate::weights::{HostTensor, Tensors, of_plan};

/// Why golden values of a training step are left out.
const BURN_ONLY: &str = "as predictor and training are the work of `--engine burn`";
/// Why those of other resolutions are.
const OWN_SIZE: &str = "as other resolutions than the model's own are the work of `--engine burn`";
/// Why those of patches without positions are.
const FUSED: &str = "as the kernel that embeds patches adds their positions";

/// Runs the case on `device`.
///
/// # Errors
/// As the same case on a device of burn; a usage error where the case is not one of an encoder.
pub fn verify(case: &Case, device: Spec) -> Result<Report> {
    match case.kind.as_str() {
        "ijepa" | "vjepa" => step(case, device),
        "vjepa_image" => vjepa_image(case, device),
        "hf_ijepa" => hf_ijepa(case, device),
        "hf_vjepa2" => hf_vjepa2(case, device),
        other => Err(Error::usage(format!("a case of the kind `{other}` has no encoder to compile"))
            .with_remedy("verify it with `--engine burn`")),
    }
}

/// The encoders of a training step, over pictures or clips.
fn step(case: &Case, device: Spec) -> Result<Report> {
    let mut report = Report::new(case.tensors("expected.safetensors")?);
    let setup = training::setup(case)?;
    let masks = context_masks(case, &setup)?;
    let training::Setup { run, images, shape, weights, .. } = setup;
    let (model, images) = (&run.model, &HostTensor { shape: shape.to_vec(), values: images });
    let encoder = encode(model, &under(&weights, "encoder."), images, device)?;
    if report.expects("encoder_block.") {
        for (i, block) in encoder.blocks.iter().enumerate() {
            report.host(&format!("encoder_block.{i}"), block, ACTIVATION);
        }
    }
    report.host("encoder_full", &encoder.tokens, ACTIVATION);
    let target = encode(model, &under(&weights, "target_encoder."), images, device)?;
    report.host("target_raw", &target.tokens, ACTIVATION);
    let masked = |mask: &IndexMask| kept(model, &under(&weights, "encoder."), images, mask, device);
    for (name, masks) in masks {
        let mut found = HostTensor { shape: Vec::new(), values: Vec::new() };
        for mask in &masks {
            found.shape = vec![masks.len() * mask.batch, mask.keep, model.dim];
            found.values.extend(masked(mask)?);
        }
        report.host(&name, &found, ACTIVATION);
    }
    leave_out(&mut report, |name| match name {
        "patch_embed" => FUSED,
        name if name.contains("_res.") => OWN_SIZE,
        _ => BURN_ONLY,
    });
    Ok(report)
}

/// The masks of the context encoder and the names of what it makes of them: of pictures one list, of clips one mask a pass.
fn context_masks(case: &Case, setup: &training::Setup) -> Result<Vec<(String, Vec<IndexMask>)>> {
    let (inputs, fit) = (&setup.inputs, setup.fit());
    if case.kind == "ijepa" {
        return Ok(vec![("encoder_masked".into(), case.masks(training::INPUTS, inputs, "masks_enc", fit)?)]);
    }
    let keys = (0..).map(|pass| (pass, format!("masks_enc.{pass}"))).take_while(|(_, key)| inputs.contains_key(key));
    let masks = keys.map(|(pass, key)| {
        Ok((format!("encoder_masked.{pass}"), vec![case.mask(training::INPUTS, inputs, &key, fit)?]))
    });
    masks.collect()
}

fn vjepa_image(case: &Case, device: Spec) -> Result<Report> {
    let mut report = Report::new(case.tensors("expected.safetensors")?);
    let vjepa_image::Setup { model, weights, images, shape, .. } = vjepa_image::setup(case)?;
    let images = HostTensor { shape: shape.to_vec(), values: images };
    let found = encode(&model, &under(&weights, "encoder."), &images, device)?;
    report.host("encoder_full", &found.tokens, ACTIVATION);
    leave_out(&mut report, |_| OWN_SIZE);
    Ok(report)
}

fn hf_vjepa2(case: &Case, device: Spec) -> Result<Report> {
    let mut report = Report::new(case.tensors("expected.safetensors")?);
    let hf_vjepa2::Setup { loaded, inputs, clips, still } = hf_vjepa2::setup(case)?;
    let HostTensor { shape, values } = encode(&loaded.model, &loaded.tensors, &clips, device)?.tokens;
    let (batch, tokens, dim) = (shape[0], shape[1], shape[2]);
    // Reference: the encoder sees all tokens, and the masks choose among what it says of them.
    for (name, mask) in [("masked_hidden_state", "context_mask"), ("predictor.target_hidden_state", "target_mask")] {
        let mask = case.mask(hf_vjepa2::INPUTS, &inputs, mask, Fit { batch, tokens })?;
        let chosen = rows_of(&mask, tokens).flat_map(|row| &values[row as usize * dim..][..dim]).copied().collect();
        report.host(name, &HostTensor { shape: vec![batch, mask.keep, dim], values: chosen }, ACTIVATION);
    }
    report.host("last_hidden_state", &HostTensor { shape, values }, ACTIVATION);
    let model = ModelConfig { frames: loaded.model.tubelet, ..loaded.model };
    let found = encode(&model, &loaded.tensors, &still, device)?;
    report.host("single_frame.last_hidden_state", &found.tokens, ACTIVATION);
    leave_out(&mut report, |_| BURN_ONLY);
    Ok(report)
}

fn hf_ijepa(case: &Case, device: Spec) -> Result<Report> {
    let mut report = Report::new(case.tensors("expected.safetensors")?);
    let hf_ijepa::Setup { loaded, images } = hf_ijepa::setup(case)?;
    if let Some(images) = images {
        let found = encode(&loaded.model, &loaded.tensors, &images, device)?;
        report.host("hidden_states.0", &found.embedded, ACTIVATION);
        for (i, block) in found.blocks.iter().enumerate() {
            report.host(&format!("hidden_states.{}", i + 1), block, ACTIVATION);
        }
        report.host("last_hidden_state", &found.tokens, ACTIVATION);
        report.host("mean_pooled", &found.pooled, ACTIVATION);
    }
    leave_out(&mut report, |_| OWN_SIZE);
    Ok(report)
}

/// Names every golden value that has not been seen, with its `reason`.
fn leave_out(report: &mut Report, reason: impl Fn(&str) -> &'static str) {
    for name in report.unseen() {
        report.skip(&name, reason(&name));
    }
}

/// What an encoder makes of images or clips, `[B, N, D]` but for the last.
struct Found {
    embedded: HostTensor,
    blocks: Vec<HostTensor>,
    tokens: HostTensor,
    /// `[B, D]`
    pooled: HostTensor,
}

fn encode(model: &ModelConfig, weights: &Tensors, images: &HostTensor, device: Spec) -> Result<Found> {
    let (batch, tokens, dim) = (images.shape[0], model.tokens(), model.dim);
    let outputs = Outputs { layers: 1, take: Take::Mean };
    let plan = compile(model, batch, outputs, Dtype::F32)?;
    let mut engine = runtime::open(device, plan, TooLarge::Refuse, &|buffer| of_plan(weights, buffer))?;
    let each = |values: &[f32]| HostTensor { shape: vec![batch, tokens, dim], values: values.to_vec() };
    let empty = || HostTensor { shape: Vec::new(), values: Vec::new() };
    let mut found = Found { embedded: empty(), blocks: Vec::new(), tokens: empty(), pooled: empty() };
    engine.trace(&images.values, &mut |dispatch, values| {
        match dispatch.label.as_str() {
            "patch_embed.proj" => found.embedded = each(values),
            "norm" => found.tokens = each(values),
            "pool" => found.pooled = HostTensor { shape: vec![batch, dim], values: values.to_vec() },
            label if label.ends_with(".mlp.fc2") => found.blocks.push(each(values)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

/// What an encoder makes of the tokens that `mask` keeps, `[B, K, D]`.
fn kept(
    model: &ModelConfig,
    weights: &Tensors,
    images: &HostTensor,
    mask: &IndexMask,
    device: Spec,
) -> Result<Vec<f32>> {
    let outputs = Outputs { layers: 1, take: Take::Kept(mask.keep) };
    let plan = compile(model, mask.batch, outputs, Dtype::F32)?;
    let mut engine = runtime::open(device, plan, TooLarge::Refuse, &|buffer| of_plan(weights, buffer))?;
    let rows: Vec<u32> = rows_of(mask, model.tokens()).map(|row| row as u32).collect();
    engine.keep(&rows)?;
    engine.run(&images.values)
}

/// The tensors whose names begin with `prefix`, without it.
fn under(tensors: &Tensors, prefix: &str) -> Tensors {
    let stripped = tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)));
    stripped.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect()
}
