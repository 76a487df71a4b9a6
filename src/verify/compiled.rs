//! The golden values of an encoder's forward pass, computed by a plan of our own kernels.

use super::case::Case;
use super::report::Report;
use super::tolerance::ACTIVATION;
use super::{hf_ijepa, training};
use crate::compile::{Dtype, ReadOut, Take, compile_within};
use crate::config::ModelConfig;
use crate::device::Spec;
use crate::error::{Error, Result};
use crate::runtime;
use crate::weights::{HostTensor, Tensors, of_plan};

/// Why golden values of a training step are left out.
const BURN_ONLY: &str = "as masks, predictor and training are the work of `--engine burn`";

/// Runs the case on `device`.
///
/// # Errors
/// As the same case on a device of burn; a usage error where the case is not one of an encoder.
pub fn verify(case: &Case, device: Spec) -> Result<Report> {
    match case.kind.as_str() {
        "ijepa" => ijepa(case, device),
        "hf_ijepa" => hf_ijepa(case, device),
        other => Err(Error::usage(format!("a case of the kind `{other}` has no encoder to compile"))
            .with_remedy("verify it with `--engine burn`")),
    }
}

fn ijepa(case: &Case, device: Spec) -> Result<Report> {
    let mut report = Report::new(case.tensors("expected.safetensors")?);
    let training::Setup { run, images, shape, weights, .. } = training::setup(case)?;
    let (model, images) = (&run.model, &HostTensor { shape: shape.to_vec(), values: images });
    let encoder = encode(model, &under(&weights, "encoder."), images, device)?;
    for (i, block) in encoder.blocks.iter().enumerate() {
        report.host(&format!("encoder_block.{i}"), block, ACTIVATION);
    }
    report.host("encoder_full", &encoder.tokens, ACTIVATION);
    let target = encode(model, &under(&weights, "target_encoder."), images, device)?;
    report.host("target_raw", &target.tokens, ACTIVATION);
    leave_out(&mut report, BURN_ONLY);
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
    leave_out(&mut report, "as other resolutions than the model's own are the work of `--engine burn`");
    Ok(report)
}

/// Names every golden value that was not computed, with the `reason`.
fn leave_out(report: &mut Report, reason: &str) {
    let compared: Vec<String> = report.tensors.iter().map(|tensor| tensor.name.clone()).collect();
    for name in report.names().into_iter().filter(|name| !compared.contains(name)) {
        report.skip(&name, reason);
    }
}

/// What an encoder makes of images, `[B, N, D]` but for the last.
struct Found {
    embedded: HostTensor,
    blocks: Vec<HostTensor>,
    tokens: HostTensor,
    /// `[B, D]`
    pooled: HostTensor,
}

fn encode(model: &ModelConfig, weights: &Tensors, images: &HostTensor, device: Spec) -> Result<Found> {
    let (batch, tokens, dim) = (images.shape[0], model.tokens(), model.dim);
    let read_out = ReadOut { layers: 1, take: Take::Mean };
    let plan = |bound: usize| compile_within(model, batch, read_out, Dtype::F32, bound);
    let mut engine = runtime::open(device, plan, &|buffer| of_plan(weights, buffer))?;
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

/// The tensors whose names begin with `prefix`, without it.
fn under(tensors: &Tensors, prefix: &str) -> Tensors {
    let stripped = tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)));
    stripped.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect()
}
