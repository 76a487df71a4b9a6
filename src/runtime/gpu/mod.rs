//! Runs a plan on a GPU of any maker, through wgpu: memory and pipelines are made once, each batch is one pass.

mod adapter;
mod cooperative;
mod engine;
mod faults;
mod memory;
mod pipeline;
mod square;
mod tiles;
mod timing;
mod trusted;

pub use adapter::{Bounds, Checks, Gpu};
pub use engine::GpuEngine;
pub use pipeline::TileChoice;
pub use square::Square;
pub use tiles::{Tiles, candidates, fastest};
