//! How fast a device extracts features and trains, beside what it reaches on one large matrix product.
//!
//! Weights and pixels are random, drawn on the host: times do not depend on their values.

mod clock;
mod extract;
mod kernels;
mod multiply_adds;
mod peak;
mod train;

use burn::tensor::Device;
use serde::Serialize;

pub use clock::{Repetitions, Timing};
pub use kernels::KernelTime;
use peak::Yardstick;
pub use peak::{LargeProduct, Peak};

use crate::compile::Dtype;
use crate::config::{Precision, Preset, RunConfig};
use crate::device::{self, Api, Spec};
use crate::error::Result;
use crate::random::{Purpose, Stream};

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// From pixels on the host to one pooled feature row an image on the host.
    Extract,
    /// One optimizer step: forward, backward, AdamW, moving average.
    Train,
}

/// What runs an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// A plan of our own kernels.
    Compiled,
    /// Likewise, with weights and most values of f16, on a GPU; sums are of f32.
    CompiledF16,
    /// Operation by operation, as in training.
    Burn,
}

impl Engine {
    /// How what it multiplies in `precision` is stored.
    fn stored(self, precision: Precision) -> Dtype {
        match (self, precision) {
            (Self::CompiledF16, _) => Dtype::F16,
            (_, Precision::F32) => Dtype::F32,
            (_, Precision::Bf16) => Dtype::Bf16,
        }
    }
}

/// A measurement to make.
#[derive(Debug, Clone)]
pub struct Workload {
    work: Work,
    config: RunConfig,
    engine: Engine,
}

/// The device on which all is measured, and what makes the large matrix product there.
#[derive(Debug)]
pub struct Bench {
    spec: Spec,
    yardstick: Yardstick,
    /// burn's; where nothing is left to burn, the processor, which has nothing to do.
    device: Device,
}

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// What was timed.
    pub work: Work,
    /// What ran the encoder.
    pub engine: Engine,
    /// The preset's name.
    pub model: String,
    /// Images of a repetition.
    pub batch: usize,
    /// How what the matrix products multiply is stored.
    pub precision: Dtype,
    /// Tokens of an image.
    pub tokens: usize,
    /// Tokens of a context mask, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<usize>,
    /// Tokens of a target mask, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_tokens: Option<usize>,
    /// Images a second, from the median.
    pub images_per_second: f64,
    /// Thousand millions of floating-point operations of an image, those of matrix products only.
    pub gflop_per_image: f64,
    /// Those a second, from the median.
    pub gflops: f64,
    /// That over [`Peak::gflops`].
    pub share_of_peak: f64,
    /// Seconds from weights in memory to the first features of an extraction: plan, shaders, weights to the device, and a
    /// batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_start_s: Option<f64>,
    /// What each kind of dispatch of a compiled encoder takes by the device's clock.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<KernelTime>,
    /// The seconds of a repetition.
    #[serde(flatten)]
    pub timing: Timing,
}

/// All measurements of one device. The numbers at its head are those of one pass through all cases; of a single case,
/// they are its own.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The device's name.
    pub device: String,
    /// Images a second.
    pub images_per_second: f64,
    /// Thousand millions of floating-point operations a second.
    pub gflops: f64,
    /// Those of the device's peak.
    pub peak_gflops: f64,
    /// The former over the latter.
    pub share_of_peak: f64,
    /// Sum of the cases' medians.
    pub median_s: f64,
    /// Sum of the cases' processor seconds, over all threads, where the system counts them.
    pub cpu_median_s: Option<f64>,
    /// The measured peak.
    pub peak: Peak,
    /// One entry a workload.
    pub cases: Vec<Measurement>,
}

impl Workload {
    /// `work` with the preset called `model`, over `batch` images at once; `engine` runs encoders that do not learn.
    ///
    /// # Errors
    /// A usage error where there is no such preset.
    pub fn new(work: Work, model: &str, batch: usize, precision: Precision, engine: Engine) -> Result<Self> {
        let engine = if work == Work::Train { Engine::Burn } else { engine };
        let mut config = Preset::find(model)?.config();
        (config.train.batch, config.train.accumulate) = (batch, 1);
        config.train.precision = precision;
        Ok(Self { work, config, engine })
    }

    /// Bytes that the measurement holds: in the machine's memory, and on the device. The latter are a lower bound.
    pub fn memory(&self) -> [f64; 2] {
        let (model, batch) = (&self.config.model, self.config.train.batch as f64);
        let [encoder, predictor] = model.parameter_bytes();
        let hidden = (model.tokens() * (model.mlp + model.dim) * size_of::<f32>()) as f64;
        let computed = match self.work {
            Work::Extract => batch * hidden,
            // The average, gradients and two moments; each block keeps its activations.
            Work::Train => 4.0 * encoder + 3.0 * predictor + batch * hidden,
        };
        [encoder + predictor + batch * model.input_bytes(), computed]
    }

    /// Makes the measurement on a bench whose device reaches `peak`.
    ///
    /// # Errors
    /// A usage error where no mask fits, a device error where the device fails or computes what is no number.
    pub fn measure(&self, repetitions: Repetitions, peak: &Peak, bench: &Bench) -> Result<Measurement> {
        let device = &bench.device;
        match self.work {
            Work::Extract => extract::measure(&self.config, self.engine, repetitions, peak, (bench.spec, device)),
            Work::Train => train::measure(&self.config, repetitions, peak, device),
        }
    }
}

