//! What the features and the predictor show of a collapse; measured now and then, cheaply enough to leave on.
//!
//! `R` rows (target mask, context mask, sample), `M` target tokens, `D` width, `B` probe images.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use super::metrics::Metrics;
use super::objective::distance;
use super::step::{Forward, Networks, Pass, upload};
use crate::config::{LossConfig, RunConfig, Sampling};
use crate::data::{Dataset, EvalLoader, EvalPlan, EvalTransform};
use crate::device::read;
use crate::error::Result;
use crate::eval::health;
use crate::masks::Masks;

/// Images whose features are watched: a rank can reach this number, and the cost is that of their forward pass, for
/// animals28 a quarter of a step every twenty.
const PROBE_IMAGES: usize = 64;
/// Keeps a cosine finite.
const EPS: f64 = 1e-12;

/// The pictures or clips whose features are watched.
pub(super) struct Probe {
    images: Option<Tensor<4>>,
    /// How many go through the network together.
    at_once: usize,
}

impl Probe {
    /// The first pictures or clips of the data set that can be decoded, as the evaluation sees them.
    pub(super) fn new(config: &RunConfig, data: &Arc<Dataset>, device: &Device) -> Result<Self> {
        // A clip takes the memory of its frames.
        let at_once = (PROBE_IMAGES / config.model.frames).max(1);
        if config.train.health_every == 0 {
            return Ok(Self { images: None, at_once });
        }
        let samples = 0..PROBE_IMAGES.min(data.len());
        let one = Sampling { clips: 1, views: 1, ..config.data.sampling };
        let transform = EvalTransform::of(config)?.sampled(one);
        let plan = EvalPlan { batch: PROBE_IMAGES, workers: 0, transform, samples };
        let batch = EvalLoader::new(Arc::clone(data), plan)?.next().filter(|batch| !batch.samples.is_empty());
        Ok(Self { images: batch.map(|batch| upload(batch.pixels, batch.shape, device)), at_once })
    }

    /// How many they are.
    pub(super) fn images(&self) -> usize {
        self.images.as_ref().map_or(0, |images| images.dims()[0])
    }

    /// Adds what the target encoder's pooled features of the pictures say, where they are finite.
    pub(super) fn add(&self, networks: &Networks, metrics: &mut Metrics) -> Result<()> {
        let Some(images) = &self.images else {
            return Ok(());
        };
        let parts = images.clone().split(self.at_once, 0).into_iter();
        let pooled = parts.map(|part| networks.target_encoder.forward(part, None).mean_dim(1)).collect();
        let pooled = Tensor::cat(pooled, 0); // [B, 1, D]
        let [rows, _, cols] = pooled.dims();
        let pooled = read::matrix(pooled.reshape([rows, cols]))?;
        if pooled.values.iter().any(|value| !value.is_finite()) {
            return Ok(());
        }
        let health = health(&pooled)?;
        metrics.feature_std = Some(health.std);
        metrics.feature_std_min = Some(health.std_min);
        metrics.feature_rank = Some(health.rank);
        metrics.feature_cosine = Some(health.cosine);
        Ok(())
    }
}

/// What a step's targets and predictions say, still on the device: means over its passes.
pub(super) struct Guess {
    /// Standard deviation of each dimension of the targets, `[D]`.
    target_std: Tensor<1>,
    /// The loss of a predictor that always says the mean target, `[1]`.
    constant_loss: Tensor<1>,
    /// Mean cosine between prediction and target, `[1]`.
    prediction: Tensor<1>,
    /// Mean cosine between the mean target and target, `[1]`.
    mean: Tensor<1>,
    /// Share of the targets' tokens that stand in the context as well.
    shown: f64,
}

impl Guess {
    /// Of the forward passes of one micro-batch.
    pub(super) fn of(config: &LossConfig, forward: &Forward, masks: &[Masks]) -> Option<Self> {
        let count = masks.len() as f64;
        let passes = forward.passes.iter().zip(masks).map(|(pass, masks)| Self::of_pass(config, pass, masks));
        let sum = passes.reduce(|sum, pass| Self {
            target_std: sum.target_std + pass.target_std,
            constant_loss: sum.constant_loss + pass.constant_loss,
            prediction: sum.prediction + pass.prediction,
            mean: sum.mean + pass.mean,
            shown: sum.shown + pass.shown,
        })?;
        Some(Self {
            target_std: sum.target_std / count,
            constant_loss: sum.constant_loss / count,
            prediction: sum.prediction / count,
            mean: sum.mean / count,
            shown: sum.shown / count,
        })
    }

