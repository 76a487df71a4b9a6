//! Which encoder computes features, and how it is read out: what `extract` and `probe` have in common.

use std::path::Path;

use anyjepa::config::{ModelConfig, Preset};
use anyjepa::device::{Api, Spec};
use anyjepa::error::{Error, Result};
use anyjepa::extract::{FeatureDtype, Frozen, ReadOut, Tokens, Views};
use anyjepa::model::Layers;
use anyjepa::weights;
use burn::tensor::Device;
use clap::{Args, ValueEnum};

use super::EncoderArg;

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
    /// Threads that read and decode pictures; 1 on the CPU and all on a GPU where none are given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum TokensArg {
    #[default]
    Pooled,
    Patch,
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
    /// The encoder in `weights` on `device`, which `spec` names.
    pub fn open(&self, weights: &Path, dtype: FeatureDtype, spec: Spec, device: &Device) -> Result<Opened> {
        let which = self.encoder.map(Into::into);
        let loaded = match &self.model {
            None => weights::open(weights, which)?,
            Some(name) => weights::open_as(weights, which, &Preset::find(name)?.config().model)?,
        };
        let tokens = match self.tokens {
            TokensArg::Pooled => Tokens::Pooled,
            TokensArg::Patch => Tokens::Patch,
        };
        let views = match self.views {
            ViewsArg::One => Views::One,
            ViewsArg::Mirrored => Views::Mirrored,
        };
        let read_out = ReadOut { layers: self.layers, tokens, views };
        let frozen = Frozen::new(&loaded, which.unwrap_or_default(), read_out, dtype, device)?;
        let batch = match self.batch {
            Batch::Auto => auto_batch(&loaded.model, spec.api),
            Batch::Of(batch) => batch,
        };
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        let workers = self.workers.map_or_else(|| if spec.api == Api::Cpu { 1 } else { all() }, usize::from);
        Ok(Opened { frozen, batch, workers })
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
