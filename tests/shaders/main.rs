//! The shaders: what they compute, against their twins on the CPU; what every target makes of them; the list of them.

mod compute;
mod cooperative;
mod device;
mod encoder;
mod files;
#[path = "../support/gpu.rs"]
mod gpu;
mod limits;
mod targets;
