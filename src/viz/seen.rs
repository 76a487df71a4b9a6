//! What an encoder sees of a data set's samples, as pictures again.

use std::sync::Arc;

use image::RgbImage;

use crate::config::{RunConfig, Sampling};
use crate::data::{Batch, Dataset, EvalLoader, EvalPlan, EvalTransform};
use crate::error::Result;

/// Batches of one input each, of those `rows` that can be read, as an encoder of `config` sees them outside training: of a
/// film the clip in the middle, and its centre.
///
/// # Errors
/// A usage error where the configuration describes no input.
pub fn batches(
    config: &RunConfig,
    data: &Arc<Dataset>,
    rows: impl IntoIterator<Item = usize>,
) -> Result<impl Iterator<Item = Batch>> {
    let one = Sampling { clips: 1, views: 1, ..config.data.sampling };
    let transform = EvalTransform::of(config)?.sampled(one);
    let load = move |row| {
        let plan = EvalPlan { batch: 1, workers: 0, transform: transform.clone(), samples: row..row + 1 };
        EvalLoader::new(Arc::clone(data), plan).ok()?.find(|batch| !batch.samples.is_empty())
    };
    Ok(rows.into_iter().filter_map(load))
}

/// The frames of a batch's first input; a picture is one frame.
pub fn frames(config: &RunConfig, batch: &Batch) -> Vec<RgbImage> {
    let [_, planes, height, width] = batch.shape;
    let channels = config.data.mean.len().max(1);
    let (times, plane) = (planes / channels, height * width);
    let level = |channel: usize, time: usize, at: usize| {
        let channel = channel.min(channels - 1);
        let value = batch.pixels[(channel * times + time) * plane + at];
        ((value * config.data.std[channel] + config.data.mean[channel]) * 255.0).round().clamp(0.0, 255.0) as u8
    };
    let frame = |time: usize| {
        RgbImage::from_fn(width as u32, height as u32, |x, y| {
            image::Rgb([0, 1, 2].map(|channel| level(channel, time, y as usize * width + x as usize)))
        })
    };
    (0..times).map(frame).collect()
}

/// A frame for each time of the grid: the first of each tubelet.
pub fn strip(config: &RunConfig, batch: &Batch) -> Vec<RgbImage> {
    frames(config, batch).into_iter().step_by(config.model.tubelet.max(1)).collect()
}
