//! Timing of training: one step of one batch, from pixels on the host to updated networks.

use burn::tensor::{Device, Tensor};

use super::clock::{Repetitions, repeat};
use super::{Measurement, Peak, Work, pixels};
use crate::config::RunConfig;
use crate::device::read;
use crate::error::{Error, Result};
use crate::masks::{MaskSampler, Masks};
use crate::model::Init;
use crate::train::{AdamW, Flops, Networks, Rates, upload};

/// Draws among which the masks are chosen.
const MASK_DRAWS: u64 = 64;
/// Rates of a step in the middle of a run.
const RATES: Rates = Rates { lr: 1e-4, weight_decay: 0.04, momentum: 0.996 };

struct Training {
    networks: Networks,
    optimizer: AdamW,
    loss: Option<Tensor<1>>,
}

/// Times steps of `config` over the same batch with the same masks, so that every repetition is the same work.
pub fn measure(config: &RunConfig, repetitions: Repetitions, peak: &Peak, device: &Device) -> Result<Measurement> {
    let masks = typical(config)?;
    let keep = |masks: &[crate::masks::IndexMask]| masks.first().map_or(0, |mask| mask.keep);
    let (context, target) = (keep(&masks.context), keep(&masks.targets));
    let networks = Networks::new(config, Init::Seed(config.train.seed), device);
    let start = Training { networks, optimizer: AdamW::default(), loss: None };
    let (pixels, shape) = pixels(config);
    let (end, timing) = repeat(device, repetitions, start, |Training { networks, mut optimizer, .. }| {
        let forward = networks.forward(&config.loss, upload(pixels.clone(), shape, device), &masks);
        let loss = match forward.spread {
            Some(spread) => forward.loss + spread,
            None => forward.loss,
        };
        let kept = loss.clone().inner();
        let grads = networks.backward(loss);
        let networks = networks.update(&mut optimizer, grads, config, RATES);
        Ok(Training { networks, optimizer, loss: Some(kept) })
    })?;
    let loss = end.loss.map(read::scalar).transpose()?;
    if !loss.is_some_and(f64::is_finite) {
        return Err(Error::device(format!("the loss of {} on the device is no number", config.name)));
    }
    let flops = Flops::new(config, context as f64, target as f64);
    let measurement = Measurement::new(Work::Train, config, flops.step, timing, peak);
    Ok(Measurement { context_tokens: Some(context), target_tokens: Some(target), ..measurement })
}

/// Of many draws of masks, the one whose context is nearest to the mean context.
fn typical(config: &RunConfig) -> Result<Masks> {
    let sampler = MaskSampler::new(&config.mask, config.model.grid())?;
    let samples: Vec<u64> = (0..config.train.batch as u64).collect();
    let draws: Vec<Masks> = (0..MASK_DRAWS).map(|step| sampler.sample(config.train.seed, step, &samples)).collect();
    let context = |masks: &Masks| masks.context.first().map_or(0.0, |mask| mask.keep as f64);
    let mean = draws.iter().map(context).sum::<f64>() / draws.len() as f64;
    let far = |masks: &Masks| (context(masks) - mean).abs();
    Ok(draws.into_iter().min_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or_default())
}
