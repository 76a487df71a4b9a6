//! Named tensors in a safetensors file, with what must be known of them in its header.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use safetensors::tensor::{Dtype, View};

use super::{HostTensor, Store, Tensors};
use crate::error::{Error, IoContext as _, Kind, Result};

/// The header's free text: keys and values.
pub type Metadata = HashMap<String, String>;

/// A tensor as safetensors writes it, without a copy.
struct Borrowed<'a>(&'a HostTensor);

impl View for Borrowed<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(bytemuck::cast_slice(&self.0.values))
    }

    fn data_len(&self) -> usize {
        self.0.values.len() * size_of::<f32>()
    }
}

/// Writes `tensors` as f32 and syncs the file.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(path: &Path, tensors: &Tensors, metadata: &Metadata) -> Result<()> {
    let views = tensors.iter().map(|(name, tensor)| (name.as_str(), Borrowed(tensor)));
    safetensors::serialize_to_file(views, Some(metadata.clone()), path)
        .map_err(|error| Error::new(Kind::Other, format!("cannot write {}: {error}", path.display())))?;
    File::open(path).and_then(|file| file.sync_all()).at("sync", path)
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
