//! From batches of inputs to frozen features on the host, whatever computes them.
//!
//! `B` images, `N` tokens, `D` width, `L` layers joined.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Shape, Tokens};
use crate::config::Layers;
use crate::data::{Batch, Dataset, EvalLoader, EvalPlan, Skip};
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// Which outputs of an encoder become features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOut {
    /// The blocks.
    pub layers: Layers,
    /// The mean over an image's tokens, or each token.
    pub tokens: Tokens,
    /// What an encoder sees of a picture.
    pub views: Views,
}

impl ReadOut {
    /// The blocks that are read out of an encoder of `depth`, counted from 0.
    ///
    /// # Errors
    /// A usage error where there are not as many.
    pub fn blocks(self, depth: usize) -> Result<Range<usize>> {
        let count = self.layers.count(usize::MAX);
        let first = depth.checked_sub(count).filter(|_| count > 0).ok_or_else(|| {
            Error::usage(format!("the last {count} of {depth} blocks cannot be read out"))
                .with_remedy(format!("choose --layers last, or from -1.. to -{depth}.."))
        })?;
        Ok(first..depth)
    }
}

/// What an encoder sees of a picture before its features are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Views {
    /// The picture.
    One,
    /// The picture and its mirror image, left for right; the features are the mean of both, token by token, so that they
    /// are the same for a picture and its mirror image.
    Mirrored,
}

/// Computes features of batches; every way to run an encoder is one of these.
pub trait FeatureEngine {
    /// The features of a batch, one row an input.
    ///
    /// # Shapes
    /// - output: `[B, L D]` pooled, `[B, N L D]` by patch
    ///
    /// # Errors
    /// A device error where the device fails.
    fn encode(&self, batch: &Batch) -> Result<Matrix>;

    /// What one row holds.
    fn shape(&self) -> Shape;
}

/// The features of a whole data set, as far as its pictures can be read.
pub struct Encoded {
    /// One row a picture.
    pub features: Matrix,
    /// The data set's indices of the rows.
    pub samples: Vec<u64>,
    /// What could not be read.
    pub skipped: Vec<Skip>,
}

/// The features of a batch, one row a sample: the mean over its clips and views.
///
/// # Errors
/// As [`FeatureEngine::encode`].
pub(super) fn encode_samples(engine: &dyn FeatureEngine, batch: &Batch) -> Result<(Vec<u64>, Matrix)> {
    let inputs = engine.encode(batch)?;
    let mut samples = batch.samples.clone();
    samples.dedup();
    if samples.len() == batch.samples.len() {
        return Ok((samples, inputs));
    }
    let mut means = Matrix { rows: samples.len(), cols: inputs.cols, values: Vec::new() };
    let mut rows = inputs.iter_rows();
    for same in batch.samples.chunk_by(|a, b| a == b) {
        let mut mean = vec![0.0; inputs.cols];
        for row in rows.by_ref().take(same.len()) {
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value / same.len() as f32);
        }
        means.values.extend(mean);
    }
    Ok((samples, means))
}

/// Encodes the pictures of `plan` and keeps the features in memory; `progress` hears how many more are done.
///
/// # Errors
/// A device error where the device fails.
pub fn encode_all(
    engine: &dyn FeatureEngine,
    data: &Arc<Dataset>,
    plan: EvalPlan,
    progress: &mut dyn FnMut(usize),
) -> Result<Encoded> {
    let cols = engine.shape().width();
    let mut encoded =
        Encoded { features: Matrix { rows: 0, cols, values: Vec::new() }, samples: Vec::new(), skipped: Vec::new() };
    for batch in EvalLoader::new(Arc::clone(data), plan)? {
        let mut read = 0;
        if !batch.samples.is_empty() {
            let (samples, features) = encode_samples(engine, &batch)?;
            read = samples.len();
            encoded.features.values.extend(features.values);
            encoded.features.rows += read;
            encoded.samples.extend(samples);
        }
        progress(read + batch.skipped.len());
        encoded.skipped.extend(batch.skipped);
    }
    Ok(encoded)
}
