//! Timing of extraction: pixels of a batch from the host, pooled features back to the host.

use burn::tensor::Device;

use super::clock::{Repetitions, repeat};
use super::{Engine, Measurement, Peak, Work, pixels};
use crate::compile::Dtype;
use crate::config::{Layers, Precision, RunConfig};
use crate::data::Batch;
use crate::device::Spec;
use crate::error::{Error, Result};
use crate::extract::{BurnEngine, CompiledEngine, FeatureEngine, ReadOut, Tokens, Views};
use crate::matrix::Matrix;
use crate::model::{Encoder, Init};
use crate::train::Flops;
use crate::weights;

/// The encoder of `config` with random weights, ready for batches of `config.train.batch` images on the device that
/// `spec` names and that is burn's `device`.
pub fn engine(config: &RunConfig, engine: Engine, spec: Spec, device: &Device) -> Result<Box<dyn FeatureEngine>> {
    let read_out = ReadOut { layers: Layers::Last, tokens: Tokens::Pooled, views: Views::One };
    let init = Init::Seed(config.train.seed);
    Ok(match engine {
        Engine::Burn => {
            let encoder = Encoder::new(&config.model, config.train.precision, init, device);
            Box::new(BurnEngine::new(encoder, device.clone(), read_out))
        }
        Engine::Compiled | Engine::CompiledF16 => {
            let encoder = Encoder::new(&config.model, Precision::F32, init, &Device::flex());
            let tensors = weights::collect(&encoder, "", &weights::Values)?;
            let dtype = match (engine, config.train.precision) {
                (Engine::CompiledF16, _) => Dtype::F16,
                (_, Precision::F32) => Dtype::F32,
                (_, Precision::Bf16) => Dtype::Bf16,
            };
            Box::new(CompiledEngine::compile(&config.model, &tensors, read_out, config.train.batch, dtype, spec)?)
        }
    })
}

/// Times `engine`, an encoder of `config`, over batches of `config.train.batch` images.
pub fn measure(
    config: &RunConfig,
    engine: &dyn FeatureEngine,
    repetitions: Repetitions,
    peak: &Peak,
    device: &Device,
) -> Result<Measurement> {
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
