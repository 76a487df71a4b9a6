//! Weights as an encoder that is ready to compute features.

use std::path::Path;

use anyjepa::config::{ModelConfig, Preset};
use anyjepa::device::{self, Api, Spec};
use anyjepa::error::{Error, Result};
use anyjepa::extract::{EngineChoice, FeatureDtype, Frozen, ReadOut, Times, Views};
use anyjepa::weights::{self, Loaded, Which};

use super::frozen::{Batch, EngineArg, FrozenArgs, Opened, ViewsArg, require_room};
use super::{DtypeArg, EncoderArg, sampling};

/// The weights at `path`, which are those of the preset called `model` where they do not say it themselves.
pub(super) fn open(path: &Path, which: Option<Which>, model: Option<&str>) -> Result<Loaded> {
    match model {
        None => weights::open(path, which),
        Some(name) => weights::open_as(path, which, &Preset::find(name)?.config().model),
    }
}

/// The weights that `encoder` names where it is a path, none where it is a preset, of which `which` and `model` say nothing.
pub(super) fn of_weights(encoder: &str, which: Option<EncoderArg>, model: Option<&str>) -> Result<Option<Loaded>> {
    let path = Path::new(encoder);
    if path.exists() {
        return open(path, which.map(Into::into), model).map(Some);
    }
    let misplaced =
        [(which.is_some(), "--encoder", "chooses of weights"), (model.is_some(), "--model", "says what weights are")];
    match misplaced.into_iter().find(|(given, ..)| *given) {
        None => Ok(None),
        Some((_, option, why)) => Err(Error::usage(format!("{encoder} does not exist, and {option} {why}"))
            .with_remedy(format!("name weights, or a preset without {option}"))),
    }
}

impl FrozenArgs {
    /// The encoder in `weights` on the device `spec`, for about so many `pictures`.
    pub fn open(&self, weights: &Path, dtype: FeatureDtype, spec: Spec, pictures: usize) -> Result<Opened> {
        let engine = self.engine(spec);
        require_known(self.precision, engine, spec)?;
        let which = self.encoder.map(Into::into);
        let mut loaded = open(weights, which, self.model.as_deref())?;
        sampling::apply(&self.sampling, &mut loaded)?;
        let views = match self.views {
            ViewsArg::One => Views::One,
            ViewsArg::Mirrored => Views::Mirrored,
        };
        let batch = match self.batch {
            Batch::Auto => auto_batch(&loaded.model, spec.api),
            Batch::Of(batch) => batch,
        };
        let choice = match engine {
            EngineArg::Compiled => {
                EngineChoice::Compiled { device: spec, batch: batch.min(pictures.max(1)), dtype: self.precision.into() }
            }
            EngineArg::Burn => {
                let [encoder, _] = loaded.model.parameter_bytes();
                device::require_memory(spec, loaded.model.table_bytes(), encoder)?;
                EngineChoice::Burn(device::open(spec)?)
            }
        };
        let read_out = ReadOut { layers: self.layers, tokens: self.tokens.unwrap_or_default().into(), views };
        let frames = [loaded.model.frames, loaded.model.grid().time];
        let frozen = Frozen::new(loaded, which.unwrap_or_default(), read_out, dtype, &choice)?;
        require_room(&frozen.transform, batch, pictures)?;
        let times = Times::of(frames, read_out.tokens, frozen.transform.sampling().clips);
        Ok(Opened { frozen, times, batch, workers: self.workers(spec) })
    }

    /// What runs the encoder on the device `spec`: our kernels do not run through CUDA.
    pub fn engine(&self, spec: Spec) -> EngineArg {
        let ours = if spec.api == Api::Cuda { EngineArg::Burn } else { EngineArg::Compiled };
        self.engine.unwrap_or(ours)
    }
}

/// Refuses a precision that `engine` has not got on the device `spec`.
fn require_known(precision: DtypeArg, engine: EngineArg, spec: Spec) -> Result<()> {
    let (problem, remedy) = match (engine, precision, spec.api) {
        (_, DtypeArg::F32, _) => return Ok(()),
        (EngineArg::Burn, _, Api::Cuda) => {
            ("compiled encoders alone have weights of 16 bits", "leave out --precision, or take --device vulkan")
        }
        (EngineArg::Burn, ..) => {
            ("compiled encoders alone have weights of 16 bits", "leave out --precision, or take --engine compiled")
        }
        (EngineArg::Compiled, DtypeArg::F16, Api::Cpu) => {
            ("the CPU knows no values of f16", "take --precision bf16 or f32, or a GPU with --device")
        }
        (EngineArg::Compiled, DtypeArg::Bf16, api) if api != Api::Cpu => {
            ("a GPU knows no values of bf16", "take --precision f16 or f32, or --device cpu")
        }
        (EngineArg::Compiled, ..) => return Ok(()),
    };
    Err(Error::usage(problem).with_remedy(remedy))
}

/// As many pictures as keep the largest activation of a block, `[B, N, mlp]`, within what the device takes at ease.
fn auto_batch(model: &ModelConfig, api: Api) -> usize {
    const MOST: usize = 256;
    // A CPU is no faster with more; a GPU is not busy with less.
    let bytes = if api == Api::Cpu { 32 << 20 } else { 512 << 20 };
    let one = model.tokens() * model.mlp * size_of::<f32>();
    (bytes / one.max(1)).clamp(1, MOST)
}
