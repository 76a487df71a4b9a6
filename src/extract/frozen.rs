//! A frozen encoder: what computes its features, how pictures are prepared for it, and where its features come from.

use std::sync::Arc;

use super::{FeatureEngine, FeatureSet, Provenance, encode_all};
use crate::data::{Dataset, EvalPlan, EvalTransform, Skip};
use crate::error::Result;

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
            times: Vec::new(),
            classes: data.classes().to_vec(),
            provenance: self.provenance.clone(),
            features: encoded.features,
            inputs: encoded.samples,
        };
        Ok((set, encoded.skipped))
    }
}
