//! The GPUs of this machine by Vulkan, Metal and DirectX 12, and opening one.

use wgpu::{Backends, DeviceType, Features, Limits};

use super::faults::Faults;
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

/// Every adapter of Vulkan, Metal and DirectX 12.
pub fn list() -> Vec<Adapter> {
    APIS.into_iter().flat_map(adapters).map(|(_, adapter)| adapter).collect()
}

const APIS: [Api; 3] = [Api::Vulkan, Api::Metal, Api::Dx12];

impl Gpu {
    /// Opens an adapter; where none is named, the first that is no software, or else the first.
    ///
    /// # Errors
    /// A device error where this machine lacks the adapter or its driver fails, with what to do.
    pub fn open(spec: Spec, bounds: Bounds, checks: Checks) -> Result<Self> {
        let apis: &[Api] = match spec.api {
            Api::Wgpu => &APIS,
            Api::Cpu | Api::Cuda => {
                return Err(Error::device(format!("`{spec}` is no device for WGSL kernels"))
                    .with_remedy("take vulkan, metal, dx12 or wgpu"));
            }
            _ => std::slice::from_ref(&spec.api),
        };
        let found: Vec<_> = apis.iter().copied().flat_map(adapters).collect();
        let count = found.len();
        let chosen = match spec.index {
            Some(index) => found.into_iter().nth(index),
            None => found.into_iter().min_by_key(|(_, adapter)| adapter.software),
        };
        let Some((opener, adapter)) = chosen else {
            let what = if count == 0 { "no adapter".to_owned() } else { format!("{count} adapters only") };
            return Err(Error::device(format!("`{spec}`: this machine has {what} for this API")).with_remedy(
                "install the GPU's driver (on Debian and Ubuntu `apt install mesa-vulkan-drivers` also brings a \
                 software adapter), see `anyjepa devices`, or take `--device cpu`",
            ));
        };
        if adapter.software {
            tracing::warn!("{} is a CPU that imitates a GPU: right results, slowly", adapter.name);
        }
        let description = wgpu::DeviceDescriptor {
            label: Some("anyjepa"),
            required_features: opener.features() & (Features::SHADER_F16 | Features::TIMESTAMP_QUERY),
            required_limits: match bounds {
                Bounds::Adapter => opener.limits(),
                Bounds::WebGpu => Limits::default(),
            },
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(opener.request_device(&description)).map_err(|error| {
            Error::device(format!("cannot open {} ({}): {error}", adapter.device, adapter.name))
                .with_remedy("update the driver, or take another device of `anyjepa devices`")
        })?;
        let faults = Faults::watch(&device);
        Ok(Self { device, queue, faults, checks, adapter })
    }

    /// What was opened.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }
}

fn adapters(api: Api) -> Vec<(wgpu::Adapter, Adapter)> {
    let backends = match api {
        Api::Vulkan => Backends::VULKAN,
        Api::Metal => Backends::METAL,
        Api::Dx12 => Backends::DX12,
        _ => return Vec::new(),
    };
    let mut description = wgpu::InstanceDescriptor::new_without_display_handle();
    description.backends = backends;
    let found = pollster::block_on(wgpu::Instance::new(description).enumerate_adapters(backends));
    let describe = |(place, adapter): (usize, wgpu::Adapter)| {
        let info = adapter.get_info();
        let features = adapter.features();
        let described = Adapter {
            device: format!("{api}:{place}"),
            name: info.name,
            api,
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            software: info.device_type == DeviceType::Cpu,
            max_binding_bytes: adapter.limits().max_storage_buffer_binding_size,
            f16: features.contains(Features::SHADER_F16),
            subgroups: features.contains(Features::SUBGROUP),
        };
        (adapter, described)
    };
    found.into_iter().enumerate().map(describe).collect()
}
