//! The whole way from a model's configuration to a plan.

use super::import::capture;
use super::schedule::schedule;
use super::{Dtype, Graph, Outputs, Plan, passes};
use crate::config::ModelConfig;
use crate::device::{Api, Spec, require_memory};
use crate::error::Result;

/// How often the table of positions is held while the model is recorded: by the model, by its tensor, by the record and
/// by what tells it from other tensors.
const TABLES: f64 = 4.0;

/// The recognised graph of an encoder of `model` over `batch` images.
///
/// # Errors
/// A failure that names an operation which the compiler does not know; a device error where the table of positions does not
/// fit into memory.
pub fn graph_of(model: &ModelConfig, batch: usize, outputs: Outputs) -> Result<Graph> {
    // A model that turns queries and keys can be of any size whatever its weights are.
    require_memory(Spec { api: Api::Cpu, index: None }, TABLES * model.table_bytes(), 0.0)?;
    Ok(passes::run(&capture(model, batch, outputs)?))
}

/// The plan of an encoder of `model` for batches of `batch` images.
///
/// # Errors
/// A failure that names an operation which no kernel computes.
pub fn compile(model: &ModelConfig, batch: usize, outputs: Outputs, dtype: Dtype) -> Result<Plan> {
    schedule(&graph_of(model, batch, outputs)?, dtype)
}