impl Bench {
    /// Opens the device that `spec` names for `workloads`, whose matrix products are of `precision`. A GPU that runs plans
    /// alone needs no kernels of burn: those of a product are taken where this build has them, but for f16.
    ///
    /// # Errors
    /// A device error where this build or this machine lacks the device.
    pub fn open(spec: Spec, precision: Precision, workloads: &[Workload]) -> Result<Self> {
        let with = |engine: Engine| workloads.iter().all(|workload| workload.engine == engine);
        let yardstick = match spec.api {
            // burn's product knows no instructions for bfloat16 on the processor.
            Api::Cpu if precision == Precision::Bf16 => Yardstick::Product(Engine::Compiled),
            Api::Cpu => Yardstick::MultiplyAdds,
            _ if with(Engine::CompiledF16) => Yardstick::Product(Engine::CompiledF16),
            _ if with(Engine::Compiled) && !spec.trains() => Yardstick::Product(Engine::Compiled),
            _ => Yardstick::Product(Engine::Burn),
        };
        let device = match (spec.api, yardstick) {
            (Api::Cpu, _) => Device::flex(),
            (_, Yardstick::Product(Engine::Burn)) => device::open(spec)?,
            _ => Device::flex(),
        };
        Ok(Self { spec, yardstick, device })
    }

    /// Measures the peak in `precision`.
    ///
    /// # Errors
    /// A device error where the device fails or computes what is no number.
    pub fn peak(&self, precision: Precision, repetitions: Repetitions) -> Result<Peak> {
        peak::peak(self.yardstick, precision, repetitions, self.spec, &self.device)
    }
}

impl Measurement {
    /// A measurement by burn of `config` from the seconds of a repetition and the operations of an image.
    fn new(work: Work, config: &RunConfig, flop_per_image: f64, timing: Timing, peak: &Peak) -> Self {
        let batch = config.train.batch;
        let images_per_second = batch as f64 / timing.median_s;
        let gflops = images_per_second * flop_per_image / 1e9;
        Self {
            work,
            engine: Engine::Burn,
            model: config.name.clone(),
            batch,
            precision: Engine::Burn.stored(config.train.precision),
            tokens: config.model.tokens(),
            context_tokens: None,
            target_tokens: None,
            images_per_second,
            gflop_per_image: flop_per_image / 1e9,
            gflops,
            share_of_peak: gflops / peak.gflops,
            cold_start_s: None,
            kernels: Vec::new(),
            timing,
        }
    }
}

impl Summary {
    /// The measurements `cases`, made on the device called `device`, which reaches `peak`.
    pub fn new(device: String, peak: Peak, cases: Vec<Measurement>) -> Self {
        let sum = |value: fn(&Measurement) -> f64| cases.iter().map(value).sum::<f64>();
        let median_s = sum(|case| case.timing.median_s);
        let gflops = sum(|case| case.gflop_per_image * case.batch as f64) / median_s;
        Self {
            device,
            images_per_second: sum(|case| case.batch as f64) / median_s,
            gflops,
            peak_gflops: peak.gflops,
            share_of_peak: gflops / peak.gflops,
            median_s,
            cpu_median_s: cases.iter().map(|case| case.timing.cpu_median_s).sum(),
            peak,
            cases,
        }
    }
}

/// Work, preset and batch of the set by which a processor is judged.
pub const STANDARD: &[(Work, &str, usize)] = &[
    (Work::Extract, "ijepa-vit-b16", 1),
    (Work::Extract, "ijepa-vit-b16", 8),
    (Work::Extract, "ijepa-vit-l16", 1),
    (Work::Extract, "ijepa-vit-l16", 8),
    (Work::Train, "ijepa-vit-s16", 16),
];

/// A set that shows in seconds whether everything runs.
pub const QUICK: &[(Work, &str, usize)] = &[
    (Work::Extract, "ijepa-vit-tiny16", 1),
    (Work::Extract, "ijepa-vit-tiny16", 4),
    (Work::Train, "ijepa-vit-tiny16", 2),
];

/// Different values of what [`repeated`] gives; a prime, so that they repeat at another place in each row of a matrix.
const VALUES: usize = 65_537;

/// Normal values without end, which repeat; `sample` tells them from others. Drawn so, the largest model is ready in
/// seconds.
fn repeated(sample: u64) -> impl Iterator<Item = f32> {
    let mut stream = Stream::new(0, 0, sample, Purpose::Init);
    let values: Vec<f32> = (0..VALUES).map(|_| stream.normal() as f32).collect();
    (0..VALUES).cycle().map(move |at| values[at])
}

/// Random pixels for a batch of `config`, `[B, C F, H, W]`.
fn pixels(config: &RunConfig) -> (Vec<f32>, [usize; 4]) {
    let [planes, height, width] = config.model.input_shape();
    let shape = [config.train.batch, planes, height, width];
    let mut stream = Stream::new(0, 0, 0, Purpose::Augment);
    ((0..shape.iter().product()).map(|_| stream.normal() as f32).collect(), shape)
}
