//! What is counted between two lines of metrics.

use std::time::{Duration, Instant};

use burn::tensor::Tensor;

use super::checkpoint::State;
use super::metrics::{Metrics, resident_memory};
use super::schedule::Rates;
use crate::device::read;
use crate::error::Result;
use crate::masks::Masks;

/// The losses of a step's micro-batches, still on the device.
#[derive(Default)]
pub(super) struct Sums {
    loss: Option<Tensor<1>>,
    spread: Option<Tensor<1>>,
    context_tokens: usize,
    target_tokens: usize,
}

impl Sums {
    /// Adds one of `parts` micro-batches.
    pub(super) fn add(&mut self, loss: &Tensor<1>, spread: Option<&Tensor<1>>, masks: &Masks, parts: usize) {
        let plus = |sum: Option<Tensor<1>>, term: &Tensor<1>| {
            let term = term.clone().inner() / parts as f64;
            Some(match sum {
                Some(sum) => sum + term,
                None => term,
            })
        };
        self.loss = plus(self.loss.take(), loss);
        if let Some(spread) = spread {
            self.spread = plus(self.spread.take(), spread);
        }
        self.context_tokens = masks.context.first().map_or(0, |mask| mask.keep);
        self.target_tokens = masks.targets.first().map_or(0, |mask| mask.keep);
    }
}

/// What has happened since the last line of metrics.
pub(super) struct Since {
    start: Instant,
    /// Time spent waiting for data.
    pub(super) waited: Duration,
    /// Images trained on.
    pub(super) images: usize,
}

impl Since {
    /// Nothing, from now on.
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), waited: Duration::ZERO, images: 0 }
    }

    /// A line of metrics. Only here do scalars leave the device.
    pub(super) fn metrics(
        &self,
        state: &State,
        sums: &Sums,
        rates: Rates,
        [encoder, predictor]: [Tensor<1>; 2],
    ) -> Result<Metrics> {
        let loss = sums.loss.clone().map_or(Ok(f64::NAN), read::scalar)?;
        let seconds = self.start.elapsed().as_secs_f64();
        Ok(Metrics {
            step: state.step,
            epoch: state.step as f64 / state.steps_per_epoch as f64,
            loss,
            spread: sums.spread.clone().map(read::scalar).transpose()?,
            lr: rates.lr,
            weight_decay: rates.weight_decay,
            momentum: rates.momentum,
            grad_norm_encoder: read::scalar(encoder)?,
            grad_norm_predictor: read::scalar(predictor)?,
            context_tokens: sums.context_tokens,
            target_tokens: sums.target_tokens,
            images_per_second: self.images as f64 / seconds,
            data_wait: self.waited.as_secs_f64() / seconds,
            memory_bytes: resident_memory(),
            ..Metrics::default()
        })
    }
}
