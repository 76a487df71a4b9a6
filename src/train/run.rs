//! The training loop, from top to bottom.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Device, Tensor};

use super::answer::Answer;
use super::aside::Offence;
use super::batch::{Accumulator, micro_batches};
use super::collapse::{Signs, collapse};
use super::health::{Guess, Probe};
use super::metrics::{Metrics, MetricsLog};
use super::norm::{clip, global_norm};
use super::optimizer::AdamW;
use super::preflight::{check_disk, check_recipe};
use super::resume::{ConfigChange, Resume, is_own, require_apart, require_run, restore, start_from};
use super::schedule::Schedule;
use super::step::{Networks, StepGradients, upload};
use super::tally::{Since, Sums};
use crate::atomic;
use crate::checkpoint::{Checkpoints, State};
use crate::config::{OnCollapse, RunConfig};
use crate::data::{Dataset, SkipLog, TrainLoader, TrainPlan, TrainTransform, steps_per_epoch};
use crate::error::{Error, IoContext as _, Kind, Result};
use crate::faults::{self, Point};
use crate::lock::FolderLock;
use crate::masks::MaskSampler;
use crate::model::Init;
use crate::stop::Stop;
use crate::weights::Tensors;

/// Steps in a row whose loss or gradient is not finite, after which a run ends.
pub(super) const NONFINITE_STEPS: usize = 3;
/// Images without which it is not.
const FEWEST_JUDGED: usize = 32;
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
    /// Whether to continue it with another configuration.
    pub config_change: ConfigChange,
    /// What makes it save and end early.
    pub stop: Stop,
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

