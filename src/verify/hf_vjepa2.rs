//! A case of the kind `hf_vjepa2`: a folder of V-JEPA 2 that transformers saved, and what it made of clips.

use burn::tensor::{Device, Tensor, TensorData};

use super::case::{Case, Fit};
use super::report::Report;
use super::tolerance::ACTIVATION;
use crate::config::Precision;
use crate::error::Result;
use crate::masks::{IndexMask, Masks};
use crate::model::{Encoder, Gather, Init, Predictor};
use crate::weights::{self, HostTensor, Loaded, Tensors};

pub(super) const INPUTS: &str = "inputs.safetensors";
/// Reference: transformers predicts with the second mask token, whichever range the masks are of.
const RANGE: usize = 1;

/// Runs the case on `device`.
///
/// # Errors
/// A data error where the case is incomplete or its weights do not fit, a device error where the device fails.
pub fn verify(case: &Case, device: &Device) -> Result<Report> {
    let mut report = Report::new(case.tensors("expected.safetensors")?);
    let Setup { loaded, inputs, clips, still } = setup(case)?;
    let model = &loaded.model;
    let encoder = Encoder::new(model, Precision::F32, Init::Constant, device);
    let encoder = weights::load(encoder, "", &loaded.tensors).map_err(|error| case.fault("", error))?;
    let predictor = Predictor::new(model, model.dim, Precision::F32, Init::Constant, device);
    let predictor = weights::load(predictor, "", &weights::open_predictor(&case.path(""))?);
    let predictor = predictor.map_err(|error| case.fault("", error))?;

    let last = encoder.forward(on_device(clips, device), None);
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

    let size = [model.tubelet, model.image_size, model.image_size];
    let encoder = encoder.at_size(size).map_err(|error| case.fault(INPUTS, error))?;
    report.tensor("single_frame.last_hidden_state", encoder.forward(on_device(still, device), None), ACTIVATION)?;
    Ok(report)
}

/// What a forward pass of the case needs.
pub(super) struct Setup {
    /// The encoder that the folder holds.
    pub loaded: Loaded,
    /// All of the case's inputs.
    pub inputs: Tensors,
    /// `[B, C F, H, W]`
    pub clips: HostTensor,
    /// Clips of one tubelet, `[B, C T, H, W]`.
    pub still: HostTensor,
}

/// Reads the case's weights and clips.
pub(super) fn setup(case: &Case) -> Result<Setup> {
    let (loaded, inputs) = (weights::open(&case.path(""), None)?, case.tensors(INPUTS)?);
    let model = &loaded.model;
    let clips = |name: &str, frames: usize, times: usize| {
        let [frames, channels, side] = [frames, model.channels, model.image_size].map(Some);
        let (clips, shape) = case.images(INPUTS, &inputs, name, "BTCHW", [None, frames, channels, side, side])?;
        Ok(planes(&clips.values, shape, times))
    };
    // Reference: a single frame is repeated to fill one tubelet.
    let (clips, still) = (clips("pixel_values_videos", model.frames, 1)?, clips("single_frame", 1, model.tubelet)?);
    Ok(Setup { clips, still, loaded, inputs })
}

/// Clips of `[B, F, C, H, W]`, each frame `times` in a row, as `[B, C F, H, W]`.
fn planes(clips: &[f32], [batch, frames, channels, height, width]: [usize; 5], times: usize) -> HostTensor {
    let area = height * width;
    let mut values = Vec::with_capacity(clips.len() * times);
    for clip in clips.chunks_exact(frames * channels * area) {
        for channel in 0..channels {
            for frame in clip.chunks_exact(channels * area) {
                (0..times).for_each(|_| values.extend_from_slice(&frame[channel * area..][..area]));
            }
        }
    }
    HostTensor { shape: vec![batch, channels * frames * times, height, width], values }
}

fn on_device(clips: HostTensor, device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(clips.values, clips.shape), device)
}
