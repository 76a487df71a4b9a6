//! Arguments that several commands take.

use std::ops::{Bound, RangeBounds};

use anyjepa::compile::Dtype;
use anyjepa::device::Spec;
use anyjepa::error::{Error, Result};
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

/// What reads a whole number of `range`, and not more than a `T` holds.
pub fn count<T: TryFrom<u64> + 'static>(
    range: impl RangeBounds<u64>,
) -> impl Fn(&str) -> Result<T> + Clone + Send + Sync + 'static {
    let least = match range.start_bound() {
        Bound::Included(least) | Bound::Excluded(least) => *least,
        Bound::Unbounded => 0,
    };
    let most = match range.end_bound() {
        Bound::Included(most) => *most,
        Bound::Excluded(end) => end.saturating_sub(1),
        Bound::Unbounded => u64::MAX,
    };
    let held = (0..u64::BITS).map(|shift| u64::MAX >> shift).find(|held| T::try_from(*held).is_ok());
    let most = most.min(held.unwrap_or(0));
    move |text| {
        let number = text.parse::<u64>().ok().filter(|number| (least..=most).contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            Error::usage(format!("{text} is not in {least}..={most}"))
                .with_remedy(format!("give a whole number from {least} to {most}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_range_are_read_and_others_are_told_which_it_is() {
        assert_eq!((count::<u16>(1..)("65535").unwrap(), count::<u32>(1..=4)("4").unwrap()), (65_535, 4));
        let said = |read: Result<u16>| {
            let error = read.unwrap_err();
            format!("{error} ({})", error.remedy().unwrap_or("-"))
        };
        let refused = [count::<u16>(1..)("0"), count::<u16>(1..)("65536"), count(2..9)("9"), count(1..=20)("1.5")];
        insta::assert_snapshot!(refused.map(said).join("\n"), @"
        0 is not in 1..=65535 (give a whole number from 1 to 65535)
        65536 is not in 1..=65535 (give a whole number from 1 to 65535)
        9 is not in 2..=8 (give a whole number from 2 to 8)
        1.5 is not in 1..=20 (give a whole number from 1 to 20)
        ");
    }
}
