//! Batches of inputs: random crops in an epoch's order for training, whole data sets in their own order otherwise.
//!
//! Shapes: `B` inputs in a batch, `C` channels, `T` frames, `H` rows, `W` columns. A picture is a clip of one frame.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::dataset::{Dataset, Wanted};
use super::order::EpochOrder;
use super::picture::Picture;
use super::pipeline::{Pipeline, Work};
use super::skip::Skip;
use super::transform::{Cut, EvalTransform, InputFormat, Scratch, TrainTransform};
use super::video::{Timeline, random_clip, spread_clips};
use crate::config::Sampling;
use crate::error::{Error, Result};
use crate::random::{Purpose, Stream};

/// Inputs that go through the network together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// `[B, C, T, H, W]`.
    pub pixels: Vec<f32>,
    /// `B`, `C T`, `H`, `W`. What could not be read is missing, so `B` may be smaller than asked for, even 0.
    pub shape: [usize; 4],
    /// The data set's indices of the samples of the `B` inputs. Outside training a sample has an input for each view of
    /// each clip, clip by clip.
    pub samples: Vec<u64>,
    /// `[B, T]`: when each frame is shown, in seconds from its film's start; 0 for a picture.
    pub times: Vec<f64>,
    /// The epoch, counted from 0; always 0 outside training.
    pub epoch: u64,
    /// The batch's number since the start of training, or in the data set.
    pub step: u64,
    /// The samples that should be here but could not be read.
    pub skipped: Vec<Skip>,
    /// How long the caller waited for this batch.
    pub wait: Duration,
}

impl Batch {
    /// The samples' names.
    pub fn names(&self, dataset: &Dataset) -> Vec<String> {
        self.samples.iter().map(|sample| dataset.name(*sample as usize)).collect()
    }

    /// The samples' labels.
    pub fn labels(&self, dataset: &Dataset) -> Vec<Option<u32>> {
        self.samples.iter().map(|sample| dataset.label(*sample as usize)).collect()
    }
}

/// What a [`TrainLoader`] loads.
#[derive(Debug, Clone)]
pub struct TrainPlan {
    /// Seed of the order and of the crops.
    pub seed: u64,
    /// Samples of a batch.
    pub batch: usize,
    /// Threads that read and decode; 0 does it in the calling thread.
    pub workers: usize,
    /// What is done to each picture.
    pub transform: TrainTransform,
    /// The number of the first batch, counted from the start of training.
    pub first_step: u64,
    /// The number of the batch before which to end.
    pub end_step: u64,
}

/// What an [`EvalLoader`] loads.
#[derive(Debug, Clone)]
pub struct EvalPlan {
    /// Samples of a batch, however many inputs each has; the last one may be smaller.
    pub batch: usize,
    /// Threads that read and decode; 0 does it in the calling thread.
    pub workers: usize,
    /// What is done to each picture.
    pub transform: EvalTransform,
    /// Which samples of the data set.
    pub samples: Range<usize>,
}

/// Training batches from any step on, in an order that depends on the seed and the epoch alone.
///
/// An epoch is `len / batch` batches, each sample at most once; the remainder is left out, another one in each epoch.
/// A sample that cannot be read is missing from its batch and never replaced.
pub struct TrainLoader {
    batches: Batches<Training>,
    steps_per_epoch: u64,
}

impl TrainLoader {
    /// Starts to load `dataset` as `plan` says.
    ///
    /// # Errors
    /// A data error where the data set has not a single batch; or there are films and no FFmpeg, or a thread cannot be
    /// started.
    pub fn new(dataset: Arc<Dataset>, mut plan: TrainPlan) -> Result<Self> {
        plan.batch = plan.batch.max(1);
        let steps_per_epoch = steps_per_epoch(&dataset, plan.batch)?;
        let (batch, workers, steps) = (plan.batch, plan.workers, plan.first_step..plan.end_step);
        let recipe = Training { plan, steps_per_epoch, len: dataset.len() };
        Ok(Self { batches: Batches::start(dataset, recipe, batch, workers, steps)?, steps_per_epoch })
    }

    /// Batches of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.steps_per_epoch
    }

    /// The next batch, which is waited for until `is_over` says that nobody wants it any more. Without threads it is only
    /// asked before a batch is begun.
    pub fn next_unless(&mut self, is_over: impl FnMut() -> bool) -> Option<Batch> {
        let mut batch = self.batches.next_unless(is_over)?;
        batch.epoch = batch.step / self.steps_per_epoch;
        Some(batch)
    }
}

/// Batches of `batch` samples in an epoch over `dataset`.
///
/// # Errors
/// A data error where there is not a single one.
pub fn steps_per_epoch(dataset: &Dataset, batch: usize) -> Result<u64> {
    let (len, batch) = (dataset.len(), batch.max(1));
    if len < batch {
        let message = format!("the data set has {}, fewer than a batch of {batch}", dataset.contents());
        return Err(Error::new(crate::error::Kind::Data, message)
            .with_remedy(format!("add more, or set train.batch to {len} or less")));
    }
    Ok((len / batch) as u64)
}

