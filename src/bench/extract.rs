//! Timing of extraction: pixels of a batch from the host, pooled features back to the host.

use burn::tensor::Device;

use super::clock::{Repetitions, repeat};
use super::{Measurement, Peak, Work, pixels};
use crate::config::{Layers, RunConfig};
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::extract::{BurnEngine, FeatureEngine as _, ReadOut, Tokens, Views};
use crate::matrix::Matrix;
use crate::model::{Encoder, Init};
use crate::train::Flops;

/// Times the encoder of `config` over batches of `config.train.batch` images.
pub fn measure(config: &RunConfig, repetitions: Repetitions, peak: &Peak, device: &Device) -> Result<Measurement> {
    let encoder = Encoder::new(&config.model, config.train.precision, Init::Seed(config.train.seed), device);
    let read_out = ReadOut { layers: Layers::Last, tokens: Tokens::Pooled, views: Views::One };
    let engine = BurnEngine::new(encoder, device.clone(), read_out);
    let (pixels, shape) = pixels(config);
    let samples = (0..config.train.batch as u64).collect();
    let batch = Batch { pixels, shape, samples, ..Batch::default() };
    let (features, timing) = repeat(device, repetitions, None, |_| engine.encode(&batch).map(Some))?;
    let sound =
        |features: &Matrix| features.rows == config.train.batch && features.values.iter().all(|v| v.is_finite());
    if !features.as_ref().is_some_and(sound) {
        return Err(Error::device(format!("the features of {} on the device are no numbers", config.name)));
    }
    // An extraction has no masks.
    let flops = Flops::new(config, &[]);
    Ok(Measurement::new(Work::Extract, config, flops.encoder, timing, peak))
}
