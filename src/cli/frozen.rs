//! Which encoder computes features, and how it is read out: what `extract` and `probe` have in common.

use std::path::Path;

use anyjepa::config::{ModelConfig, Preset};
use anyjepa::device::{self, Api, Spec};
use anyjepa::error::{Error, Result};
use anyjepa::extract::package::Package;
use anyjepa::extract::{FeatureDtype, Frozen, ReadOut, Views, Way};
use anyjepa::model::Layers;
use anyjepa::weights;
use clap::{Args, ValueEnum};

use super::{EncoderArg, TokensArg};

/// How an encoder is read out.
#[derive(Debug, Args)]
pub struct FrozenArgs {
    /// The preset whose weights these are, where they do not say it themselves
    #[arg(long, value_name = "PRESET")]
    model: Option<String>,
    /// Which of a checkpoint's encoders; without it the target encoder, or whichever a Hugging Face folder holds
    #[arg(long, value_enum)]
    encoder: Option<EncoderArg>,
    /// One vector a picture, the mean of its patches', or one a patch
    #[arg(long, value_enum, default_value_t)]
    tokens: TokensArg,
    /// A picture as it is, or the mean of its features and those of its mirror image, left for right
    #[arg(long, value_enum, default_value_t)]
    views: ViewsArg,
    /// The last block, or the last N joined as -N.., each after the final norm
    #[arg(long, value_name = "last|-N..", default_value = "last", value_parser = parse_layers, allow_hyphen_values = true)]
    layers: Layers,
    /// Pictures of a forward pass, or auto: as many as suit the model and the device
    #[arg(long, value_name = "N|auto", default_value = "auto", value_parser = parse_batch)]
    batch: Batch,
    /// What runs the encoder: our own kernels, or burn's; without it ours, but on cuda burn's
    #[arg(long, value_enum)]
    engine: Option<EngineArg>,
    /// Threads that read and decode pictures; 1 on the CPU and all on a GPU where none are given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
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
enum ViewsArg {
    #[default]
    One,
    Mirrored,
}

#[derive(Debug, Clone, Copy)]
enum Batch {
    Auto,
    Of(usize),
}

/// An encoder that is ready, and how pictures are fed to it.
pub struct Opened {
    pub frozen: Frozen,
    pub batch: usize,
    pub workers: usize,
}

impl FrozenArgs {
    /// The encoder in `weights` on the device `spec`, for about so many `pictures`.
    pub fn open(&self, weights: &Path, dtype: FeatureDtype, spec: Spec, pictures: usize) -> Result<Opened> {
        let which = self.encoder.map(Into::into);
        let loaded = match &self.model {
            None => weights::open(weights, which)?,
            Some(name) => weights::open_as(weights, which, &Preset::find(name)?.config().model)?,
        };
        let views = match self.views {
            ViewsArg::One => Views::One,
            ViewsArg::Mirrored => Views::Mirrored,
        };
        let batch = match self.batch {
            Batch::Auto => auto_batch(&loaded.model, spec.api),
            Batch::Of(batch) => batch,
        };
        let way = match self.engine(spec) {
            EngineArg::Compiled => Way::Compiled { device: spec, batch: batch.min(pictures.max(1)) },
            EngineArg::Burn => Way::Burn(device::open(spec)?),
        };
        let read_out = ReadOut { layers: self.layers, tokens: self.tokens.into(), views };
        let frozen = Frozen::new(&loaded, which.unwrap_or_default(), read_out, dtype, &way)?;
        Ok(Opened { frozen, batch, workers: self.workers(spec) })
    }

    /// The compiled encoder in the folder `package`, on the device `spec`.
    pub fn open_package(&self, package: &Path, dtype: FeatureDtype, spec: Spec) -> Result<Opened> {
        let package = Package::open(package)?;
        let batch = package.plan.batch;
        Ok(Opened { frozen: package.load(spec, dtype)?, batch, workers: self.workers(spec) })
    }

    fn workers(&self, spec: Spec) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.map_or_else(|| if spec.api == Api::Cpu { 1 } else { all() }, usize::from)
    }

    /// What runs the encoder on the device `spec`: our kernels do not run through CUDA.
    pub fn engine(&self, spec: Spec) -> EngineArg {
        let ours = if spec.api == Api::Cuda { EngineArg::Burn } else { EngineArg::Compiled };
        self.engine.unwrap_or(ours)
    }
}

/// As many pictures as keep the largest activation of a block, `[B, N, mlp]`, within what the device takes at ease.
fn auto_batch(model: &ModelConfig, api: Api) -> usize {
    const MOST: usize = 256;
    // A CPU is no faster with more; a GPU is not busy with less.
    let bytes = if api == Api::Cpu { 32 << 20 } else { 512 << 20 };
    let one = model.tokens() * model.mlp * size_of::<f32>();
    (bytes / one.max(1)).clamp(1, MOST)
}

fn parse_layers(text: &str) -> Result<Layers> {
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
