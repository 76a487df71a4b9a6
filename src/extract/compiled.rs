//! An encoder compiled to a plan, as an engine of features.
//!
//! `B` images, `N` tokens, `D` width, `L` layers joined.

use std::sync::{Mutex, PoisonError};

use super::{FeatureEngine, ReadOut, Shape, Tokens};
use crate::compile::{self, Dtype, Take, compile_within};
use crate::data::Batch;
use crate::device::Spec;
use crate::error::Result;
use crate::matrix::Matrix;
use crate::model::Layers;
use crate::runtime::{self, Engine};
use crate::weights::{self, Loaded};

impl ReadOut {
    /// What the compiler calls it, for an encoder of `depth` blocks.
    pub fn compiled(self, depth: usize) -> compile::ReadOut {
        let layers = match self.layers {
            Layers::Last => 1,
            Layers::LastOf(count) => count.min(depth),
        };
        let take = match self.tokens {
            Tokens::Pooled => Take::Mean,
            Tokens::Patch => Take::Tokens,
        };
        compile::ReadOut { layers, take }
    }
}

/// A plan and its device; one batch at a time goes through it.
pub struct CompiledEngine {
    engine: Mutex<Box<dyn Engine>>,
    shape: Shape,
}

impl CompiledEngine {
    /// Compiles `loaded` for batches of at most `batch` images and brings it to `device`.
    ///
    /// # Errors
    /// A data error that lists the weights which the model lacks or which have another shape; a device error where
    /// there is no such device or it is too small.
    pub fn new(loaded: &Loaded, read_out: ReadOut, batch: usize, device: Spec) -> Result<Self> {
        let model = &loaded.model;
        let read_out = read_out.compiled(model.depth);
        let tokens = match read_out.take {
            Take::Mean => 1,
            Take::Tokens => model.tokens(),
        };
        let plan = |bound: usize| compile_within(model, batch, read_out, Dtype::F32, bound);
        let engine = runtime::open(device, plan, &|buffer| weights::of_plan(&loaded.tensors, buffer))?;
        Ok(Self::of(engine, Shape { tokens, dim: read_out.layers * model.dim }))
    }

    /// A plan that is on its device already, with rows of `shape`.
    pub(super) fn of(engine: Box<dyn Engine>, shape: Shape) -> Self {
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
