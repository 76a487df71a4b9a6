//! The mean of a picture's features and those of its mirror image, by any engine.

use super::{FeatureEngine, Shape};
use crate::data::Batch;
use crate::error::Result;
use crate::matrix::Matrix;

/// An engine that sees each picture twice; its features are the same for a picture and its mirror image.
pub struct Mirrored(pub Box<dyn FeatureEngine>);

impl FeatureEngine for Mirrored {
    fn encode(&self, batch: &Batch) -> Result<Matrix> {
        let mut features = self.0.encode(batch)?;
        let mut mirrored = batch.clone();
        mirrored.pixels.chunks_exact_mut(batch.shape[3].max(1)).for_each(<[f32]>::reverse);
        let other = self.0.encode(&mirrored)?;
        features.values.iter_mut().zip(other.values).for_each(|(value, other)| *value = (*value + other) / 2.0);
        Ok(features)
    }

    fn shape(&self) -> Shape {
        self.0.shape()
    }
}
