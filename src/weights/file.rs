//! Named tensors in a safetensors file, with what must be known of them in its header.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{HostTensor, Tensors};
use crate::error::{Error, IoContext as _, Kind, Result};

/// The header's free text: keys and values.
pub type Metadata = HashMap<String, String>;

/// Writes `tensors` as f32 and syncs the file.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(path: &Path, tensors: &Tensors, metadata: &Metadata) -> Result<()> {
    let bytes = |tensor: &HostTensor| -> Vec<u8> { bytemuck::cast_slice(&tensor.values).to_vec() };
    let buffers: Vec<(&String, &HostTensor, Vec<u8>)> = tensors.iter().map(|(n, t)| (n, t, bytes(t))).collect();
    let mut views = Vec::with_capacity(buffers.len());
    for (name, tensor, buffer) in &buffers {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), buffer)
            .map_err(|error| Error::data(path, format!("{name}: {error}")))?;
        views.push((name.as_str(), view));
    }
    safetensors::serialize_to_file(views, Some(metadata.clone()), path)
        .map_err(|error| Error::new(Kind::Other, format!("cannot write {}: {error}", path.display())))?;
    File::open(path).and_then(|file| file.sync_all()).at("sync", path)
}

/// Reads every floating-point tensor of a file, as f32.
///
/// # Errors
/// A data error where the file is not safetensors or holds integers.
pub fn read(path: &Path) -> Result<(Tensors, Metadata)> {
    let bytes = std::fs::read(path).at("read", path)?;
    let broken = |error: safetensors::SafeTensorError| {
        Error::data(path, format!("not a valid safetensors file: {error}"))
            .with_remedy("fetch or export the file again; it may have been cut short")
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let mut tensors = Tensors::new();
    for (name, view) in file.tensors() {
        let values = floats(view.dtype(), view.data())
            .ok_or_else(|| Error::data(path, format!("{name} has the type {:?}, expected a float", view.dtype())))?;
        tensors.insert(name, HostTensor::new(view.shape().to_vec(), values)?);
    }
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

fn floats(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::BF16 => data.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::F64 => {
            let word = |b: &[u8]| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32;
            data.chunks_exact(8).map(word).collect()
        }
        _ => return None,
    })
}
