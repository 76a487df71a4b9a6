//! GPUs by Vulkan, Metal and DirectX 12, through the wgpu that burn uses.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use burn::tensor::wgpu::WgpuBackend;
use burn::tensor::{Device, DeviceKind};
use wgpu::DeviceType;

use super::adapters::{Found, choose, unopened};
use super::{Api, Spec};
use crate::error::Result;

/// A runtime can be set up once in a process, so opened devices are kept.
static OPENED: Mutex<Option<HashMap<String, Device>>> = Mutex::new(None);

/// Opens an adapter.
pub fn open(spec: Spec) -> Result<Device> {
    let found = choose(spec)?;
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let opened = opened.get_or_insert_default();
    if let Some(device) = opened.get(&found.adapter.device) {
        return Ok(device.clone());
    }
    let api = match found.adapter.api {
        Api::Metal => WgpuBackend::Metal,
        Api::Dx12 => WgpuBackend::Dx12,
        _ => WgpuBackend::Vulkan,
    };
    let device = Device::wgpu_options().graphics_api(api).device_kind(kind(&found)).init();
    let device = device.map_err(|error| unopened(&found.adapter, error))?;
    opened.insert(found.adapter.device, device.clone());
    Ok(device)
}

/// How burn addresses an adapter.
fn kind(found: &Found) -> DeviceKind {
    match found.opener.get_info().device_type {
        DeviceType::DiscreteGpu => DeviceKind::DiscreteGpu(found.of_type),
        DeviceType::IntegratedGpu => DeviceKind::IntegratedGpu(found.of_type),
        DeviceType::Cpu => DeviceKind::Cpu,
        DeviceType::VirtualGpu | DeviceType::Other => DeviceKind::VirtualGpu(found.of_type),
    }
}
