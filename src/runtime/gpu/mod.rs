//! Runs a plan on a GPU of any maker, through wgpu: memory and pipelines are made once, each batch is one pass.

mod adapter;
mod engine;
mod faults;
mod memory;
mod pipeline;
mod trusted;

pub use adapter::{Bounds, Checks, Gpu, list};
pub use engine::GpuEngine;
