//! From batches of inputs to frozen features on the host.
//!
//! `B` images, `N` tokens, `D` width, `L` layers joined.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::{Shape, Tokens};
use crate::data::{Batch, Dataset, EvalLoader, EvalPlan, Skip};
use crate::device::read;
use crate::error::Result;
use crate::matrix::Matrix;
use crate::model::{Encoder, Layers};

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

/// What an encoder sees of a picture before its features are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Views {
    /// The picture.
    One,
    /// The picture and its mirror image, left for right; the features are the mean of both, token by token, so that they
    /// are the same for a picture and its mirror image.
    Mirrored,
}

/// Computes features of batches; every way to run an encoder is one of these.
pub trait FeatureEngine {
    /// The features of a batch, one row an image.
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

/// An encoder on any device that burn computes on.
pub struct BurnEngine {
    encoder: Encoder,
    device: Device,
    read_out: ReadOut,
}

impl BurnEngine {
    /// Reads `encoder`, which lies on `device` without autodiff, out as `read_out` says.
    pub fn new(encoder: Encoder, device: Device, read_out: ReadOut) -> Self {
        Self { encoder, device, read_out }
    }
}

impl FeatureEngine for BurnEngine {
    fn encode(&self, batch: &Batch) -> Result<Matrix> {
        let images = TensorData::new(batch.pixels.clone(), batch.shape);
        let tokens = self.encoder.forward_layers(Tensor::from_data(images, &self.device), self.read_out.layers);
        let [rows, count, dim] = tokens.dims();
        read::matrix(match self.read_out.tokens {
            Tokens::Pooled => tokens.mean_dim(1).reshape([rows, dim]),
            Tokens::Patch => tokens.reshape([rows, count * dim]),
        })
    }

    fn shape(&self) -> Shape {
        let layers = match self.read_out.layers {
            Layers::Last => 1,
            Layers::LastOf(count) => count.min(self.encoder.blocks.len()),
        };
        let tokens = match self.read_out.tokens {
            Tokens::Pooled => 1,
            Tokens::Patch => self.encoder.grid().iter().product(),
        };
        Shape { tokens, dim: layers * self.encoder.dim() }
    }
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
        if !batch.samples.is_empty() {
            encoded.features.values.extend(engine.encode(&batch)?.values);
            encoded.features.rows += batch.samples.len();
        }
        progress(batch.samples.len() + batch.skipped.len());
        encoded.samples.extend(batch.samples);
        encoded.skipped.extend(batch.skipped);
    }
    Ok(encoded)
}
