//! A case of the kind `hf_vjepa2`: a folder of V-JEPA 2 that transformers saved, and what it made of clips.

use burn::tensor::{Device, Tensor, TensorData};

use super::case::{Case, Fit};
use super::report::Report;
use super::tolerance::ACTIVATION;
use crate::config::Precision;
use crate::error::Result;
use crate::masks::{IndexMask, Masks};
use crate::model::{Encoder, Gather, Init, Predictor};
use crate::weights::{self, HostTensor};

const INPUTS: &str = "inputs.safetensors";
/// Reference: transformers predicts with the second mask token, whichever range the masks are of.
const RANGE: usize = 1;

/// Runs the case on `device`.
///
/// # Errors
/// A data error where the case is incomplete or its weights do not fit, a device error where the device fails.
pub fn verify(case: &Case, device: &Device) -> Result<Report> {
    let inputs = case.tensors(INPUTS)?;
    let mut report = Report::new(case.tensors("expected.safetensors")?);
    let loaded = weights::open(&case.path(""), None)?;
    let model = &loaded.model;
    let encoder = Encoder::new(model, Precision::F32, Init::Constant, device);
    let encoder = weights::load(encoder, "", &loaded.tensors).map_err(|error| case.fault("", error))?;
    let predictor = Predictor::new(model, model.dim, Precision::F32, Init::Constant, device);
    let predictor = weights::load(predictor, "", &weights::open_predictor(&case.path(""))?);
    let predictor = predictor.map_err(|error| case.fault("", error))?;
    let [channels, frames, side] = [model.channels, model.frames, model.image_size].map(Some);

    let sides = [None, frames, channels, side, side];
    let (clips, shape) = case.images(INPUTS, &inputs, "pixel_values_videos", "BTCHW", sides)?;
    let last = encoder.forward(upload(clips, shape, 1, device), None);
    let [batch, tokens, _] = last.dims();
    report.tensor("last_hidden_state", last.clone(), ACTIVATION)?;

    // Reference: the encoder sees all tokens, and the masks choose among what it says of them.
    let mut predict = |names: [Option<&str>; 2], [context, target]: [IndexMask; 2]| -> Result<Tensor<3>> {
        let gather = |mask: &IndexMask| Gather::new(std::slice::from_ref(mask), tokens, device).apply(last.clone());
        for (name, mask) in names.into_iter().zip([&context, &target]) {
            name.map_or(Ok(()), |name| report.tensor(name, gather(mask), ACTIVATION))?;
        }
        let masks = Masks { context: vec![context], targets: vec![target], range: RANGE, ..Masks::default() };
        Ok(predictor.forward(gather(&masks.context[0]), &masks))
    };
    let fit = Fit { batch, tokens };
    let masks = [case.mask(INPUTS, &inputs, "context_mask", fit)?, case.mask(INPUTS, &inputs, "target_mask", fit)?];
    let predicted = predict([Some("masked_hidden_state"), Some("predictor.target_hidden_state")], masks)?;
    let all = IndexMask { batch, keep: tokens, indices: (0..tokens as u32).collect::<Vec<_>>().repeat(batch) };
    let by_default = predict([None, None], [all.clone(), all])?;
    report.tensor("predictor.last_hidden_state", predicted, ACTIVATION)?;
    report.tensor("default_masks.predictor.last_hidden_state", by_default, ACTIVATION)?;

    // Reference: a single frame is repeated to fill one tubelet.
    let sides = [None, Some(1), channels, side, side];
    let (frame, shape) = case.images(INPUTS, &inputs, "single_frame", "BTCHW", sides)?;
    let [_, _, _, height, width] = shape;
    let frames = upload(frame, shape, model.tubelet, device);
    let still = encoder.at_size([model.tubelet, height, width]).map_err(|error| case.fault(INPUTS, error))?;
    report.tensor("single_frame.last_hidden_state", still.forward(frames, None), ACTIVATION)?;
    Ok(report)
}

/// Uploads clips of `[B, F, C, H, W]`, `times` in a row, as `[B, C F, H, W]`.
fn upload(clips: &HostTensor, shape: [usize; 5], times: usize, device: &Device) -> Tensor<4> {
    let [batch, frames, channels, height, width] = shape;
    let clips = Tensor::<5>::from_data(TensorData::new(clips.values.clone(), shape), device);
    clips.swap_dims(1, 2).repeat_dim(2, times).reshape([batch, channels * frames * times, height, width])
}
