//! Named tensors in a safetensors file, with what must be known of them in its header.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use safetensors::tensor::{Dtype, TensorInfo};

use super::{FileEntry, Store, Tensors};
use crate::atomic::{self, partial_path};
use crate::error::{Error, IoContext as _, Kind, Result};
use crate::faults::{self, Point};

/// The header's free text: keys and values.
pub type Metadata = HashMap<String, String>;

/// Writes `tensors` as f32, in the order of their names, and syncs the file; its size and sum are those of what was
/// written, whatever the disk makes of it.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(path: &Path, tensors: &Tensors, metadata: &Metadata) -> Result<FileEntry> {
    let header = header(tensors, metadata)
        .map_err(|error| Error::new(error.kind(), format!("cannot write {}: {error}", path.display())))?;
    let length = header.len() + bytes(tensors);
    let sum = fill(path, &header, tensors).writing(path, length)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(FileEntry::new(&name, length as u64, sum))
}

/// Writes as [`write`] does, whole or not at all.
///
/// # Errors
/// Where the file cannot be written; then nothing is left of it.
pub fn place(path: &Path, tensors: &Tensors, metadata: &Metadata) -> Result<()> {
    let partial = partial_path(path);
    write(&partial, tensors, metadata)
        .and_then(|_| atomic::rename(&partial, path))
        // What is half written is of no use, and the disk may be full.
        .inspect_err(|_| drop(fs::remove_file(&partial)))
}

/// The bytes of a file of these.
///
/// # Errors
/// Where they cannot be described in a header.
pub fn length(tensors: &Tensors, metadata: &Metadata) -> Result<usize> {
    Ok(header(tensors, metadata)?.len() + bytes(tensors))
}

/// The bytes of all tensors as f32.
fn bytes(tensors: &Tensors) -> usize {
    tensors.values().map(|tensor| size_of_val(tensor.values.as_slice())).sum()
}

/// The length of the header, and the header, padded so that tensors are aligned.
fn header(tensors: &Tensors, metadata: &Metadata) -> Result<Vec<u8>> {
    fn other(error: impl std::fmt::Display) -> Error {
        Error::new(Kind::Other, error.to_string())
    }
    let mut end = 0;
    let entries = tensors.iter().map(|(name, tensor)| {
        let start = end;
        end += size_of_val(tensor.values.as_slice());
        (name.clone(), TensorInfo { dtype: Dtype::F32, shape: tensor.shape.clone(), data_offsets: (start, end) })
    });
    let described = safetensors::tensor::Metadata::new(Some(metadata.clone()), entries.collect()).map_err(other)?;
    let mut text = serde_json::to_vec(&described).map_err(other)?;
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.extend(text);
    Ok(header)
}

fn fill(path: &Path, header: &[u8], tensors: &Tensors) -> io::Result<blake3::Hash> {
    faults::at(Point::TensorsCreate)?;
    let mut file = File::create(path)?;
    let mut sum = blake3::Hasher::new();
    let mut put = |content: &[u8]| {
        sum.update(content);
        file.write_all(content)
    };
    put(header)?;
    for (i, tensor) in tensors.values().enumerate() {
        if i == tensors.len() / 2 {
            faults::at(Point::TensorsWrite)?;
        }
        put(bytemuck::cast_slice(&tensor.values))?;
    }
    atomic::sync(&file, Point::TensorsSync)?;
    Ok(sum.finalize())
}

/// Reads every floating-point tensor of a file, as f32.
///
/// # Errors
/// A data error where the file is not safetensors or holds integers.
pub fn read(path: &Path) -> Result<(Tensors, Metadata)> {
    let store = Store::safetensors(path)?;
    let mut tensors = Tensors::new();
    for (name, entry) in &store.entries {
        let tensor = entry.floats().map_err(|error| Error::data(path, format!("{name}: {error}")))?;
        tensors.insert(name.clone(), tensor);
    }
    Ok((tensors, store.metadata))
}
