//! What is counted between two lines of metrics.

use std::time::{Duration, Instant};

use burn::tensor::Tensor;

use super::metrics::{Metrics, resident_memory};
use super::schedule::Rates;
use crate::checkpoint::State;
use crate::data::Batch;
use crate::device::read;
use crate::error::{Error, Result};
use crate::faults::{self, Point};
use crate::masks::{IndexMask, Masks};

/// What a step's forward and backward passes came to, on the host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    /// Mean loss, the spread terms left out.
    pub loss: f64,
    /// The weighted spread terms, where the configuration has them.
    pub spread: Option<f64>,
    /// Norms of encoder's and predictor's gradient, before clipping.
    pub norms: [f64; 2],
}

impl Numbers {
    /// Whether the step may change the weights.
    pub(super) fn are_finite(&self) -> bool {
        self.norms.iter().chain([&self.loss, &self.spread.unwrap_or(0.0)]).all(|number| number.is_finite())
    }
}

/// The losses of a step's micro-batches, still on the device.
#[derive(Default)]
pub(super) struct Sums {
    loss: Option<Tensor<1>>,
    spread: Option<Tensor<1>>,
    context_tokens: usize,
    target_tokens: usize,
}

impl Sums {
    /// Adds a micro-batch of `share` of the step's samples.
    pub(super) fn add(&mut self, loss: &Tensor<1>, spread: Option<&Tensor<1>>, masks: &[Masks], share: f64) {
        let plus = |sum: Option<Tensor<1>>, term: &Tensor<1>| {
            let term = term.clone().inner() * share;
            Some(match sum {
                Some(sum) => sum + term,
                None => term,
            })
        };
        self.loss = plus(self.loss.take(), loss);
        if let Some(spread) = spread {
            self.spread = plus(self.spread.take(), spread);
        }
        let kept = |masks: &[IndexMask]| masks.first().map_or(0, |mask| mask.keep);
        self.context_tokens = masks.iter().map(|pass| kept(&pass.context)).sum();
        self.target_tokens = masks.iter().map(|pass| kept(&pass.targets)).sum();
    }

    /// The step's numbers; nothing else of a step leaves the device unless it is logged.
    ///
    /// # Errors
    /// A device error where they cannot be read back.
    pub(super) fn read(&self, norms: [Tensor<1>; 2]) -> Result<Numbers> {
        let loss = self.loss.clone().unwrap_or_else(|| norms[0].zeros_like());
        let all = [Some(loss), self.spread.clone()].into_iter().flatten().chain(norms).collect();
        let values: Vec<f64> = read::values(Tensor::cat(all, 0))?.into_iter().map(f64::from).collect();
        match (values.as_slice(), faults::at(Point::Loss)) {
            (_, Err(_)) => Ok(Numbers { loss: f64::NAN, spread: None, norms: [f64::NAN; 2] }),
            ([loss, spread, encoder, predictor], Ok(())) => {
                Ok(Numbers { loss: *loss, spread: Some(*spread), norms: [*encoder, *predictor] })
            }
            ([loss, encoder, predictor], Ok(())) => {
                Ok(Numbers { loss: *loss, spread: None, norms: [*encoder, *predictor] })
            }
            _ => Err(Error::device(format!("{} numbers of a step came back from the device", values.len()))),
        }
    }
}

/// What has happened since the last line of metrics, and how the time since the first step was spent.
pub(super) struct Since {
    first: Instant,
    looked: Duration,
    start: Instant,
    waited: Duration,
    images: usize,
}

impl Since {
    /// Nothing, from now on.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { first: now, looked: Duration::ZERO, start: now, waited: Duration::ZERO, images: 0 }
    }

    /// Nothing, after a line.
    pub(super) fn restart(&mut self) {
        *self = Self { first: self.first, looked: self.looked, ..Self::new() };
    }

    /// Adds a look at the health of the features that began at `start`.
    pub(super) fn look(&mut self, start: Instant) {
        self.looked += start.elapsed();
    }

    /// Adds a batch.
    pub(super) fn add(&mut self, batch: &Batch) {
        self.images += batch.samples.len();
        self.waited += batch.wait;
    }

    /// A line of metrics, but for its times.
    pub(super) fn metrics(&self, state: &State, sums: &Sums, rates: Rates, numbers: Numbers) -> Metrics {
        let [encoder, predictor] = numbers.norms;
        Metrics {
            step: state.step,
            epoch: state.step as f64 / state.steps_per_epoch as f64,
            loss: numbers.loss,
            spread: numbers.spread,
            lr: rates.lr,
            weight_decay: rates.weight_decay,
            momentum: rates.momentum,
            grad_norm_encoder: encoder,
            grad_norm_predictor: predictor,
            context_tokens: sums.context_tokens,
            target_tokens: sums.target_tokens,
            nonfinite_steps: state.nonfinite_steps,
            memory_bytes: resident_memory(),
            ..Metrics::default()
        }
    }

    /// Adds its times, once all of it is known.
    pub(super) fn time(&self, metrics: &mut Metrics) {
        let seconds = self.start.elapsed().as_secs_f64();
        metrics.images_per_second = self.images as f64 / seconds;
        metrics.data_wait = self.waited.as_secs_f64() / seconds;
        metrics.health_share = self.looked.as_secs_f64() / self.first.elapsed().as_secs_f64();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_that_is_not_finite_is_enough() {
        let fine = Numbers { loss: 0.5, spread: Some(1.0), norms: [2.0, 3.0] };
        assert!(fine.are_finite() && Numbers { spread: None, ..fine }.are_finite());
        for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for numbers in [
                Numbers { loss: wrong, ..fine },
                Numbers { spread: Some(wrong), ..fine },
                Numbers { norms: [wrong, 1.0], ..fine },
                Numbers { norms: [1.0, wrong], ..fine },
            ] {
                assert!(!numbers.are_finite(), "{numbers:?}");
            }
        }
    }
}