/// Trains until the configuration's last epoch is over or there is a reason to stop.
///
/// # Errors
/// A usage error where the recipe cannot work, a data error where the data or the checkpoint does not fit,
/// [`Kind::Diverged`] where loss or gradient are not finite for several steps in a row, or the features have collapsed and
/// the configuration says to stop; [`Kind::Interrupted`] or [`Kind::TimeLimit`] when a checkpoint has been written after a
/// signal or at the end of the time; [`Kind::Locked`] while another process trains in the same folder.
pub fn train(run: &Run, observer: &mut dyn Observer) -> Result<Outcome> {
    let Run { config, data, out, device, stop, .. } = run;

    // The plan.
    let (micro, accumulate) = (config.train.batch, config.train.accumulate);
    let batch = micro * accumulate;
    let steps_per_epoch = steps_per_epoch(data, batch)? as usize;
    let schedule = Schedule::new(&config.optim, steps_per_epoch);
    let sampler = MaskSampler::new(&config.mask, config.model.grid())?;
    let oddities = check_recipe(config, data.len())?;
    require_run(out)?;
    run.resume.require()?;
    fs::create_dir_all(out).at("create", out)?;
    let _lock = FolderLock::take(out)?;
    let mut checkpoints = Checkpoints::new(out, config.train.keep_every);
    checkpoints.create()?;
    checkpoints.sweep()?;

    // The state: new, or where an earlier run stood.
    let mut networks = Networks::new(config, Init::Seed(config.train.seed), device);
    let mut optimizer = AdamW::default();
    let mut state = State {
        step: 0,
        epoch: 0,
        position: 0,
        steps_per_epoch,
        updates: 0,
        nonfinite_steps: 0,
        nonfinite_in_a_row: 0,
        seed: config.train.seed,
        config: config.hash(),
        data: data.fingerprint(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut saved = None;
    if let Some(path) = start_from(&run.resume, &mut checkpoints, run, observer)? {
        (networks, optimizer) = restore(&path, config, run.config_change, networks, &mut state, observer)?;
        require_apart(run, &path, state.step, &checkpoints)?;
        if is_own(&path, &checkpoints) {
            // A process that was killed between the two left an older name.
            checkpoints.name_latest(&path)?;
            saved = Some((state.step, path));
        }
    }
    check_disk(config, &networks, &checkpoints, &state, schedule.steps)?;
    atomic::write(&out.join("config.toml"), config.to_toml().as_bytes())?;
    let mut log = MetricsLog::open(out, state.step)?;
    let mut skips = SkipLog::open(&out.join(SKIPPED))?;
    let probe = Probe::new(config, data, device)?;
    oddities.iter().for_each(|oddity| observer.warning(oddity));
    observer.begin(state.step, schedule.steps);

    // The loop.
    let mut loader = TrainLoader::new(Arc::clone(data), plan(config, batch, state.step, schedule.steps)?)?;
    let (mut since, mut answer) = (Since::new(), Answer::new(stop));
    let (mut empty_steps, mut owed) = (0, false);
    'steps: while let Some(batch) = loader.next_unless(|| answer.is_due()) {
        faults::at(Point::Step).at("begin", out)?;
        if stop.is_due() {
            // A signal to every process ends decoders too, which is no fault of their films.
            break 'steps;
        }
        since.add(&batch);
        skips.add(&batch.skipped)?;
        let rates = schedule.at(state.step);
        let watching = is_time(state.step + 1, config.train.health_every, schedule.steps);

        // Forward and backward, a micro-batch at a time.
        let (mut sums, mut grads, mut guess) = (Sums::default(), Accumulator::default(), None);
        let parts = micro_batches(batch, micro);
        let mut drawn = Vec::new();
        for (i, part) in parts.iter().enumerate() {
            if answer.is_due() {
                // A step takes as long as all of its micro-batches; one that was left is made again.
                break 'steps;
            }
            let draw = (state.step * accumulate + i) as u64;
            let masks = sampler.sample(config.train.seed, draw, &part.samples);
            let forward = networks.forward(&config.loss, upload(part.pixels.clone(), part.shape, device), &masks);
            if watching && i == 0 {
                let start = Instant::now();
                guess = Guess::of(&config.loss, &forward, &masks);
                since.look(start);
            }
            sums.add(&forward.loss, forward.spread.as_ref(), &masks, part.share);
            let loss = match forward.spread {
                Some(spread) => forward.loss + spread,
                None => forward.loss,
            };
            grads.add(&networks, networks.backward(loss * part.share));
            drawn.push(masks);
        }

        // A batch of nothing but unreadable pictures teaches nothing, and has no loss.
        if parts.is_empty() {
            if state.position == 0 {
                empty_steps = 0;
            }
            state.advance();
            empty_steps += 1;
            let why = format!("{} says why", out.join(SKIPPED).display());
            if empty_steps == 1 {
                observer
                    .warning(&format!("nothing of step {} could be read, and nothing is learned; {why}", state.step));
            }
            if empty_steps == steps_per_epoch {
                if state.updates > 0 {
                    sync(&log, &skips)?;
                    observer.checkpoint(&save(&mut checkpoints, &state, &networks, &optimizer, config)?);
                }
                return Err(Error::new(Kind::Data, "nothing of a whole epoch could be read").with_remedy(why));
            }
            continue;
        }
        empty_steps = 0;

        // The update, unless the step would spoil the weights.
        let grads = grads.grads();
        let norms = norms(&networks, &grads);
        let numbers = sums.read(norms.clone())?;
        if numbers.are_finite() {
            // Reference (V-JEPA): gradients are clipped once the warm-up is over.
            let limit = if state.step < schedule.warmup_steps { 0.0 } else { config.optim.clip_norm };
            let grads = clipped(&networks, grads, norms, limit);
            networks = networks.update(&mut optimizer, grads, config, rates);
            state.updates += 1;
            state.nonfinite_in_a_row = 0;
        } else {
            let is_last = state.nonfinite_in_a_row + 1 == NONFINITE_STEPS;
            let offence = Offence { state: &state, numbers, parts: &parts, masks: &drawn };
            let noted = offence.note(out, data);
            let pixels = is_last.then(|| offence.keep_pixels(out));
            state.nonfinite_steps += 1;
            state.nonfinite_in_a_row += 1;
            observer.warning(&format!(
                "step {} is left out, its loss is {} and its gradients' norms {:?}: {}",
                state.step + 1,
                numbers.loss,
                numbers.norms,
                aside(noted)
            ));
            if let Some(pixels) = pixels {
                return Err(diverged(format!(
                    "loss or gradient were not finite for {NONFINITE_STEPS} steps in a row, the last one step {}; its \
                     pictures: {}",
                    state.step + 1,
                    aside(pixels)
                )));
            }
        }
        state.advance();

        // Metrics, and the health of the features.
        if watching || is_time(state.step, config.train.log_every, schedule.steps) {
            let mut metrics = since.metrics(&state, &sums, rates, numbers);
            metrics.skipped = skips.len();
            if let Some(guess) = guess {
                let start = Instant::now();
                faults::at(Point::Health).at("watch", out)?;
                guess.add(&mut metrics)?;
                probe.add(&networks, &mut metrics)?;
                // A few images have no rank to speak of.
                let signs = Signs::at(state.step, schedule.warmup_steps).filter(|_| probe.images() >= FEWEST_JUDGED);
                metrics.collapse = signs.and_then(|signs| collapse(&metrics, signs));
                since.look(start);
            }
            since.time(&mut metrics);
            log.write(&metrics)?;
            observer.metrics(&metrics);
            if let Some(signs) = &metrics.collapse {
                let message = format!("collapse at step {}: {signs}", state.step);
                match config.train.on_collapse {
                    OnCollapse::Warn => observer.warning(&message),
                    OnCollapse::Stop => return Err(collapsed(message)),
                }
            }
            since.restart();
        }
        // Weights whose loss is not finite are not worth an older checkpoint.
        owed |= is_time(state.step, config.train.checkpoint_every, schedule.steps);
        if owed && state.nonfinite_in_a_row == 0 {
            owed = false;
            let start = Instant::now();
            sync(&log, &skips)?;
            let path = save(&mut checkpoints, &state, &networks, &optimizer, config)?;
            observer.checkpoint(&path);
            saved = Some((state.step, path));
            answer.saved(start);
        }
        let is_due = answer.is_due();
        if let Some(late) = answer.is_late() {
            observer.warning(&late);
        }
        if is_due {
            break;
        }
    }

    // The end, or a stop on the way.
    let checkpoint = match saved {
        Some((step, path)) if step == state.step => path,
        _ => {
            if stop.is_by_signal() {
                observer.warning("saving; once more to stop at once");
            }
            sync(&log, &skips)?;
            let path = save(&mut checkpoints, &state, &networks, &optimizer, config)?;
            observer.checkpoint(&path);
            path
        }
    };
    let behind = format!("step {} of {}", state.step, schedule.steps);
    match stop.error(&behind, run.resume.afterwards()) {
        Some(stopped) if state.step < schedule.steps => Err(stopped),
        _ => Ok(Outcome { networks, checkpoint, steps: state.step, skipped: skips.len() }),
    }
}

/// Where what a step was made of is written; where it could not be, why, which matters less than the step itself.
fn aside(written: Result<PathBuf>) -> String {
    written.map_or_else(|error| format!("not written aside, {error}"), |path| path.display().to_string())
}

fn collapsed(message: String) -> Error {
    Error::new(Kind::Diverged, message)
        .with_remedy("raise optim.ema, lower optim.lr, or set loss.variance; what was saved before is kept")
}

fn diverged(what: String) -> Error {
    Error::new(Kind::Diverged, what)
        .with_remedy("lower optim.lr or lengthen optim.warmup_epochs; what was saved before is kept")
}

/// Whether something that is done every `every` steps (0: never) is due after `step` steps; at the end it always is.
fn is_time(step: usize, every: usize, steps: usize) -> bool {
    every > 0 && (step.is_multiple_of(every) || step == steps)
}

/// A checkpoint is never newer than what is said of its steps.
fn sync(log: &MetricsLog, skips: &SkipLog) -> Result<()> {
    log.sync()?;
    skips.sync()
}

fn save(
    checkpoints: &mut Checkpoints,
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

/// Norms of both gradients.
fn norms(networks: &Networks, grads: &StepGradients) -> [Tensor<1>; 2] {
    [global_norm(&networks.encoder, &grads.encoder), global_norm(&networks.predictor, &grads.predictor)]
}

/// The gradients, clipped to `limit` where that is above 0.
fn clipped(networks: &Networks, grads: StepGradients, norms: [Tensor<1>; 2], limit: f64) -> StepGradients {
    if limit <= 0.0 {
        return grads;
    }
    // Reference (V-JEPA): encoder and predictor are clipped apart.
    let [encoder, predictor] = norms;
    StepGradients {
        encoder: clip(&networks.encoder, grads.encoder, encoder, limit),
        predictor: clip(&networks.predictor, grads.predictor, predictor, limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Preset;

    fn tiny() -> RunConfig {
        let mut config = Preset::find("photopan").unwrap().config();
        (config.train.batch, config.train.log_every, config.train.health_every) = (4, 1, 0);
        config
    }

    #[test]
    fn each_network_is_scaled_by_its_own_norm() {
        let (config, device) = (tiny(), Device::flex());
        let networks = Networks::new(&config, Init::Seed(1), &device);
        let sampler = MaskSampler::new(&config.mask, config.model.grid()).unwrap();
        let masks = sampler.sample(1, 0, &[0, 1]);
        let pixels = Tensor::random([2, 48, 32, 32], burn::tensor::Distribution::Normal(0.0, 1.0), &device);
        let read = |grads: &StepGradients| norms(&networks, grads).map(|norm| norm.into_scalar::<f32>());
        let under = |limit| {
            let forward = networks.forward(&config.loss, pixels.clone(), &masks);
            let grads = networks.backward(forward.loss);
            let norms = norms(&networks, &grads);
            read(&clipped(&networks, grads, norms, limit))
        };
        let near =
            |found: f32, expected: f32| assert!((found / expected - 1.0).abs() < 1e-3, "{found}, not {expected}");
        // No limit, and one that neither meets.
        let [encoder, predictor] = under(0.0);
        assert_eq!(under(1e6), [encoder, predictor]);
        assert!((encoder / predictor - 1.0).abs() > 0.05, "{encoder} and {predictor} tell nothing apart");
        // One between them scales the larger alone, one below both makes them equal.
        let between = (encoder * predictor).sqrt();
        let [found, other] = under(between.into());
        near(found, encoder.min(between));
        near(other, predictor.min(between));
        let low = encoder.min(predictor) / 10.0;
        under(low.into()).into_iter().for_each(|norm| near(norm, low));
    }

    /// Keeps each step's loss, and what was warned of.
    #[derive(Default)]
    struct Heard {
        losses: Vec<f64>,
        warnings: Vec<String>,
    }

    impl Observer for Heard {
        fn begin(&mut self, _: usize, _: usize) {}
        fn metrics(&mut self, metrics: &Metrics) {
            self.losses.push(metrics.loss);
        }
        fn checkpoint(&mut self, _: &Path) {}
        fn warning(&mut self, message: &str) {
            self.warnings.push(message.to_owned());
        }
    }

    /// Trains on the pictures of `folder`; what was heard until the end.
    fn hear(config: &RunConfig, folder: &Path) -> Heard {
        let out = tempfile::tempdir().unwrap();
        let run = Run {
            config,
            data: Arc::new(Dataset::open(folder).unwrap()),
            out: &out.path().join("run"),
            device: &Device::flex(),
            resume: Resume::Never,
            config_change: ConfigChange::Refuse,
            stop: Stop::new(Arc::default(), None),
        };
        let mut heard = Heard::default();
        let steps = train(&run, &mut heard).unwrap().steps;
        assert_eq!(steps, config.optim.epochs * run.data.len() / config.train.batch);
        heard
    }

    /// Writes picture `i`.
    fn paint(folder: &Path, i: u8) {
        let mut picture = b"P6 32 32 255\n".to_vec();
        picture.extend((0..32_u8).flat_map(|y| (0..32_u8).flat_map(move |x| [16 * i, 8 * x, 8 * y])));
        fs::write(folder.join(format!("{i}.ppm")), picture).unwrap();
    }

    #[test]
    fn gradients_are_clipped_from_the_end_of_the_warm_up_on() {
        let folder = tempfile::tempdir().unwrap();
        (0..16).for_each(|i| paint(folder.path(), i));
        let losses = |clip_norm: f64| {
            let mut config = tiny();
            (config.optim.epochs, config.optim.warmup_epochs, config.optim.clip_norm) = (2, 1.0, clip_norm);
            hear(&config, folder.path()).losses
        };
        let (free, clipped) = (losses(0.0), losses(1e-6));
        // Four steps of warm-up; the loss of the fifth is that of the weights before its update.
        assert_eq!(free[..5], clipped[..5]);
        assert!((5..8).all(|step| free[step] != clipped[step]), "{free:?}, {clipped:?}");
    }

    #[test]
    fn empty_steps_end_a_run_only_where_they_are_a_whole_epoch() {
        let folder = tempfile::tempdir().unwrap();
        paint(folder.path(), 0);
        fs::write(folder.path().join("1.ppm"), "P6 32 32 255\nand no more").unwrap();
        let mut config = tiny();
        (config.train.batch, config.optim.epochs, config.optim.warmup_epochs) = (1, 10, 1.0);
        let Heard { losses, warnings } = hear(&config, folder.path());
        assert_eq!(losses.len(), 10);
        // Two steps an epoch: somewhere the last of one and the first of the next are empty, as many as an epoch has.
        let empty = |step: usize| warnings.iter().any(|said| said.starts_with(&format!("nothing of step {step} ")));
        assert!((1..10).any(|epoch| empty(2 * epoch) && empty(2 * epoch + 1)), "{warnings:?}");
    }
}
