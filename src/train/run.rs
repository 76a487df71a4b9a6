//! The training loop, from top to bottom.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::optim::GradientsAccumulator;
use burn::tensor::{Device, Tensor};

use super::checkpoint::{Checkpoints, State};
use super::metrics::{Metrics, MetricsLog};
use super::norm::{clip, global_norm};
use super::optimizer::AdamW;
use super::resume::{Resume, require_run, restore, start_from};
use super::schedule::Schedule;
use super::step::{Networks, StepGradients, upload};
use super::tally::{Since, Sums};
use crate::config::RunConfig;
use crate::data::{
    Batch, Dataset, EvalLoader, EvalPlan, EvalTransform, SkipLog, TrainLoader, TrainPlan, TrainTransform,
    steps_per_epoch,
};
use crate::device::read;
use crate::error::{Error, IoContext as _, Kind, Result};
use crate::eval::{Health, health};
use crate::lock::FolderLock;
use crate::masks::MaskSampler;
use crate::model::Init;
use crate::weights::Tensors;

/// Images whose features are watched: enough for a rank of hundreds, cheap enough to leave on.
const PROBE_IMAGES: usize = 256;
/// The file in a run's folder that lists what could not be read.
const SKIPPED: &str = "skipped.jsonl";

/// Hears how a run goes.
pub trait Observer {
    /// A run begins, or goes on, at `step` of `steps`.
    fn begin(&mut self, step: usize, steps: usize);
    /// A line of metrics was written.
    fn metrics(&mut self, metrics: &Metrics);
    /// A checkpoint stands at `path`.
    fn checkpoint(&mut self, path: &Path);
    /// Something that does not end the run, and that its owner should know.
    fn warning(&mut self, message: &str);
}

/// What a run is made of.
pub struct Run<'a> {
    /// The resolved configuration.
    pub config: &'a RunConfig,
    /// The pictures.
    pub data: Arc<Dataset>,
    /// The run's folder.
    pub out: &'a Path,
    /// Where it computes, without autodiff.
    pub device: &'a Device,
    /// Whether to continue an earlier run.
    pub resume: Resume,
    /// A signal's number, once one has come; the run then saves and stops.
    pub signal: Arc<AtomicUsize>,
}

/// What a run left behind.
pub struct Outcome {
    /// The networks at the end.
    pub networks: Networks,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// Steps made, those of an earlier run included.
    pub steps: usize,
    /// Pictures that could not be decoded.
    pub skipped: usize,
}

