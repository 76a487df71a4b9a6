//! From weights to a frozen encoder on a device: run operation by operation, or compiled on the spot.

use std::cell::RefCell;

use burn::tensor::Device;

use super::mirrored::Mirrored;
use super::per_time::PerTime;
use super::{
    BurnEngine, CompiledEngine, FeatureDtype, FeatureEngine, Frozen, Provenance, ReadOut, Shape, Tokens, Views,
};
use crate::compile::{self, Buffer, Dtype, Take, compile};
use crate::config::{ModelConfig, Precision};
use crate::device::Spec;
use crate::error::{Error, Result};
use crate::model::{Encoder, Init};
use crate::runtime::{self, TooLarge};
use crate::weights::{self, Loaded, Tensors, Which};

/// How an encoder is run.
#[derive(Debug, Clone)]
pub enum EngineChoice {
    /// Operation by operation, on a device of burn.
    Burn(Device),
    /// As a plan of our own kernels.
    Compiled {
        /// The device.
        device: Spec,
        /// The most images of a batch.
        batch: usize,
        /// How weights and most values are stored.
        dtype: Dtype,
    },
}

impl Frozen {
    /// Puts `loaded` where `choice` says; weights that do not say which encoder they are count as `which`.
    ///
    /// # Errors
    /// A usage error where there are not as many blocks as are to be read out, or no times; a data error where the weights ask for
    /// pictures that this crate cannot prepare; a device error where there is no such device or it fails.
    pub fn new(
        loaded: Loaded,
        which: Which,
        read_out: ReadOut,
        dtype: FeatureDtype,
        choice: &EngineChoice,
    ) -> Result<Self> {
        let mut provenance = Provenance::of(&loaded, which, read_out, dtype)?;
        let transform = loaded.provenance.preprocessing.transform(loaded.model.image_size)?;
        if read_out.tokens == Tokens::Time {
            require_times(&loaded.model, transform.sampling().clips)?;
        }
        let times = loaded.model.grid().time;
        let engine: Box<dyn FeatureEngine> = match choice {
            EngineChoice::Burn(device) => {
                let encoder = Encoder::new(&loaded.model, Precision::F32, Init::Constant, device);
                let encoder = weights::load(encoder, "", &loaded.tensors)?;
                Box::new(BurnEngine::new(encoder, device.clone(), read_out))
            }
            EngineChoice::Compiled { device, batch, dtype } => {
                provenance.precision = *dtype;
                Box::new(CompiledEngine::compile(&loaded.model, loaded.tensors, read_out, *batch, *dtype, *device)?)
            }
        };
        let engine = match read_out.tokens {
            Tokens::Time => Box::new(PerTime { engine, times }),
            Tokens::Pooled | Tokens::Patch => engine,
        };
        let engine = match read_out.views {
            Views::One => engine,
            Views::Mirrored => Box::new(Mirrored(engine)),
        };
        Ok(Self { engine, transform, provenance })
    }
}

/// Refuses features of each time where there is none, or where a row is the mean over clips of other times.
fn require_times(model: &ModelConfig, clips: usize) -> Result<()> {
    let refused = match (model.frames, clips) {
        (..2, _) => "a picture has no time: the model does not see clips".to_owned(),
        (_, ..2) => return Ok(()),
        (_, clips) => format!("features are the mean over {clips} clips of a film, which are seen at other times"),
    };
    Err(Error::usage(refused).with_remedy("take pooled features or those of each patch: --tokens pooled or patch"))
}

impl ReadOut {
    /// What the compiler calls it, for an encoder of `depth` blocks.
    pub fn compiled(self, depth: usize) -> compile::Outputs {
        let take = match self.tokens {
            Tokens::Pooled => Take::Mean,
            // The mean over the places of a time is taken of these.
            Tokens::Patch | Tokens::Time => Take::Tokens,
        };
        compile::Outputs { layers: self.layers.count(depth), take }
    }
}

impl CompiledEngine {
    /// Compiles an encoder of `model` with the weights `tensors`, stored as `dtype`, for batches of at most `batch` images,
    /// and brings it to `device`; each tensor is gone once it is there.
    ///
    /// # Errors
    /// A data error where a weight is missing or mis-shaped, a device error where there is no such device or it fails.
    pub fn compile(
        model: &ModelConfig,
        tensors: Tensors,
        read_out: ReadOut,
        batch: usize,
        dtype: Dtype,
        device: Spec,
    ) -> Result<Self> {
        let read_out = read_out.compiled(model.depth);
        let tokens = match read_out.take {
            Take::Mean => 1,
            Take::Tokens => model.tokens(),
            Take::Kept(keep) => keep,
        };
        let plan = compile(model, batch, read_out, dtype)?;
        let tensors = RefCell::new(tensors);
        let weights = |buffer: &Buffer| weights::taken_by_plan(&mut tensors.borrow_mut(), buffer);
        let engine = runtime::open(device, plan, TooLarge::Split, &weights)?;
        Ok(Self::new(engine, Shape { tokens, dim: read_out.layers * model.dim }))
    }
}
