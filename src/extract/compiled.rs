//! A plan on its device, as an engine of features.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{FeatureEngine, Shape};
use crate::compile::{Dispatch, Kernel};
use crate::data::Batch;
use crate::error::Result;
use crate::matrix::Matrix;
use crate::runtime::Engine;

/// What a dispatch took.
#[derive(Debug, Clone)]
pub struct Timed {
    /// What it did.
    pub kernel: Kernel,
    /// By which variant of a shader; none on the processor.
    pub shader: Option<String>,
    /// Bytes that it reads and writes, each once.
    pub bytes: usize,
    /// How long it took by itself.
    pub time: Duration,
}

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

    /// How long each dispatch takes, by the device's own clock, for the first images that the plan takes at once; nothing
    /// where the device shows none.
    ///
    /// # Errors
    /// A data error where there are fewer, a device error where the device fails.
    pub fn time(&self, batch: &Batch) -> Result<Option<Vec<Timed>>> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let image: usize = batch.shape[1..].iter().product();
        let at_once = (engine.plan().batch * image).min(batch.pixels.len());
        let Some(times) = engine.time(&batch.pixels[..at_once])? else { return Ok(None) };
        let plan = engine.plan();
        let timed = |(i, (dispatch, time)): (usize, (&Dispatch, Duration))| Timed {
            kernel: dispatch.kernel,
            shader: engine.shader(i).map(Into::into),
            bytes: plan.traffic(dispatch),
            time,
        };
        Ok(Some(plan.dispatches.iter().zip(times).enumerate().map(timed).collect()))
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
