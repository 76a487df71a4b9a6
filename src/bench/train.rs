//! Timing of training: one step of one batch, from pixels on the host to updated networks.

use burn::tensor::{Device, Tensor};

use super::clock::{Repetitions, repeat};
use super::{Measurement, Peak, Work, pixels};
use crate::config::RunConfig;
use crate::device::read;
use crate::error::{Error, Result};
use crate::masks::{MaskSampler, Masks};
use crate::model::Init;
use crate::train::{AdamW, Flops, Networks, PassTokens, Rates, upload};

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
    let passes: Vec<PassTokens> = masks.iter().map(PassTokens::of).collect();
    let sum = |tokens: fn(&PassTokens) -> f64| Some(passes.iter().map(tokens).sum::<f64>() as usize);
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
    let flops = Flops::new(config, &passes);
    let measurement = Measurement::new(Work::Train, config, flops.step, timing, peak);
    let (context_tokens, target_tokens) = (sum(|pass| pass.context_tokens), sum(|pass| pass.target_tokens));
    Ok(Measurement { context_tokens, target_tokens, ..measurement })
}

/// Of many draws of masks, the one whose contexts are nearest to the mean.
fn typical(config: &RunConfig) -> Result<Vec<Masks>> {
    let sampler = MaskSampler::new(&config.mask, config.model.grid())?;
    let samples: Vec<u64> = (0..config.train.batch as u64).collect();
    let draws: Vec<Vec<Masks>> =
        (0..MASK_DRAWS).map(|step| sampler.sample(config.train.seed, step, &samples)).collect();
    let context = |masks: &Vec<Masks>| masks.iter().map(|pass| PassTokens::of(pass).context_tokens).sum::<f64>();
    let mean = draws.iter().map(context).sum::<f64>() / draws.len() as f64;
    let far = |masks: &Vec<Masks>| (context(masks) - mean).abs();
    Ok(draws.into_iter().min_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or_default())
}
