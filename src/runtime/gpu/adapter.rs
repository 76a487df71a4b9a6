//! An opened GPU.

use std::sync::{Arc, OnceLock};

use wgpu::{Features, Limits};

use super::cooperative;
use super::faults::{Faults, caught};
use super::trusted;
use crate::compile::wgsl::Matrices;
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
    /// The matrix units that the adapter lists.
    listed: Option<Matrices>,
    /// Those whose results are right.
    trusted: OnceLock<Option<Matrices>>,
}

impl Gpu {
    /// Opens an adapter; where none is named, the first that is no software, or else the first.
    ///
    /// # Errors
    /// A device error where this machine lacks the adapter or its driver fails, with what to do; a usage error where
    /// `ANYJEPA_COOPERATIVE` is neither `auto` nor `never`.
    pub fn open(spec: Spec, bounds: Bounds, checks: Checks) -> Result<Self> {
        if let Api::Cpu | Api::Cuda = spec.api {
            return Err(Error::device(format!("`{spec}` is no device for WGSL kernels"))
                .with_remedy("take vulkan, metal, dx12 or wgpu"));
        }
        let found = choose(spec)?;
        // They are part of no limits of WebGPU's.
        let mut listed = match bounds {
            Bounds::Adapter if cooperative::wanted()? => {
                let properties = found.opener.cooperative_matrix_properties();
                cooperative::listed(found.opener.features(), &found.opener.get_info(), &properties)
            }
            _ => None,
        };
        let useful = Features::SHADER_F16 | Features::TIMESTAMP_QUERY;
        let description = wgpu::DeviceDescriptor {
            label: Some("anyjepa"),
            required_features: found.opener.features() & useful,
            required_limits: match bounds {
                Bounds::Adapter => found.opener.limits(),
                Bounds::WebGpu => Limits::default(),
            },
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let doing = format!("open {}", found.adapter.device);
        let open = |with: &_| caught(&doing, || pollster::block_on(found.opener.request_device(with)));
        let mut opened = None;
        if listed.is_some() {
            let with = wgpu::DeviceDescriptor {
                required_features: description.required_features | cooperative::FEATURES,
                experimental_features: trusted::experimental(),
                ..description.clone()
            };
            match open(&with)? {
                Ok(with) => opened = Some(Ok(with)),
                Err(error) => {
                    tracing::warn!("{} does without its matrix units: {error}", found.adapter.device);
                    listed = None;
                }
            }
        }
        let opened = match opened {
            Some(opened) => opened,
            None => open(&description)?,
        };
        let (device, queue) = opened.map_err(|error| unopened(&found.adapter, error))?;
        let faults = Faults::watch(&device);
        Ok(Self { device, queue, faults, checks, adapter: found.adapter, listed, trusted: OnceLock::new() })
    }

    /// What was opened.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// The matrix units that the adapter lists, right or wrong.
    pub fn listed(&self) -> Option<Matrices> {
        self.listed
    }

    /// The matrix units that plans may use: listed, and found right, the first time that this is asked.
    pub fn cooperative(self: &Arc<Self>) -> Option<Matrices> {
        *self.trusted.get_or_init(|| cooperative::checked(self))
    }
}
