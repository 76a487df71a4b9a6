//! The configuration of a run: what a preset, a file, the environment and the command line can say.
//!
//! Every key is always present in a resolved configuration, so that the file beside a run says all there is to say.

mod changes;
mod layers;
mod mask;
mod model;
mod preset;
mod resolve;
mod sampling;
mod validate;

use serde::{Deserialize, Serialize};

pub use layers::Layers;
pub use mask::{BlockConfig, MaskConfig, MaskMode, MaskShape, RangeConfig, TubeConfig};
pub use model::{Grid, ModelConfig, Positions, PredictorConfig};
pub use preset::{PRESETS, Preset};
pub use resolve::{Sources, resolve};
pub use sampling::Sampling;

use crate::error::{Error, Result};

/// All of a run's configuration, as it stands in `config.toml` beside a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The preset from which the configuration was made.
    pub name: String,
    /// The encoder and the predictor.
    pub model: ModelConfig,
    /// How a picture becomes an input.
    pub data: DataConfig,
    /// Which tokens are context and which are targets.
    pub mask: MaskConfig,
    /// What the predictor is trained to match.
    pub loss: LossConfig,
    /// Optimizer and schedules.
    pub optim: OptimConfig,
    /// The loop.
    pub train: TrainConfig,
}

/// How a picture becomes an input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Mean of each channel, for values from 0 to 1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, for values from 0 to 1.
    pub std: Vec<f32>,
    /// Share of the picture's area that a training crop keeps, from and to.
    pub crop_scale: [f64; 2],
    /// Width over height of a training crop, from and to.
    pub crop_aspect: [f64; 2],
    /// Probability of a horizontal flip.
    pub flip: f64,
    /// Short side to which a picture is resized (bicubic; clips linearly, without antialiasing) before its centre is cropped,
    /// outside training.
    pub resize: usize,
    /// How clips are taken from films; where it is left out, one clip of frames that follow each other.
    #[serde(default)]
    pub sampling: Sampling,
}

/// The distance between a prediction and its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Huber's with beta 1: the published code's.
    SmoothL1,
    /// The mean square: the paper's.
    L2,
    /// The mean absolute difference: V-JEPA's.
    L1,
}

/// What the predictor predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// The layer-normed output of the target encoder.
    Features,
    /// Ablation: the patch's own pixels, each patch normalised.
    Pixels,
}

/// What the predictor is trained to match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossConfig {
    /// The distance.
    pub kind: LossKind,
    /// What is predicted.
    pub target: TargetKind,
    /// Weight of VICReg's variance term on the context features; 0 leaves it out.
    pub variance: f64,
    /// Weight of VICReg's covariance term on the context features; 0 leaves it out.
    pub covariance: f64,
    /// Which context features VICReg's terms spread; `pooled` where it is left out.
    #[serde(default)]
    pub spread: SpreadOf,
}

/// Which features VICReg's terms keep apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpreadOf {
    /// The mean over the tokens, one row a sample: inputs are kept apart.
    #[default]
    Pooled,
    /// The tokens, a row each: what is within an input is kept apart as well, small differences between frames among it.
    Tokens,
}

/// Optimizer and schedules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimConfig {
    /// Passes over the data.
    pub epochs: usize,
    /// Epochs of linear warm-up.
    pub warmup_epochs: f64,
    /// Length of the schedules over the length of the run (`ipe_scale` of the reference).
    pub schedule_scale: f64,
    /// Learning rate at the start of the warm-up.
    pub start_lr: f64,
    /// Learning rate at its peak.
    pub lr: f64,
    /// Learning rate at the schedule's end.
    pub final_lr: f64,
    /// Weight decay at the start.
    pub weight_decay: f64,
    /// Weight decay at the schedule's end.
    pub final_weight_decay: f64,
    /// Momentum of the target encoder at the start and at the schedule's end.
    pub ema: [f64; 2],
    /// AdamW's decay of the first and of the second moment.
    pub betas: [f64; 2],
    /// AdamW's epsilon.
    pub eps: f64,
    /// Largest global norm of a gradient once the warm-up is over, the encoder's and the predictor's each on its own; 0
    /// leaves them as they are.
    pub clip_norm: f64,
}

/// The arithmetic of matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits throughout.
    F32,
    /// Matrix products in bfloat16; parameters, gradients, norms and softmax in 32 bits.
    Bf16,
}

/// What is done when the health of the features shows a collapse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCollapse {
    /// It is said, and the run goes on.
    #[default]
    Warn,
    /// The run ends.
    Stop,
}

/// The loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Images of one forward pass; masks are cut to a common size within it.
    pub batch: usize,
    /// Forward passes whose gradients make one step.
    pub accumulate: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// The arithmetic of matrix products.
    pub precision: Precision,
    /// Threads that decode pictures; 0 decodes in the loop itself.
    pub workers: usize,
    /// Steps between two lines of metrics.
    pub log_every: usize,
    /// Steps between two looks at the health of the features; 0 looks never.
    pub health_every: usize,
    /// What is done when they show a collapse.
    pub on_collapse: OnCollapse,
    /// Steps between two checkpoints; the end of the run always makes one.
    pub checkpoint_every: usize,
    /// Checkpoints at a multiple of this many steps are kept for good; 0 keeps the last two only.
    pub keep_every: usize,
}

impl RunConfig {
    /// The configuration as TOML, every key of it.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a configuration has nothing TOML cannot say")
    }

    /// Reads what [`RunConfig::to_toml`] wrote.
    ///
    /// # Errors
    /// A usage error where a key is missing, unknown, or has a value that cannot work.
    pub fn from_toml(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text)
            .map_err(|error| Error::usage(format!("not a run's configuration: {}", error.message())))?;
        config.validate()?;
        Ok(config)
    }

    /// BLAKE3 of [`RunConfig::to_toml`], as hexadecimal digits.
    pub fn hash(&self) -> String {
        blake3::hash(self.to_toml().as_bytes()).to_hex().to_string()
    }
}
