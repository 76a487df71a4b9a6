//! Names of devices, what this machine has of them, and opening one of burn's.

pub(crate) mod adapters;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "wgpu-unfused")]
mod gpu;
mod memory;
#[cfg(feature = "train")]
mod open;
#[cfg(any(feature = "cuda", all(test, feature = "train")))]
mod product;
#[cfg(feature = "train")]
pub mod read;
#[cfg(any(feature = "cuda", test))]
mod toolkit;

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

pub use memory::require_memory;
#[cfg(feature = "train")]
pub use open::open;

use crate::error::{Error, Result, nearest};

/// A way to compute, as `--device` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// The processor.
    Cpu,
    /// Whichever of the three below this machine offers.
    Wgpu,
    /// Vulkan, by wgpu.
    Vulkan,
    /// Metal, by wgpu.
    Metal,
    /// DirectX 12, by wgpu.
    Dx12,
    /// NVIDIA's CUDA.
    Cuda,
}

/// A device's name: an API, and which of its adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spec {
    /// The API.
    pub api: Api,
    /// The adapter's place in `anyjepa devices`; the best one where none is named.
    pub index: Option<usize>,
}

/// One adapter of this machine.
#[derive(Debug, Clone, Serialize)]
pub struct Adapter {
    /// The name that `--device` takes.
    pub device: String,
    /// What its maker calls it.
    pub name: String,
    /// The API that reaches it.
    pub api: Api,
    /// The driver, with its version where it says.
    pub driver: String,
    /// Whether it is a CPU that imitates a GPU.
    pub software: bool,
    /// Largest buffer that a shader can bind, in bytes; 0 where there is no such bound.
    pub max_binding_bytes: u64,
    /// Whether shaders can compute in 16-bit floats.
    pub f16: bool,
    /// Whether shaders have subgroup operations.
    pub subgroups: bool,
}

const NAMES: [(&str, Api); 6] = [
    ("cpu", Api::Cpu),
    ("wgpu", Api::Wgpu),
    ("vulkan", Api::Vulkan),
    ("metal", Api::Metal),
    ("dx12", Api::Dx12),
    ("cuda", Api::Cuda),
];

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, api)| api == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            None => write!(f, "{}", self.api),
            Some(index) => write!(f, "{}:{index}", self.api),
        }
    }
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, index) = match text.split_once(':') {
            None => (text, None),
            Some((name, index)) => (name, Some(index)),
        };
        let Some((_, api)) = NAMES.iter().find(|(known, _)| *known == name) else {
            let error = Error::usage(format!("there is no device `{text}`"));
            return Err(match nearest(name, NAMES.iter().map(|(name, _)| *name)) {
                Some(near) => error.with_remedy(format!("did you mean `{near}`?")),
                None => error.with_remedy("the devices are cpu, wgpu, vulkan, metal, dx12 and cuda, as in `cuda:1`"),
            });
        };
        let index = index.map(str::parse).transpose().map_err(|_| {
            Error::usage(format!("`{text}`: what follows the colon is no number"))
                .with_remedy("`anyjepa devices` lists the names")
        })?;
        if *api == Api::Cpu && index.is_some() {
            return Err(Error::usage("the CPU is one device").with_remedy("write `--device cpu`"));
        }
        Ok(Self { api: *api, index })
    }
}

#[cfg(feature = "train")]
impl Spec {
    /// Whether this build has burn's kernels for the device, which train networks and fit probes.
    pub fn trains(&self) -> bool {
        match self.api {
            Api::Cpu => true,
            Api::Cuda => cfg!(feature = "cuda"),
            Api::Wgpu | Api::Vulkan | Api::Metal | Api::Dx12 => cfg!(feature = "wgpu-unfused"),
        }
    }
}

/// The GPU that our own kernels take for `spec`.
///
/// # Errors
/// A device error where this machine lacks it.
pub fn gpu(spec: Spec) -> Result<Adapter> {
    adapters::choose(spec).map(|found| found.adapter)
}

/// Every device that this build can use, the CPU first.
pub fn list() -> Vec<Adapter> {
    let cpu = Adapter {
        device: "cpu".into(),
        name: cpu_name(),
        api: Api::Cpu,
        driver: concat!("anyjepa ", env!("CARGO_PKG_VERSION")).into(),
        software: false,
        max_binding_bytes: 0,
        f16: false,
        subgroups: false,
    };
    let devices = std::iter::once(cpu).chain(adapters::list());
    #[cfg(feature = "cuda")]
    let devices = devices.chain(cuda::list());
    devices.collect()
}

fn cpu_name() -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    format!("{}, {threads} threads", model.unwrap_or(std::env::consts::ARCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_alike() {
        for name in ["cpu", "wgpu", "vulkan:1", "cuda:0", "metal", "dx12"] {
            assert_eq!(name.parse::<Spec>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn mistakes_are_named_with_a_remedy() {
        let said: Vec<String> = ["gpu", "vulcan", "cuda:x", "cpu:1"]
            .into_iter()
            .map(|text| text.parse::<Spec>().unwrap_err())
            .map(|error| format!("{error} ({})", error.remedy().unwrap_or("-")))
            .collect();
        insta::assert_snapshot!(said.join("\n"), @r"
        there is no device `gpu` (did you mean `wgpu`?)
        there is no device `vulcan` (did you mean `vulkan`?)
        `cuda:x`: what follows the colon is no number (`anyjepa devices` lists the names)
        the CPU is one device (write `--device cpu`)
        ");
    }
}