impl Iterator for TrainLoader {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        self.next_unless(|| false)
    }
}

/// The samples of a data set in their own order.
pub struct EvalLoader(Batches<Evaluation>);

impl EvalLoader {
    /// Starts to load `dataset` as `plan` says; samples beyond its end are ignored.
    ///
    /// # Errors
    /// Clips are wanted of films and there is no FFmpeg; a thread cannot be started.
    pub fn new(dataset: Arc<Dataset>, plan: EvalPlan) -> Result<Self> {
        let (batch, workers) = (plan.batch.max(1), plan.workers);
        let samples = plan.samples.start..plan.samples.end.min(dataset.len());
        let steps = 0..samples.len().div_ceil(batch) as u64;
        let recipe = Evaluation { batch, samples, transform: plan.transform };
        Ok(Self(Batches::start(dataset, recipe, batch, workers, steps)?))
    }
}

impl Iterator for EvalLoader {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        self.0.next_unless(|| false)
    }
}

/// What distinguishes one loader from another: which samples make a batch, and what of them is seen.
trait Recipe: Send + Sync + 'static {
    /// The form of the inputs.
    fn input(&self) -> &InputFormat;
    /// How clips are taken.
    fn sampling(&self) -> &Sampling;
    /// Inputs of a sample.
    fn inputs(&self) -> usize;
    /// The samples at these positions of a batch, as far as it has them.
    fn samples(&self, step: u64, positions: Range<usize>) -> Vec<usize>;
    /// The frames of a sample's clips.
    fn clips(&self, step: u64, sample: usize, timeline: &Timeline) -> Vec<Vec<usize>>;
    /// What is seen of a sample's frames, which are of this size: one cut for each view of each clip.
    fn cuts(&self, step: u64, sample: usize, width: usize, height: usize) -> Vec<Cut>;
}

struct Training {
    plan: TrainPlan,
    steps_per_epoch: u64,
    len: usize,
}

impl Recipe for Training {
    fn input(&self) -> &InputFormat {
        self.plan.transform.input()
    }

    fn samples(&self, step: u64, positions: Range<usize>) -> Vec<usize> {
        let order = EpochOrder::new(self.plan.seed, step / self.steps_per_epoch, self.len);
        let before = (step % self.steps_per_epoch) as usize * self.plan.batch;
        positions.map(|position| order.sample(before + position)).collect()
    }

    fn sampling(&self) -> &Sampling {
        self.plan.transform.sampling()
    }

    fn inputs(&self) -> usize {
        1
    }

    fn clips(&self, step: u64, sample: usize, timeline: &Timeline) -> Vec<Vec<usize>> {
        let mut stream = self.stream(step, sample, Purpose::Clip);
        vec![random_clip(self.sampling(), self.input().frames(), timeline, &mut stream)]
    }

    fn cuts(&self, step: u64, sample: usize, width: usize, height: usize) -> Vec<Cut> {
        vec![self.plan.transform.cut(width, height, &mut self.stream(step, sample, Purpose::Augment))]
    }
}

impl Training {
    fn stream(&self, step: u64, sample: usize, purpose: Purpose) -> Stream {
        Stream::new(self.plan.seed, step / self.steps_per_epoch, sample as u64, purpose)
    }
}

struct Evaluation {
    batch: usize,
    samples: Range<usize>,
    transform: EvalTransform,
}

impl Recipe for Evaluation {
    fn input(&self) -> &InputFormat {
        self.transform.input()
    }

    fn samples(&self, step: u64, positions: Range<usize>) -> Vec<usize> {
        let first = self.samples.start + step as usize * self.batch;
        positions.map(|position| first + position).filter(|sample| *sample < self.samples.end).collect()
    }

    fn sampling(&self) -> &Sampling {
        self.transform.sampling()
    }

    fn inputs(&self) -> usize {
        self.sampling().inputs()
    }

    fn clips(&self, _: u64, _: usize, timeline: &Timeline) -> Vec<Vec<usize>> {
        spread_clips(self.sampling(), self.input().frames(), timeline)
    }

    fn cuts(&self, _: u64, _: usize, width: usize, height: usize) -> Vec<Cut> {
        self.transform.cuts(width, height)
    }
}

/// The batches of a recipe, each put together from chunks, so that all threads work on the first one.
struct Batches<R: Recipe> {
    chunks: Pipeline<Chunks<R>>,
    chunks_per_batch: usize,
    shape: [usize; 3],
    next: u64,
}

struct Chunks<R> {
    dataset: Arc<Dataset>,
    recipe: R,
    batch: usize,
    chunk: usize,
    chunks_per_batch: usize,
}

/// A part of a batch.
#[derive(Default)]
struct Chunk {
    pixels: Vec<f32>,
    samples: Vec<u64>,
    times: Vec<f64>,
    skipped: Vec<Skip>,
}