    fn of_pass(config: &LossConfig, pass: &Pass, masks: &Masks) -> Self {
        let target = pass.target.clone();
        let [rows, tokens, dim] = target.dims();
        let flat = target.clone().reshape([rows * tokens, dim]); // [R * M, D]
        let mean = flat.clone().mean_dim(0); // [1, D]
        let target_std = (flat.clone() - mean.clone()).powi_scalar(2).mean_dim(0).sqrt().reshape([dim]);
        let constant = mean.clone().reshape([1, 1, dim]).expand([rows, tokens, dim]);
        let samples = masks.targets.first().map_or(0, |mask| mask.batch);
        let counts = (0..samples).map(|row| masks.shown_targets(row));
        let [shown, of] = counts.fold([0, 0], |sum, count| [sum[0] + count[0], sum[1] + count[1]]);
        let prediction = pass.prediction.clone().inner().reshape([rows * tokens, dim]);
        Self {
            target_std,
            constant_loss: distance(config.kind, constant, target),
            prediction: cosine(prediction, flat.clone()),
            mean: cosine(mean, flat),
            shown: shown as f64 / of.max(1) as f64,
        }
    }

    /// Adds it to the line.
    pub(super) fn add(self, metrics: &mut Metrics) -> Result<()> {
        let stds = read::values(self.target_std)?;
        let count = stds.len().max(1) as f64;
        metrics.target_std = Some(stds.iter().map(|std| f64::from(*std)).sum::<f64>() / count);
        metrics.target_std_min = stds.iter().copied().reduce(f32::min).map(f64::from);
        metrics.constant_loss = Some(read::scalar(self.constant_loss)?);
        metrics.shown_targets = Some(self.shown);
        metrics.prediction_cosine = Some(read::scalar(self.prediction)?);
        metrics.batch_mean_cosine = Some(read::scalar(self.mean)?);
        Ok(())
    }
}

/// The mean cosine between the rows of `a` and `b`, of which `a` may have one for all.
fn cosine(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    let norm = |x: Tensor<2>| x.powi_scalar(2).sum_dim(1).sqrt();
    let norms = norm(a.clone()) * norm(b.clone());
    ((a * b).sum_dim(1) / (norms + EPS)).mean()
}

#[cfg(test)]
mod tests {
    use super::super::{Machine, Plan};
    use super::*;
    use crate::config::{LossKind, PRESETS, Preset};
    use crate::masks::MaskSampler;

    /// Share of the steps' operations that looks may take.
    const MOST: f64 = 0.02;

    #[test]
    fn looks_take_less_than_two_percent_of_the_steps_of_every_preset() {
        for preset in PRESETS {
            let config = preset.config();
            let plan = Plan::new(&config, Machine { gpus: 1, memory: None, images: 1_281_167 }).unwrap();
            let look = PROBE_IMAGES as f64 * plan.encoder_flops;
            let steps = (config.train.health_every * plan.global_batch) as f64 * plan.step_flops_per_image;
            assert!(look < MOST * steps, "{}: {:.2} %", preset.name, 100.0 * look / steps);
        }
    }

    /// What is said of one pass whose predictions and targets are these rows of two values.
    fn said(prediction: [[f32; 2]; 2], target: [[f32; 2]; 2], masks: &Masks) -> Metrics {
        let rows = |rows: [[f32; 2]; 2], device: &Device| Tensor::<3>::from_floats([rows], device);
        let learning = Device::flex().autodiff();
        let pass = Pass {
            context: rows(target, &learning),
            prediction: rows(prediction, &learning),
            target: rows(target, &Device::flex()),
        };
        let config = LossConfig { kind: LossKind::L2, ..Preset::find("animals28").unwrap().config().loss };
        let mut metrics = Metrics::default();
        Guess::of_pass(&config, &pass, masks).add(&mut metrics).unwrap();
        metrics
    }

    #[test]
    fn what_is_said_of_targets_and_predictions_is_what_was_counted_by_hand() {
        let config = Preset::find("animals28").unwrap().config();
        let sampler = MaskSampler::new(&config.mask, config.model.grid()).unwrap();
        let mut masks = sampler.sample(1, 0, &[0, 1]).remove(0);
        let near = |found: Option<f64>, expected: f64| {
            let found = found.unwrap();
            assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
        };
        let targets = [[1.0, 0.0], [0.0, 3.0]];
        let right = said(targets, targets, &masks);
        // Deviations of (1, 0) and (0, 3); the mean target is (0.5, 1.5), at cosines of 0.5 and 1.5 over the root of 2.5.
        near(right.target_std, 1.0);
        near(right.target_std_min, 0.5);
        near(right.constant_loss, 1.25);
        near(right.prediction_cosine, 1.0);
        near(right.batch_mean_cosine, 1.0 / 2.5f64.sqrt());
        near(right.shown_targets, 0.0);
        near(said([[0.0, 1.0], [0.0, 1.0]], targets, &masks).prediction_cosine, 0.5);
        let collapsed = said([[2.0, 2.0]; 2], [[1.0, 1.0]; 2], &masks);
        near(collapsed.target_std, 0.0);
        near(collapsed.constant_loss, 0.0);
        near(collapsed.batch_mean_cosine, 1.0);
        // A leak: the context shows what is to be predicted.
        masks.context = masks.targets.clone();
        assert!(said(targets, targets, &masks).shown_targets.unwrap() > 0.2);
    }
}
