//! The whole way from a model's configuration to a plan.

use super::import::capture;
use super::schedule::schedule;
use super::{Dtype, Graph, Plan, ReadOut, passes};
use crate::config::ModelConfig;
use crate::error::Result;

/// The recognised graph of an encoder of `model` over `batch` images.
///
/// # Errors
/// A failure that names an operation which the compiler does not know.
pub fn graph_of(model: &ModelConfig, batch: usize, read_out: ReadOut) -> Result<Graph> {
    Ok(passes::run(&capture(model, batch, read_out)?))
}

/// The plan of an encoder of `model` for batches of `batch` images.
///
/// # Errors
/// A failure that names an operation which no kernel computes.
pub fn compile(model: &ModelConfig, batch: usize, read_out: ReadOut, dtype: Dtype) -> Result<Plan> {
    schedule(&graph_of(model, batch, read_out)?, dtype)
}

/// The plan for batches of at most `batch` images whose buffers have at most `bound` bytes each, as by [`Plan::within`].
///
/// # Errors
/// As [`compile`].
pub fn compile_within(
    model: &ModelConfig,
    batch: usize,
    read_out: ReadOut,
    dtype: Dtype,
    bound: usize,
) -> Result<Plan> {
    Ok(compile(model, batch, read_out, dtype)?.within(bound))
}
