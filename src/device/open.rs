//! Opening a device of burn.

use burn::tensor::Device;

#[cfg(feature = "cuda")]
use super::cuda;
#[cfg(feature = "wgpu-unfused")]
use super::gpu;
use super::{Api, Spec};
#[cfg(not(all(feature = "wgpu-unfused", feature = "cuda")))]
use crate::error::Error;
use crate::error::Result;

/// Opens a device, without autodiff.
///
/// # Errors
/// A device error where this build lacks the API or this machine lacks the adapter, with what to install.
pub fn open(spec: Spec) -> Result<Device> {
    match spec.api {
        Api::Cpu => Ok(Device::flex()),
        #[cfg(feature = "wgpu-unfused")]
        Api::Wgpu | Api::Vulkan | Api::Metal | Api::Dx12 => gpu::open(spec),
        #[cfg(not(feature = "wgpu-unfused"))]
        Api::Wgpu | Api::Vulkan | Api::Metal | Api::Dx12 => Err(not_built(spec, "wgpu")),
        #[cfg(feature = "cuda")]
        Api::Cuda => cuda::open(spec),
        #[cfg(not(feature = "cuda"))]
        Api::Cuda => Err(not_built(spec, "cuda")),
    }
}

#[cfg(not(all(feature = "wgpu-unfused", feature = "cuda")))]
fn not_built(spec: Spec, feature: &str) -> Error {
    let compiled = if feature == "wgpu" { "; where a command has `--engine`, `compiled` needs no feature" } else { "" };
    Error::device(format!("burn's operations cannot use the device `{spec}` in this build")).with_remedy(format!(
        "build with `cargo build --release --features {feature}`, or take `--device cpu`{compiled}"
    ))
}
