//! Arguments that several commands take.

use anyjepa::compile::Dtype;
use anyjepa::device::Spec;
use anyjepa::extract::{FeatureDtype, Tokens};
use anyjepa::weights::Which;
use clap::{Args, ValueEnum};

/// Where a command computes.
#[derive(Debug, Args)]
pub struct DeviceArgs {
    /// Where to compute: cpu, wgpu, vulkan, metal, dx12 or cuda, with :N for the Nth adapter
    #[arg(long, value_name = "DEVICE", default_value = "cpu", env = "ANYJEPA_DEVICE")]
    pub device: Spec,
}

/// How a command prints its results.
#[derive(Debug, Clone, Copy, Args)]
pub struct OutputArgs {
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Which of a checkpoint's encoders a command takes.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum EncoderArg {
    /// The moving average, which the published results use
    Target,
    /// The one that gradients train
    Context,
}

impl From<EncoderArg> for Which {
    fn from(encoder: EncoderArg) -> Self {
        match encoder {
            EncoderArg::Target => Self::Target,
            EncoderArg::Context => Self::Context,
        }
    }
}

/// What is taken of the tokens of a picture or clip.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum TokensArg {
    /// One vector, the mean of all
    #[default]
    Pooled,
    /// One vector a patch, or a tubelet of a clip
    Patch,
    /// One vector a time of a clip, the mean of its tubelets
    Time,
}

impl From<TokensArg> for Tokens {
    fn from(tokens: TokensArg) -> Self {
        match tokens {
            TokensArg::Pooled => Self::Pooled,
            TokensArg::Patch => Self::Patch,
            TokensArg::Time => Self::Time,
        }
    }
}

/// How the values of features are stored.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum FeatureDtypeArg {
    #[default]
    F32,
    F16,
}

impl From<FeatureDtypeArg> for FeatureDtype {
    fn from(dtype: FeatureDtypeArg) -> Self {
        match dtype {
            FeatureDtypeArg::F32 => Self::F32,
            FeatureDtypeArg::F16 => Self::F16,
        }
    }
}

/// How an encoder's weights and most of its values are stored while it computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum DtypeArg {
    /// 32 bits
    #[default]
    F32,
    /// 16 bits, on GPUs that know them
    F16,
    /// Weights of 16 bits, on the CPU
    Bf16,
}

impl From<DtypeArg> for Dtype {
    fn from(dtype: DtypeArg) -> Self {
        match dtype {
            DtypeArg::F32 => Self::F32,
            DtypeArg::F16 => Self::F16,
            DtypeArg::Bf16 => Self::Bf16,
        }
    }
}
