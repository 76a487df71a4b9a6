//! Which encoder computes features, and how it is read out: what `extract` and `probe` have in common.

use std::path::Path;

use anyjepa::config::Layers;
use anyjepa::data::EvalTransform;
use anyjepa::device::{self, Api, Spec};
use anyjepa::error::{Error, Result};
use anyjepa::extract::package::Package;
use anyjepa::extract::{FeatureDtype, Frozen, Times};
use clap::{Args, ValueEnum};

use super::arguments::count;
use super::{DtypeArg, EncoderArg, TokensArg, sampling};

/// How an encoder is read out. What takes these options has the encoder in a group `encoder_source`.
#[derive(Debug, Args)]
pub struct FrozenArgs {
    /// The preset whose weights these are, where they do not say it themselves
    #[arg(long, requires = "encoder_source", value_name = "PRESET")]
    pub(super) model: Option<String>,
    /// Which of a checkpoint's encoders; without it the target encoder, or whichever a Hugging Face folder holds
    #[arg(long, requires = "encoder_source", value_enum)]
    pub(super) encoder: Option<EncoderArg>,
    /// What is taken of the tokens of a picture or clip; where nothing is said their mean, and for attentive probes each
    #[arg(long, requires = "encoder_source", value_enum)]
    pub(super) tokens: Option<TokensArg>,
    /// A picture as it is, or the mean of its features and those of its mirror image, left for right
    #[arg(long, requires = "encoder_source", value_enum, default_value_t)]
    pub(super) views: ViewsArg,
    /// The last block, or the last N joined as -N.., each after the final norm
    #[arg(long, requires = "encoder_source", value_name = "last|-N..", default_value = "last", value_parser = parse_layers, allow_hyphen_values = true)]
    pub(super) layers: Layers,
    /// Which frames of a film are seen, where not as the weights say: frames, stride or fps, clips and views, such as
    /// clips=8,views=3
    #[arg(long, requires = "encoder_source", value_name = "KEY=VALUE,..", value_delimiter = ',', value_parser = sampling::parse)]
    pub(super) sampling: Vec<sampling::Change>,
    /// Pictures of a forward pass, or auto: as many as suit the model and the device
    #[arg(long, requires = "encoder_source", value_name = "N|auto", default_value = "auto", value_parser = parse_batch)]
    pub(super) batch: Batch,
    /// What runs the encoder: our own kernels, or burn's; without it ours, but on cuda burn's
    #[arg(long, requires = "encoder_source", value_enum)]
    pub(super) engine: Option<EngineArg>,
    /// How the encoder's weights and most of its values are stored while it computes: f16 on a GPU, bf16 on the CPU
    #[arg(long, requires = "encoder_source", value_enum, default_value_t)]
    pub(super) precision: DtypeArg,
    /// Threads that read and decode pictures; 1 on the CPU and all on a GPU where none are given
    #[arg(long, requires = "encoder_source", value_name = "N", value_parser = count::<u16>(1..=256))]
    pub(super) workers: Option<u16>,
}

/// What runs an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineArg {
    /// A plan of our own kernels, on the CPU or a GPU of any make
    Compiled,
    /// Operation by operation, as in training
    Burn,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum ViewsArg {
    #[default]
    One,
    Mirrored,
}

#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "train"), expect(dead_code, reason = "a package has its own batch"))]
pub enum Batch {
    Auto,
    Of(usize),
}

/// An encoder that is ready, and how pictures are fed to it.
pub struct Opened {
    pub frozen: Frozen,
    /// When what a row of features holds is seen.
    pub times: Times,
    pub batch: usize,
    pub workers: usize,
}

impl FrozenArgs {
    /// The compiled encoder in the folder `package` on the device `spec`, for so many `pictures`.
    pub fn open_package(&self, package: &Path, dtype: FeatureDtype, spec: Spec, pictures: usize) -> Result<Opened> {
        let package = Package::open(package)?;
        let (batch, times) = (package.plan.batch, package.times());
        require_room(&package.transform, batch, pictures)?;
        Ok(Opened { frozen: package.load(spec, dtype)?, times, batch, workers: self.workers(spec) })
    }

    pub(super) fn workers(&self, spec: Spec) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.map_or_else(|| if spec.api == Api::Cpu { 1 } else { all() }, usize::from)
    }
}

/// Refuses batches of `batch` samples, of so many `pictures`, that memory cannot hold.
pub(super) fn require_room(transform: &EvalTransform, batch: usize, pictures: usize) -> Result<()> {
    /// One that is computed with; of each thread's part one that is put together and two that wait.
    const BATCHES: usize = 4;
    let inputs = batch.saturating_mul(BATCHES).min(pictures) as f64 * transform.sampling().inputs() as f64;
    let bytes = inputs * transform.input().values() as f64 * size_of::<f32>() as f64;
    device::require_memory(Spec { api: Api::Cpu, index: None }, bytes, 0.0).map_err(|error| {
        error.with_remedy(
            "take fewer clips and views (--sampling, data.sampling) or a smaller batch (--batch, also of `anyjepa compile`)",
        )
    })
}

pub(super) fn parse_layers(text: &str) -> Result<Layers> {
    if text.eq_ignore_ascii_case("last") {
        return Ok(Layers::Last);
    }
    let count = text.strip_prefix('-').and_then(|rest| rest.strip_suffix("..")).and_then(|count| count.parse().ok());
    count.filter(|count| *count > 0).map(Layers::LastOf).ok_or_else(|| {
        Error::usage("these are no blocks").with_remedy("write last, or -4.. for the last four blocks joined")
    })
}

fn parse_batch(text: &str) -> Result<Batch> {
    if text == "auto" {
        return Ok(Batch::Auto);
    }
    let batch = text.parse().ok().filter(|batch| (1..=65_536).contains(batch));
    batch
        .map(Batch::Of)
        .ok_or_else(|| Error::usage("this is no batch").with_remedy("write auto, or a number from 1 to 65536"))
}
