//! An opened GPU.

use wgpu::{Features, Limits};

use super::faults::Faults;
use crate::device::adapters::{choose, unopened};
use crate::device::{Adapter, Api, Spec};
use crate::error::{Error, Result};

/// How large a device's buffers and workgroups may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// As large as the adapter can.
    Adapter,
    /// As large as WebGPU promises everywhere.
    WebGpu,
}

/// Whether shaders check what they index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checks {
    /// They do: for tests.
    On,
    /// They do not.
    Off,
}

/// An opened GPU.
#[derive(Debug)]
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) faults: Faults,
    pub(super) checks: Checks,
    adapter: Adapter,
}

impl Gpu {
    /// Opens an adapter; where none is named, the first that is no software, or else the first.
    ///
    /// # Errors
    /// A device error where this machine lacks the adapter or its driver fails, with what to do.
    pub fn open(spec: Spec, bounds: Bounds, checks: Checks) -> Result<Self> {
        if let Api::Cpu | Api::Cuda = spec.api {
            return Err(Error::device(format!("`{spec}` is no device for WGSL kernels"))
                .with_remedy("take vulkan, metal, dx12 or wgpu"));
        }
        let found = choose(spec)?;
        let description = wgpu::DeviceDescriptor {
            label: Some("anyjepa"),
            required_features: found.opener.features() & (Features::SHADER_F16 | Features::TIMESTAMP_QUERY),
            required_limits: match bounds {
                Bounds::Adapter => found.opener.limits(),
                Bounds::WebGpu => Limits::default(),
            },
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let opened = pollster::block_on(found.opener.request_device(&description));
        let (device, queue) = opened.map_err(|error| unopened(&found.adapter, error))?;
        let faults = Faults::watch(&device);
        Ok(Self { device, queue, faults, checks, adapter: found.adapter })
    }

    /// What was opened.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }
}
