//! Weights on a device, ready to extract: the encoder, how pictures are prepared for it, and where its features come
//! from.

use std::sync::Arc;

use burn::tensor::Device;

use super::mirrored::Mirrored;
use super::{
    BurnEngine, CompiledEngine, FeatureDtype, FeatureEngine, FeatureSet, Provenance, ReadOut, Views, encode_all,
};
use crate::config::Precision;
use crate::data::{Dataset, EvalPlan, EvalTransform, Skip};
use crate::device::Spec;
use crate::error::Result;
use crate::model::{Encoder, Init};
use crate::weights::{self, Loaded, Which};

/// How an encoder is run.
#[derive(Debug, Clone)]
pub enum Way {
    /// Operation by operation, on a device of burn.
    Burn(Device),
    /// As a plan of our own kernels.
    Compiled {
        /// The device.
        device: Spec,
        /// The most images of a batch.
        batch: usize,
    },
}

/// An encoder that no longer learns.
pub struct Frozen {
    /// Computes the features.
    pub engine: Box<dyn FeatureEngine>,
    /// Prepares pictures as the weights ask for.
    pub transform: EvalTransform,
    /// Where the features come from.
    pub provenance: Provenance,
}

impl Frozen {
    /// Puts `loaded` where `way` says; weights that do not say which encoder they are count as `which`.
    ///
    /// # Errors
    /// A usage error where there are not as many blocks as are to be read out; a data error where the weights ask for
    /// pictures that this crate cannot prepare; a device error where there is no such device or it fails.
    pub fn new(loaded: &Loaded, which: Which, read_out: ReadOut, dtype: FeatureDtype, way: &Way) -> Result<Self> {
        let provenance = Provenance::of(loaded, which, read_out, dtype)?;
        let transform = loaded.provenance.preprocessing.transform(loaded.model.image_size)?;
        let engine: Box<dyn FeatureEngine> = match way {
            Way::Burn(device) => {
                let encoder = Encoder::new(&loaded.model, Precision::F32, Init::Constant, device);
                let encoder = weights::load(encoder, "", &loaded.tensors)?;
                Box::new(BurnEngine::new(encoder, device.clone(), read_out))
            }
            Way::Compiled { device, batch } => Box::new(CompiledEngine::new(loaded, read_out, *batch, *device)?),
        };
        let engine = match read_out.views {
            Views::One => engine,
            Views::Mirrored => Box::new(Mirrored(engine)),
        };
        Ok(Self { engine, transform, provenance })
    }

    /// The features of all pictures of `data` in memory, and what could not be read; `progress` hears how many more are
    /// done.
    ///
    /// # Errors
    /// A device error where the device fails.
    pub fn features(
        &self,
        data: &Arc<Dataset>,
        batch: usize,
        workers: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(FeatureSet, Vec<Skip>)> {
        let plan = EvalPlan { batch, workers, transform: self.transform.clone(), samples: 0..data.len() };
        let encoded = encode_all(self.engine.as_ref(), data, plan, progress)?;
        let of_row = || encoded.samples.iter().map(|&sample| sample as usize);
        let set = FeatureSet {
            shape: self.engine.shape(),
            names: of_row().map(|i| data.name(i)).collect(),
            labels: of_row().map(|i| data.label(i)).collect(),
            classes: data.classes().to_vec(),
            provenance: self.provenance.clone(),
            features: encoded.features,
            inputs: encoded.samples,
        };
        Ok((set, encoded.skipped))
    }
}
