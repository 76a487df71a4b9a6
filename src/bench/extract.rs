//! Timing of extraction: pixels of a batch from the host, pooled features back to the host.

use std::time::Instant;

use burn::tensor::Device;

use super::clock::{Repetitions, repeat};
use super::{Engine, Measurement, Peak, Work, kernels, pixels, repeated};
use crate::config::{Layers, ModelConfig, Precision, RunConfig};
use crate::data::Batch;
use crate::device::Spec;
use crate::error::{Error, Result};
use crate::extract::{BurnEngine, CompiledEngine, FeatureEngine, ReadOut, Tokens, Views};
use crate::matrix::Matrix;
use crate::model::{Encoder, Init};
use crate::train::Flops;
use crate::weights::{self, Tensors};

/// Of random weights.
const DEVIATION: f32 = 0.02;

/// An encoder on its device.
enum Ready {
    Burn(Box<BurnEngine>),
    Compiled(CompiledEngine),
}

impl Ready {
    /// The encoder of `config` with random weights, ready for batches of `config.train.batch` images on the device that
    /// `spec` names and that is burn's `device`; and the seconds that it took once the weights were drawn.
    fn new(config: &RunConfig, engine: Engine, spec: Spec, device: &Device) -> Result<(Self, f64)> {
        let read_out = ReadOut { layers: Layers::Last, tokens: Tokens::Pooled, views: Views::One };
        let (model, batch) = (&config.model, config.train.batch);
        let tensors = random(model)?;
        let begin = Instant::now();
        let precision = config.train.precision;
        if engine == Engine::Burn {
            let encoder = Encoder::new(model, precision, Init::Constant, device);
            let engine = BurnEngine::new(weights::load(encoder, "", &tensors)?, device.clone(), read_out);
            return Ok((Self::Burn(Box::new(engine)), begin.elapsed().as_secs_f64()));
        }
        let dtype = engine.stored(precision);
        let engine = CompiledEngine::compile(model, tensors, read_out, batch, dtype, spec)?;
        Ok((Self::Compiled(engine), begin.elapsed().as_secs_f64()))
    }

    fn encode(&self, batch: &Batch) -> Result<Matrix> {
        match self {
            Self::Burn(engine) => engine.encode(batch),
            Self::Compiled(engine) => engine.encode(batch),
        }
    }
}

/// Random weights of an encoder of `model`.
fn random(model: &ModelConfig) -> Result<Tensors> {
    let encoder = Encoder::new(model, Precision::F32, Init::Constant, &Device::flex());
    let mut tensors = weights::collect(&encoder, "", &weights::Values)?;
    let mut values = repeated(0).map(|value| DEVIATION * value);
    for value in tensors.values_mut().flat_map(|tensor| &mut tensor.values) {
        *value = values.next().unwrap_or_default();
    }
    Ok(tensors)
}

/// Times an encoder of `config`, run by `engine`, over batches of `config.train.batch` images.
pub fn measure(
    config: &RunConfig,
    engine: Engine,
    repetitions: Repetitions,
    peak: &Peak,
    (spec, device): (Spec, &Device),
) -> Result<Measurement> {
    let (pixels, shape) = pixels(config);
    let samples = (0..config.train.batch as u64).collect();
    let batch = Batch { pixels, shape, samples, ..Batch::default() };
    let (ready, opened) = Ready::new(config, engine, spec, device)?;
    let (features, timing) = repeat(device, repetitions, None, |_| ready.encode(&batch).map(Some))?;
    let sound =
        |features: &Matrix| features.rows == config.train.batch && features.values.iter().all(|v| v.is_finite());
    if !features.as_ref().is_some_and(sound) {
        return Err(Error::device(format!("the features of {} on the device are no numbers", config.name)));
    }
    // An extraction has no masks.
    let flops = Flops::new(config, &[]);
    let kernels = match &ready {
        Ready::Burn(_) => Vec::new(),
        Ready::Compiled(engine) => kernels::measure(engine, &batch, repetitions.by_dispatch)?,
    };
    let cold_start_s = Some(opened + timing.first_s);
    let measurement = Measurement::new(Work::Extract, config, flops.encoder, timing, peak);
    let precision = engine.stored(config.train.precision);
    Ok(Measurement { engine, precision, cold_start_s, kernels, ..measurement })
}
