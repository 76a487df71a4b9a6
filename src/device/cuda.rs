//! NVIDIA GPUs by CUDA, with a check of everything whose absence would go unseen.
//!
//! Without NVRTC or CUDA's headers the kernels fail in the device's own thread, and a read gives back whatever the memory
//! held. So libraries and headers are looked for first, and a small product with a known answer is computed.

use std::path::PathBuf;

use burn::tensor::{Device, DeviceType, Tensor, TensorData};

use super::{Adapter, Api, Spec};
use crate::error::{Error, Result};

/// Names under which NVRTC is installed, as the kernels' compiler looks for them.
const NVRTC: [&str; 6] =
    ["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so.11", "nvrtc64_120_0.dll"];
/// A header that every tensor-core kernel includes.
const HEADER: &str = "include/mma.h";

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
    let opens = |name: &&str| {
        // A library is only opened and closed again; NVRTC has no initialisers that could do harm.
        #[expect(unsafe_code, reason = "opening a shared library runs its initialisers")]
        unsafe { libloading::Library::new(name) }.is_ok()
    };
    if !NVRTC.iter().any(|name| opens(&name)) {
        return Err(Error::device(format!("NVRTC was not found on the loader's path as {}", NVRTC.join(", ")))
            .with_remedy(
                "install the CUDA toolkit or the wheel nvidia-cuda-nvrtc, and put its folder in LD_LIBRARY_PATH",
            ));
    }
    let folders = cuda_folders();
    if !folders.iter().any(|folder| folder.join(HEADER).is_file()) {
        let looked: Vec<String> = folders.iter().map(|folder| folder.join(HEADER).display().to_string()).collect();
        return Err(Error::device(format!("CUDA's headers were not found as {}", looked.join(", ")))
            .with_remedy("install the CUDA toolkit, or set CUDA_PATH to a folder that holds include/mma.h"));
    }
    let device = Device::cuda(index);
    check_product(&device, spec)?;
    Ok(device)
}

/// Where CUDA's folder may lie: CUDA_PATH if it is set, else the usual places.
fn cuda_folders() -> Vec<PathBuf> {
    match std::env::var_os("CUDA_PATH") {
        Some(path) => vec![path.into()],
        None => ["/usr/local/cuda", "/opt/cuda", "/usr"].map(PathBuf::from).to_vec(),
    }
}

/// Multiplies two small matrices of whole numbers, whose product is exact.
fn check_product(device: &Device, spec: Spec) -> Result<()> {
    const SIDE: usize = 32;
    let number = |i: usize| (i % 7) as f32 - 3.0;
    let values: Vec<f32> = (0..SIDE * SIDE).map(number).collect();
    let expected: Vec<f32> = (0..SIDE * SIDE)
        .map(|at| (0..SIDE).map(|k| number(at / SIDE * SIDE + k) * number(k * SIDE + at % SIDE)).sum())
        .collect();
    let matrix = Tensor::<2>::from_data(TensorData::new(values, [SIDE, SIDE]), device);
    let found = matrix.clone().matmul(matrix).try_into_data();
    let found = found.ok().and_then(|data| data.convert::<f32>().try_into_vec::<f32>().ok());
    if found.as_deref() == Some(&expected[..]) {
        return Ok(());
    }
    Err(Error::device(format!("`{spec}` computes a small product with a known answer wrongly"))
        .with_remedy("look for messages of NVRTC above: headers and driver must be of matching CUDA releases"))
}
