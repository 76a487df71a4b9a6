//! The GPUs of this machine by Vulkan, Metal and DirectX 12: what there is, and which one a name means.

use wgpu::{Backends, DeviceType, Features};

use super::{Adapter, Api, Spec};
use crate::error::{Error, Result};

/// An adapter that can be opened.
#[derive(Debug)]
pub(crate) struct Found {
    /// What opens it.
    pub opener: wgpu::Adapter,
    /// What it is.
    pub adapter: Adapter,
    /// How many adapters of its API and type stand before it.
    #[cfg_attr(not(feature = "wgpu-unfused"), expect(dead_code, reason = "burn's wgpu counts adapters by type"))]
    pub of_type: usize,
}

const APIS: [Api; 3] = [Api::Vulkan, Api::Metal, Api::Dx12];

/// Every adapter.
pub(super) fn list() -> impl Iterator<Item = Adapter> {
    APIS.into_iter().flat_map(adapters).map(|found| found.adapter)
}

/// The adapter that `spec` names; where it names none, the first of its API that is no software, or else the first.
///
/// # Errors
/// A device error where this machine lacks it, with what to install.
pub(crate) fn choose(spec: Spec) -> Result<Found> {
    let apis: &[Api] = match spec.api {
        Api::Wgpu => &APIS,
        _ => std::slice::from_ref(&spec.api),
    };
    let found: Vec<Found> = apis.iter().copied().flat_map(adapters).collect();
    let count = found.len();
    let chosen = match spec.index {
        Some(index) => found.into_iter().nth(index),
        None => found.into_iter().min_by_key(|found| found.adapter.software),
    };
    let Some(found) = chosen else {
        let elsewhere = match spec.api {
            Api::Metal if cfg!(not(target_vendor = "apple")) => Some("Apple's systems"),
            Api::Dx12 if cfg!(not(windows)) => Some("Windows"),
            _ => None,
        };
        if let Some(systems) = elsewhere {
            return Err(Error::device(format!("`{spec}`: this API is there on {systems} alone")).with_remedy(
                "take `--device wgpu`, which means whatever this machine has, or another device of `anyjepa devices`",
            ));
        }
        let what = match count {
            0 => "no adapter".to_owned(),
            1 => "one adapter only".to_owned(),
            _ => format!("{count} adapters only"),
        };
        return Err(Error::device(format!("`{spec}`: this machine has {what} for this API")).with_remedy(
            "install the GPU's driver (on Debian and Ubuntu `apt install mesa-vulkan-drivers` also brings a software \
             adapter), see `anyjepa devices`, or take `--device cpu`",
        ));
    };
    if found.adapter.software {
        tracing::warn!("{} is a CPU that imitates a GPU: right results, slowly", found.adapter.name);
    }
    Ok(found)
}

/// That `adapter` could not be opened.
pub(crate) fn unopened(adapter: &Adapter, why: impl std::fmt::Display) -> Error {
    Error::device(format!("cannot open {} ({}): {why}", adapter.device, adapter.name))
        .with_remedy("update the driver, or take another device of `anyjepa devices`")
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
    // No size of a launch comes from the device's memory.
    description.flags.remove(wgpu::InstanceFlags::VALIDATION_INDIRECT_CALL);
    let openers = pollster::block_on(wgpu::Instance::new(description).enumerate_adapters(backends));
    let mut types = Vec::new();
    let mut found = Vec::new();
    for (place, opener) in openers.into_iter().enumerate() {
        let (info, features) = (opener.get_info(), opener.features());
        let kind = match info.device_type {
            DeviceType::Other => DeviceType::VirtualGpu,
            kind => kind,
        };
        let of_type = types.iter().filter(|other| **other == kind).count();
        types.push(kind);
        let adapter = Adapter {
            device: format!("{api}:{place}"),
            name: info.name,
            api,
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            software: kind == DeviceType::Cpu,
            max_binding_bytes: opener.limits().max_storage_buffer_binding_size,
            f16: features.contains(Features::SHADER_F16),
            subgroups: features.contains(Features::SUBGROUP),
        };
        found.push(Found { opener, adapter, of_type });
    }
    found
}

#[cfg(all(test, not(windows)))]
mod tests {
    use super::*;

    #[test]
    fn an_api_of_other_systems_cannot_be_installed() {
        let error = choose("dx12".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "`dx12`: this API is there on Windows alone");
        assert!(error.remedy().is_some_and(|remedy| !remedy.contains("install")));
    }
}
