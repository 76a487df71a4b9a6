//! NVIDIA GPUs by CUDA, with a check of everything whose absence would go unseen.
//!
//! Without NVRTC or CUDA's headers the kernels fail in the device's own thread, and a read gives back whatever the memory
//! held. So libraries and headers are looked for first, and a small product with a known answer is computed.

use burn::tensor::{Device, DeviceType};

use super::{Adapter, Api, Spec, product, toolkit};
use crate::error::{Error, Result};

/// The adapters that the driver lists; none where there is no driver.
pub fn list() -> Vec<Adapter> {
    let devices = Device::enumerate(DeviceType::Cuda).into_vec();
    let describe = |(place, device): (usize, Device)| Adapter {
        device: format!("cuda:{place}"),
        name: device.identity().map_or_else(|| "NVIDIA GPU".to_owned(), |identity| identity.name.to_string()),
        api: Api::Cuda,
        driver: "CUDA".into(),
        software: false,
        max_binding_bytes: 0,
        f16: true,
        subgroups: true,
    };
    devices.into_iter().enumerate().map(describe).collect()
}

/// Opens a GPU after the checks above.
pub fn open(spec: Spec) -> Result<Device> {
    let count = Device::enumerate(DeviceType::Cuda).into_vec().len();
    let index = spec.index.unwrap_or(0);
    if index >= count {
        return Err(Error::device(format!("`{spec}`: the CUDA driver lists {count} GPUs")).with_remedy(
            "install NVIDIA's driver (libcuda.so.1 must be on the loader's path), or take `--device cpu`",
        ));
    }
    let opens = |name: &str| {
        // A library is only opened and closed again; NVRTC has no initialisers that could do harm.
        #[expect(unsafe_code, reason = "opening a shared library runs its initialisers")]
        unsafe { libloading::Library::new(name) }.is_ok()
    };
    toolkit::require(opens, &toolkit::folders(std::env::var_os("CUDA_PATH")))?;
    let device = Device::cuda(index);
    product::check(&device, spec)?;
    Ok(device)
}
