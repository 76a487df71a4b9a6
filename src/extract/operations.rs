//! An encoder operation by operation, as an engine of features.

use burn::tensor::{Device, Tensor, TensorData};

use super::{FeatureEngine, ReadOut, Shape, Tokens};
use crate::data::Batch;
use crate::device::read;
use crate::error::Result;
use crate::matrix::Matrix;
use crate::model::Encoder;

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
            // The mean over the places of a time is taken of these.
            Tokens::Patch | Tokens::Time => tokens.reshape([rows, count * dim]),
        })
    }

    fn shape(&self) -> Shape {
        let tokens = match self.read_out.tokens {
            Tokens::Pooled => 1,
            Tokens::Patch | Tokens::Time => self.encoder.grid().iter().product(),
        };
        Shape { tokens, dim: self.read_out.layers.count(self.encoder.blocks.len()) * self.encoder.dim() }
    }
}
