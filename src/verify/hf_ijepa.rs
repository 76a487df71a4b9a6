//! A case of the kind `hf_ijepa`: a folder that transformers saved, and the features that it gave.

use burn::tensor::{Device, Tensor};

use super::case::Case;
use super::report::Report;
use super::tolerance::ACTIVATION;
use crate::config::Precision;
use crate::error::{Error, Kind, Result};
use crate::model::{Encoder, Init};
use crate::train::upload;
use crate::weights::{self, HostTensor, Which};

/// Runs the case on `device`.
///
/// # Errors
/// A data error where the case is incomplete or its weights do not fit, a device error where the device fails.
pub fn verify(case: &Case, device: &Device) -> Result<Report> {
    let inputs = case.tensors("inputs.safetensors")?;
    let mut report = Report::new(case.tensors("expected.safetensors")?);
    // What transformers saved was never a run's: the layout knows no second encoder.
    let loaded = weights::open(&case.path(""), Some(Which::Context))?;
    let encoder = Encoder::new(&loaded.model, Precision::F32, Init::Constant, device);
    let encoder = weights::load(encoder, "", &loaded.tensors)?;

    if let Some(images) = inputs.get("pixel_values") {
        let images = images_on(images, device)?;
        let embedded = encoder.patch_embed.forward(images.clone()) + encoder.pos_embed.val();
        report.tensor("hidden_states.0", embedded, ACTIVATION)?;
        // The last one, too, is before the final norm.
        for (i, x) in encoder.forward_blocks(images.clone()).into_iter().enumerate() {
            report.tensor(&format!("hidden_states.{}", i + 1), x, ACTIVATION)?;
        }
        let last = encoder.forward(images, None);
        report.tensor("last_hidden_state", last.clone(), ACTIVATION)?;
        let [batch, _, dim] = last.dims();
        report.tensor("mean_pooled", last.mean_dim(1).reshape([batch, dim]), ACTIVATION)?;
    }
    for i in 0.. {
        let Some(images) = inputs.get(&format!("pixel_values_res.{i}")) else { break };
        let images = images_on(images, device)?;
        let [_, _, height, width] = images.dims();
        let encoder = encoder.clone().at_resolution(height, width)?;
        report.tensor(&format!("last_hidden_state_res.{i}"), encoder.forward(images, None), ACTIVATION)?;
    }
    Ok(report)
}

fn images_on(images: &HostTensor, device: &Device) -> Result<Tensor<4>> {
    let shape: [usize; 4] = images.shape.as_slice().try_into().map_err(|_| {
        Error::new(Kind::Data, format!("the case's images have the shape {:?}, expected four axes", images.shape))
    })?;
    Ok(upload(images.values.clone(), shape, device))
}
