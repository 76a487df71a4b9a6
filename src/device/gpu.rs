//! GPUs by Vulkan, Metal and DirectX 12, through the wgpu that burn uses.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use burn::tensor::wgpu::WgpuBackend;
use burn::tensor::wgpu::wgpu::{self, Backends, DeviceType};
use burn::tensor::{Device, DeviceKind};

use super::{Adapter, Api, Spec};
use crate::error::{Error, Result};

/// A runtime can be set up once in a process, so opened devices are kept.
static OPENED: Mutex<Option<HashMap<String, Device>>> = Mutex::new(None);

/// An adapter and how burn addresses it.
struct Found {
    adapter: Adapter,
    kind: DeviceKind,
}

/// Every adapter of Vulkan, Metal and DirectX 12.
pub fn list() -> Vec<Adapter> {
    [Api::Vulkan, Api::Metal, Api::Dx12].into_iter().flat_map(adapters).map(|found| found.adapter).collect()
}

/// Opens an adapter; where none is named, the first that is no software, or else the first.
pub fn open(spec: Spec) -> Result<Device> {
    let apis: &[Api] = match spec.api {
        Api::Wgpu => &[Api::Vulkan, Api::Metal, Api::Dx12],
        _ => std::slice::from_ref(&spec.api),
    };
    let found: Vec<Found> = apis.iter().copied().flat_map(adapters).collect();
    let count = found.len();
    let chosen = match spec.index {
        Some(index) => found.into_iter().nth(index),
        None => found.into_iter().min_by_key(|found| found.adapter.software),
    };
    let Some(Found { adapter, kind }) = chosen else {
        let what = if count == 0 { "no adapter".to_owned() } else { format!("{count} adapters only") };
        return Err(Error::device(format!("`{spec}`: this machine has {what} for this API")).with_remedy(
            "install the GPU's driver (on Debian and Ubuntu `apt install mesa-vulkan-drivers` also brings a software \
             adapter), see `anyjepa devices`, or take `--device cpu`",
        ));
    };
    if adapter.software {
        tracing::warn!("{} is a CPU that imitates a GPU: right results, slowly", adapter.name);
    }
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let opened = opened.get_or_insert_default();
    if let Some(device) = opened.get(&adapter.device) {
        return Ok(device.clone());
    }
    let api = match adapter.api {
        Api::Metal => WgpuBackend::Metal,
        Api::Dx12 => WgpuBackend::Dx12,
        _ => WgpuBackend::Vulkan,
    };
    let device = Device::wgpu_options().graphics_api(api).device_kind(kind).init().map_err(|error| {
        Error::device(format!("cannot open {} ({}): {error}", adapter.device, adapter.name))
            .with_remedy("update the driver, or take another device of `anyjepa devices`")
    })?;
    opened.insert(adapter.device, device.clone());
    Ok(device)
}

fn adapters(api: Api) -> Vec<Found> {
    let backends = match api {
        Api::Vulkan => Backends::VULKAN,
        Api::Metal => Backends::METAL,
        Api::Dx12 => Backends::DX12,
        _ => return Vec::new(),
    };
    let mut description = wgpu::InstanceDescriptor::new_without_display_handle();
    description.backends = backends;
    let instance = wgpu::Instance::new(description);
    let mut of_type: HashMap<u8, usize> = HashMap::new();
    let adapters = pollster::block_on(instance.enumerate_adapters(backends));
    let describe = |(place, adapter): (usize, wgpu::Adapter)| {
        let info = adapter.get_info();
        let (features, limits) = (adapter.features(), adapter.limits());
        let slot = match info.device_type {
            DeviceType::DiscreteGpu => 0,
            DeviceType::IntegratedGpu => 1,
            DeviceType::Cpu => 3,
            DeviceType::VirtualGpu | DeviceType::Other => 2,
        };
        let counter = of_type.entry(slot).or_default();
        let number = *counter;
        *counter += 1;
        let kind = match slot {
            0 => DeviceKind::DiscreteGpu(number),
            1 => DeviceKind::IntegratedGpu(number),
            3 => DeviceKind::Cpu,
            _ => DeviceKind::VirtualGpu(number),
        };
        let adapter = Adapter {
            device: format!("{api}:{place}"),
            name: info.name,
            api,
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            software: info.device_type == DeviceType::Cpu,
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            f16: features.contains(wgpu::Features::SHADER_F16),
            subgroups: features.contains(wgpu::Features::SUBGROUP),
        };
        Found { adapter, kind }
    };
    adapters.into_iter().enumerate().map(describe).collect()
}