/// Trains until the configuration's last epoch is over or a signal comes.
///
/// # Errors
/// A data error where the data or the checkpoint does not fit, [`Kind::Diverged`] where the loss is no longer finite,
/// [`Kind::Interrupted`] after a signal, when a checkpoint has been written; [`Kind::Locked`] while another process trains
/// in the same folder.
pub fn train(run: &Run, observer: &mut dyn Observer) -> Result<Outcome> {
    let Run { config, data, out, device, .. } = run;

    // The plan.
    let (micro, accumulate) = (config.train.batch, config.train.accumulate);
    let batch = micro * accumulate;
    let steps_per_epoch = steps_per_epoch(data, batch)? as usize;
    let schedule = Schedule::new(&config.optim, steps_per_epoch);
    let sampler = MaskSampler::new(&config.mask, config.model.grid())?;
    require_run(out)?;
    fs::create_dir_all(out).at("create", out)?;
    let _lock = FolderLock::take(out)?;
    let checkpoints = Checkpoints::new(out, config.train.keep_every);

    // The state: new, or where an earlier run stood.
    let mut networks = Networks::new(config, Init::Seed(config.train.seed), device);
    let mut optimizer = AdamW::default();
    let mut state = State {
        step: 0,
        steps_per_epoch,
        seed: config.train.seed,
        config: config.hash(),
        data: data.fingerprint(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut last_saved = None;
    if let Some(path) = start_from(&run.resume, &checkpoints, out, observer)? {
        (networks, optimizer) = restore(&path, config, networks, &mut state)?;
        let newest = checkpoints.list()?.pop().filter(|(newest, _)| *newest > state.step);
        if let (Resume::From(_), Some((newest, _))) = (&run.resume, newest) {
            return Err(Error::usage(format!("{} has gone on to step {newest}", out.display()))
                .with_remedy("name another --out, so that both ways from this checkpoint are kept"));
        }
        last_saved = path.starts_with(out).then_some(path);
    }
    let path = out.join("config.toml");
    fs::write(&path, config.to_toml()).at("write", &path)?;
    let mut log = MetricsLog::open(out, state.step)?;
    let mut skips = SkipLog::open(&out.join(SKIPPED))?;
    let probe = probe_images(config, data, device)?;
    observer.begin(state.step, schedule.steps);

    // The loop.
    let loader = TrainLoader::new(Arc::clone(data), plan(config, batch, state.step, schedule.steps)?)?;
    let mut since = Since::new();
    let mut empty_steps = 0;
    for batch in loader {
        since.images += batch.samples.len();
        since.waited += batch.wait;
        skips.add(&batch.skipped)?;
        let rates = schedule.at(state.step);

        let mut sums = Sums::default();
        let (mut encoder, mut predictor) = (GradientsAccumulator::new(), GradientsAccumulator::new());
        let parts = micro_batches(batch, micro);
        for (i, (pixels, shape, samples)) in parts.iter().enumerate() {
            let draw = (state.step * accumulate + i) as u64;
            let masks = sampler.sample(config.train.seed, draw, samples);
            let forward = networks.forward(&config.loss, upload(pixels.clone(), *shape, device), &masks);
            sums.add(&forward.loss, forward.spread.as_ref(), &masks, parts.len());
            let loss = match forward.spread {
                Some(spread) => forward.loss + spread,
                None => forward.loss,
            };
            let grads = networks.backward(loss / parts.len() as f64);
            encoder.accumulate(&networks.encoder, grads.encoder);
            predictor.accumulate(&networks.predictor, grads.predictor);
        }
        let grads = StepGradients { encoder: encoder.grads(), predictor: predictor.grads() };
        let logging = is_time(state.step + 1, config.train.log_every, schedule.steps);
        let clipping = config.optim.clip_norm > 0.0;
        let (grads, norms) =
            if logging || clipping { measure(&networks, grads, config.optim.clip_norm) } else { (grads, None) };
        // A batch of nothing but unreadable pictures teaches nothing, and has no loss.
        let empty = parts.is_empty();
        empty_steps = if empty { empty_steps + 1 } else { 0 };
        if empty_steps == steps_per_epoch {
            return Err(Error::new(Kind::Data, "no picture of a whole epoch could be read")
                .with_remedy(format!("{} says why", out.join(SKIPPED).display())));
        }
        if !empty {
            networks = networks.update(&mut optimizer, grads, config, rates);
        }
        state.step += 1;

        if logging
            && !empty
            && let Some(norms) = norms
        {
            let mut metrics = since.metrics(&state, &sums, rates, norms)?;
            metrics.skipped = skips.len();
            if metrics.loss.is_finite() && is_time(state.step, config.train.health_every, schedule.steps) {
                let health = features_health(&networks, &probe)?;
                metrics.feature_std = health.map(|health| health.std);
                metrics.feature_rank = health.map(|health| health.rank);
                metrics.feature_cosine = health.map(|health| health.cosine);
            }
            log.write(&metrics)?;
            observer.metrics(&metrics);
            if !metrics.loss.is_finite() {
                return Err(diverged(format!("the loss is {} at step {}", metrics.loss, state.step)));
            }
            since = Since::new();
        }
        let signal = run.signal.load(Ordering::Relaxed);
        if signal != 0 {
            observer.warning("saving; once more to stop at once");
        }
        if signal != 0 || is_time(state.step, config.train.checkpoint_every, schedule.steps) {
            let path = save(&checkpoints, &state, &networks, &optimizer, config)?;
            observer.checkpoint(&path);
            last_saved = Some(path);
        }
        if signal != 0 {
            let message = format!("stopped by signal {signal} after step {} of {}", state.step, schedule.steps);
            return Err(Error::new(Kind::Interrupted(signal), message)
                .with_remedy("the same command continues the run where it stands"));
        }
    }

    // The end.
    let checkpoint = match last_saved {
        Some(path) => path,
        None => save(&checkpoints, &state, &networks, &optimizer, config)?,
    };
    Ok(Outcome { networks, checkpoint, steps: state.step, skipped: skips.len() })
}

fn diverged(what: String) -> Error {
    Error::new(Kind::Diverged, what)
        .with_remedy("lower optim.lr or lengthen optim.warmup_epochs; checkpoints are kept from before")
}

/// Whether something that is done every `every` steps (0: never) is due after `step` steps; at the end it always is.
fn is_time(step: usize, every: usize, steps: usize) -> bool {
    every > 0 && (step.is_multiple_of(every) || step == steps)
}

fn save(
    checkpoints: &Checkpoints,
    state: &State,
    networks: &Networks,
    optimizer: &AdamW,
    config: &RunConfig,
) -> Result<PathBuf> {
    let tensors = networks.tensors()?;
    if let Some((name, _)) = tensors.iter().find(|(_, tensor)| !tensor.is_finite()) {
        return Err(diverged(format!("{name} is no longer finite after step {}", state.step)));
    }
    let of = |prefix: &str| -> Tensors {
        let part = tensors.iter().filter(|(name, _)| name.starts_with(&format!("{prefix}.")));
        part.map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
    };
    let parts = [
        ("encoder", of("encoder")),
        ("predictor", of("predictor")),
        ("target_encoder", of("target_encoder")),
        ("optimizer", optimizer.tensors(networks)?),
    ];
    checkpoints.save(state, &parts, config)
}

fn plan(config: &RunConfig, batch: usize, first_step: usize, end_step: usize) -> Result<TrainPlan> {
    Ok(TrainPlan {
        seed: config.train.seed,
        batch,
        workers: config.train.workers,
        transform: TrainTransform::of(config)?,
        first_step: first_step as u64,
        end_step: end_step as u64,
    })
}

type MicroBatch = (Vec<f32>, [usize; 4], Vec<u64>);

/// Cuts a batch into micro-batches of at most `micro` images.
fn micro_batches(batch: Batch, micro: usize) -> Vec<MicroBatch> {
    let [_, channels, height, width] = batch.shape;
    let image = channels * height * width;
    let pixels = batch.pixels.chunks(micro * image);
    let cut = |(pixels, samples): (&[f32], &[u64])| {
        (pixels.to_vec(), [samples.len(), channels, height, width], samples.to_vec())
    };
    pixels.zip(batch.samples.chunks(micro)).map(cut).collect()
}

/// Norms of both gradients, and the gradients clipped to `limit` where that is above 0.
fn measure(networks: &Networks, grads: StepGradients, limit: f64) -> (StepGradients, Option<[Tensor<1>; 2]>) {
    let encoder = global_norm(&networks.encoder, &grads.encoder);
    let predictor = global_norm(&networks.predictor, &grads.predictor);
    if limit <= 0.0 {
        return (grads, Some([encoder, predictor]));
    }
    // Reference (V-JEPA): encoder and predictor are clipped apart.
    let grads = StepGradients {
        encoder: clip(&networks.encoder, grads.encoder, encoder.clone(), limit),
        predictor: clip(&networks.predictor, grads.predictor, predictor.clone(), limit),
    };
    (grads, Some([encoder, predictor]))
}

/// The first pictures of the data set that can be decoded, as the evaluation sees them.
fn probe_images(config: &RunConfig, data: &Arc<Dataset>, device: &Device) -> Result<Option<Tensor<4>>> {
    if config.train.health_every == 0 {
        return Ok(None);
    }
    let samples = 0..PROBE_IMAGES.min(data.len());
    let plan = EvalPlan { batch: PROBE_IMAGES, workers: 0, transform: EvalTransform::of(config)?, samples };
    let batch = EvalLoader::new(Arc::clone(data), plan)?.next().filter(|batch| !batch.samples.is_empty());
    Ok(batch.map(|batch| upload(batch.pixels, batch.shape, device)))
}

fn features_health(networks: &Networks, probe: &Option<Tensor<4>>) -> Result<Option<Health>> {
    let Some(images) = probe else {
        return Ok(None);
    };
    let pooled = networks.target_encoder.forward(images.clone(), None).mean_dim(1); // [B, 1, D]
    let [rows, _, cols] = pooled.dims();
    let pooled = read::matrix(pooled.reshape([rows, cols]))?;
    if pooled.values.iter().any(|value| !value.is_finite()) {
        return Err(diverged("the features of the probe images are no longer finite".into()));
    }
    health(&pooled).map(Some)
}
