//! A case of the kind `hf_ijepa`: a folder that transformers saved, and the features that it gave.

use burn::tensor::{Device, Tensor};

use super::case::Case;
use super::report::Report;
use super::tolerance::ACTIVATION;
use crate::config::Precision;
use crate::error::Result;
use crate::model::{Encoder, Init};
use crate::train::upload;
use crate::weights::{self, HostTensor, Loaded};

const INPUTS: &str = "inputs.safetensors";

/// Runs the case on `device`.
///
/// # Errors
/// A data error where the case is incomplete or its weights do not fit, a device error where the device fails.
pub fn verify(case: &Case, device: &Device) -> Result<Report> {
    let inputs = case.tensors(INPUTS)?;
    let mut report = Report::new(case.tensors("expected.safetensors")?);
    let Setup { loaded, images } = setup(case)?;
    let encoder = Encoder::new(&loaded.model, Precision::F32, Init::Constant, device);
    let encoder = weights::load(encoder, "", &loaded.tensors).map_err(|error| case.fault("", error))?;
    let channels = Some(loaded.model.channels);
    let on_device = |name: &str, sides: [Option<usize>; 4]| -> Result<Tensor<4>> {
        let (images, shape) = case.images(INPUTS, &inputs, name, "BCHW", sides)?;
        Ok(upload(images.values.clone(), shape, device))
    };

    if let Some(HostTensor { shape, values }) = images {
        let images = upload(values, [shape[0], shape[1], shape[2], shape[3]], device);
        report.tensor("hidden_states.0", encoder.embed(images.clone()), ACTIVATION)?;
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
        let name = format!("pixel_values_res.{i}");
        if !inputs.contains_key(&name) {
            break;
        }
        let images = on_device(&name, [None, channels, None, None])?;
        let [_, _, height, width] = images.dims();
        let encoder = encoder.clone().at_size([1, height, width]);
        let encoder = encoder.map_err(|error| case.fault(INPUTS, error))?;
        report.tensor(&format!("last_hidden_state_res.{i}"), encoder.forward(images, None), ACTIVATION)?;
    }
    Ok(report)
}

/// What a forward pass of the case needs.
pub(super) struct Setup {
    /// The encoder that the folder holds.
    pub loaded: Loaded,
    /// Images of the model's own resolution, `[B, C, H, W]`, where the case has any.
    pub images: Option<HostTensor>,
}

/// Reads the case's weights and images.
pub(super) fn setup(case: &Case) -> Result<Setup> {
    // The layout knows no second encoder, so that it is the one that the folder holds, whichever that is.
    let loaded = weights::open(&case.path(""), None)?;
    let inputs = case.tensors(INPUTS)?;
    let sides = [None, Some(loaded.model.channels), Some(loaded.model.image_size), Some(loaded.model.image_size)];
    let mut images = None;
    if inputs.contains_key("pixel_values") {
        let (found, shape) = case.images(INPUTS, &inputs, "pixel_values", "BCHW", sides)?;
        images = Some(HostTensor { shape: shape.to_vec(), values: found.values.clone() });
    }
    Ok(Setup { loaded, images })
}
