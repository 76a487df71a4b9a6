//! A plan on its device, as an engine of features.

use std::sync::{Mutex, PoisonError};

use super::{FeatureEngine, Shape};
use crate::data::Batch;
use crate::error::Result;
use crate::matrix::Matrix;
use crate::runtime::Engine;

/// A plan and its device; one batch at a time goes through it.
pub struct CompiledEngine {
    engine: Mutex<Box<dyn Engine>>,
    shape: Shape,
}

impl CompiledEngine {
    /// A plan that is on its device, with rows of `shape`.
    pub fn new(engine: Box<dyn Engine>, shape: Shape) -> Self {
        Self { engine: Mutex::new(engine), shape }
    }
}

impl FeatureEngine for CompiledEngine {
    fn encode(&self, batch: &Batch) -> Result<Matrix> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let image: usize = batch.shape[1..].iter().product();
        let cols = self.shape.width();
        let at_once = engine.plan().batch * image;
        let mut features = Matrix { rows: batch.shape[0], cols, values: Vec::with_capacity(batch.shape[0] * cols) };
        let mut padded = Vec::new();
        for images in batch.pixels.chunks(at_once.max(1)) {
            let found = if images.len() == at_once {
                engine.run(images)?
            } else {
                padded.clear();
                padded.extend_from_slice(images);
                padded.resize(at_once, 0.0);
                engine.run(&padded)?
            };
            features.values.extend_from_slice(&found[..images.len() / image.max(1) * cols]);
        }
        Ok(features)
    }

    fn shape(&self) -> Shape {
        self.shape
    }
}