impl<R: Recipe> Batches<R> {
    fn start(dataset: Arc<Dataset>, recipe: R, batch: usize, workers: usize, steps: Range<u64>) -> Result<Self> {
        let shape = recipe.input().shape();
        if recipe.input().frames() > 1 {
            dataset.require_clips()?;
        }
        let chunk = batch.div_ceil(workers.max(1)).max(1);
        let chunks_per_batch = batch.div_ceil(chunk).max(1);
        let (first, end) = (steps.start * chunks_per_batch as u64, steps.end * chunks_per_batch as u64);
        let chunks = Chunks { dataset, recipe, batch, chunk, chunks_per_batch };
        Ok(Self { chunks: Pipeline::start(chunks, workers, first, end)?, chunks_per_batch, shape, next: steps.start })
    }

    fn next_unless(&mut self, mut is_over: impl FnMut() -> bool) -> Option<Batch> {
        let start = Instant::now();
        let mut batch = Batch { step: self.next, ..Batch::default() };
        for part in 0..self.chunks_per_batch {
            let chunk = self.chunks.next_unless(&mut is_over)?;
            if part == 0 {
                (batch.pixels, batch.samples) = (chunk.pixels, chunk.samples);
                (batch.times, batch.skipped) = (chunk.times, chunk.skipped);
                batch.pixels.reserve_exact(batch.pixels.len() * (self.chunks_per_batch - 1));
            } else {
                batch.pixels.extend(chunk.pixels);
                batch.samples.extend(chunk.samples);
                batch.times.extend(chunk.times);
                batch.skipped.extend(chunk.skipped);
            }
        }
        self.next += 1;
        let [channels, height, width] = self.shape;
        batch.shape = [batch.samples.len(), channels, height, width];
        batch.wait = start.elapsed();
        Some(batch)
    }
}

impl<R: Recipe> Work for Chunks<R> {
    type Scratch = Scratch;
    type Out = Chunk;

    fn run(&self, number: u64, scratch: &mut Scratch, stop: &AtomicBool) -> Chunk {
        let (step, part) = (number / self.chunks_per_batch as u64, number as usize % self.chunks_per_batch);
        let from = part * self.chunk;
        let samples = self.recipe.samples(step, from..(from + self.chunk).min(self.batch));
        let mut chunk = Chunk::default();
        chunk.pixels.reserve_exact(samples.len() * self.recipe.inputs() * self.recipe.input().values());
        for sample in samples {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let whole = chunk.pixels.len();
            match self.load(step, sample, scratch, stop, &mut chunk.pixels) {
                Ok(times) => {
                    let inputs = (chunk.pixels.len() - whole) / self.recipe.input().values();
                    chunk.samples.extend(std::iter::repeat_n(sample as u64, inputs));
                    chunk.times.extend(times);
                }
                Err(skip) => {
                    chunk.pixels.truncate(whole);
                    chunk.skipped.push(skip);
                }
            }
        }
        chunk
    }
}

impl<R: Recipe> Chunks<R> {
    /// Appends the inputs of a sample to `pixels`; gives the times of their frames.
    fn load(
        &self,
        step: u64,
        sample: usize,
        scratch: &mut Scratch,
        stop: &AtomicBool,
        pixels: &mut Vec<f32>,
    ) -> Result<Vec<f64>, Skip> {
        let (recipe, input) = (&self.recipe, self.recipe.input());
        // What a film is as a picture, its store knows: a frame, without the way to it being looked for.
        if input.frames() == 1 && *recipe.sampling() == Sampling::ONE {
            let decoded = self.dataset.decoded_while(sample, stop)?;
            let (width, height) = (decoded.picture.width, decoded.picture.height);
            for cut in recipe.cuts(step, sample, width, height) {
                cut.append(input, &decoded.picture, scratch, pixels);
            }
            return Ok(vec![0.0]);
        }
        let clips = recipe.clips(step, sample, &self.dataset.timeline_while(sample, stop)?);
        let mut wanted = clips.concat();
        wanted.sort_unstable();
        wanted.dedup();
        let (start, values) = (pixels.len(), input.values());
        let (mut cuts, mut size) = (Vec::new(), None);
        let mut put = |at: usize, picture: &Picture| {
            if size.replace((picture.width, picture.height)).is_none() {
                cuts = recipe.cuts(step, sample, picture.width, picture.height);
                pixels.resize(start + clips.len() * cuts.len() * values, 0.0);
            }
            for (view, cut) in cuts.iter().enumerate() {
                let places =
                    |clip: &'_ Vec<usize>| (0..clip.len()).filter(|t| clip[*t] == wanted[at]).collect::<Vec<_>>();
                let inputs = pixels[start..].chunks_exact_mut(values).skip(view).step_by(cuts.len());
                let outs = clips.iter().map(|clip| places(clip).into_iter()).zip(inputs);
                cut.put(input, picture, scratch, outs);
            }
        };
        let times = self.dataset.frames(sample, Wanted { frames: &wanted, stop, each: &mut put })?;
        let time = |frame: &usize| wanted.binary_search(frame).map_or(0.0, |at| times[at]);
        let of_clip = |clip: &Vec<usize>| clip.iter().map(time).collect::<Vec<f64>>().repeat(cuts.len());
        Ok(clips.iter().flat_map(of_clip).collect())
    }
}
