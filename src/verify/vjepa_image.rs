//! A case of the kind `vjepa_image`: V-JEPA's encoder of pictures, whose table has the row before the column.

use burn::tensor::Device;
use serde::Deserialize;

use super::case::Case;
use super::report::Report;
use super::tolerance::{ACTIVATION, INTERPOLATED};
use super::training::can_be_made;
use crate::config::{ModelConfig, Positions, Precision, Preset};
use crate::error::Result;
use crate::model::{Encoder, Init};
use crate::train::upload;
use crate::weights::{self, Tensors};

const INPUTS: &str = "inputs.safetensors";
const WEIGHTS: &str = "weights.safetensors";

#[derive(Deserialize)]
struct CaseConfig {
    img_size: usize,
    patch_size: usize,
    embed_dim: usize,
    depth: usize,
    num_heads: usize,
    mlp_ratio: f64,
    layer_norm_eps: f64,
}

/// Runs the case on `device`.
///
/// # Errors
/// A data error where the case is incomplete or its parts do not fit each other, a device error where the device fails.
pub fn verify(case: &Case, device: &Device) -> Result<Report> {
    let Setup { model, inputs, weights, images, shape } = setup(case)?;
    let mut report = Report::new(case.tensors("expected.safetensors")?);
    let made = Encoder::new(&model, Precision::F32, Init::Constant, device);
    let encoder = weights::load(made, "encoder", &weights).map_err(|error| case.fault(WEIGHTS, error))?;
    report.tensor("encoder_full", encoder.forward(upload(images, shape, device), None), ACTIVATION)?;

    let channels = Some(model.channels);
    let (images, shape) = case.images(INPUTS, &inputs, "images_res", "BCHW", [None, channels, None, None])?;
    let resized = encoder.at_size([1, shape[2], shape[3]]).map_err(|error| case.fault(INPUTS, error))?;
    if let Some(table) = &resized.pos_embed {
        report.tensor("pos_embed_res", table.val(), INTERPOLATED)?;
    }
    let images = upload(images.values.clone(), shape, device);
    report.tensor("encoder_res", resized.forward(images, None), ACTIVATION)?;
    Ok(report)
}

/// What a forward pass of the case needs.
pub(super) struct Setup {
    /// The encoder that the case describes.
    pub model: ModelConfig,
    /// All of the case's inputs.
    pub inputs: Tensors,
    /// Of the encoder, under `encoder.`.
    pub weights: Tensors,
    /// Images of the model's own resolution.
    pub images: Vec<f32>,
    /// `B`, `C`, `H`, `W`.
    pub shape: [usize; 4],
}

/// Reads the case's weights and images.
pub(super) fn setup(case: &Case) -> Result<Setup> {
    let (model, inputs, weights) = (model(case)?, case.tensors(INPUTS)?, case.tensors(WEIGHTS)?);
    let (channels, side) = (Some(model.channels), Some(model.image_size));
    let (images, shape) = case.images(INPUTS, &inputs, "images", "BCHW", [None, channels, side, side])?;
    let images = images.values.clone();
    Ok(Setup { model, inputs, weights, images, shape })
}

/// The encoder that the case describes, whose values can work.
fn model(case: &Case) -> Result<ModelConfig> {
    let config: CaseConfig = case.config()?;
    let model = ModelConfig {
        image_size: config.img_size,
        patch_size: config.patch_size,
        dim: config.embed_dim,
        depth: config.depth,
        heads: config.num_heads,
        mlp: (config.embed_dim as f64 * config.mlp_ratio) as usize,
        norm_eps: config.layer_norm_eps,
        positions: Positions::Vjepa,
        ..Preset::find("ijepa-vit-tiny16")?.config().model
    };
    can_be_made(&model.problems()).map_err(|error| case.fault(case.config_file, error))?;
    Ok(model)
}
