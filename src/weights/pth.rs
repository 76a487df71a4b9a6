//! PyTorch's own files: pickles that are parsed and never run, and the storages that they name.

use std::collections::BTreeMap;
use std::path::Path;

use pytorch_reader::{DType, FileFormat, PickleValue, PytorchError, PytorchReader};
use serde_json::Value;

use super::Metadata;
use super::store::{Container, Dtype, Entry, Store};
use crate::error::{Error, Result};

/// Packages whose classes stand harmlessly in checkpoints, as numbers, paths and options.
const KNOWN_PACKAGES: &[&str] = &["torch.", "numpy.", "collections.", "argparse.", "pathlib."];

/// Lists the tensors and the plain values of the PyTorch file at `path`.
///
/// # Errors
/// A data error where it is damaged, where its tensors are of a kind that has no plain form, or where it names code
/// that no checkpoint needs.
pub(super) fn open(path: &Path) -> Result<Store> {
    let broken = |error: PytorchError| match error {
        PytorchError::Io(error) if error.raw_os_error().is_some() => Error::io("read", path, error),
        PytorchError::InvalidFormat(problem) => Error::data(path, format!("cannot be read as weights: {problem}"))
            .with_remedy("give a .pth.tar, .safetensors, a Hugging Face folder or a run's folder"),
        other => Error::data(path, format!("the PyTorch checkpoint cannot be read: {other}"))
            .with_remedy("fetch the file again; if it is whole, save the model's state_dict() alone with torch.save"),
    };
    let mut values = BTreeMap::new();
    let mut foreign = Vec::new();
    let root = PytorchReader::read_pickle_data(path, None).map_err(broken)?;
    flatten(root, String::new(), &mut values, &mut foreign);
    if let Some(name) = foreign.first() {
        return Err(Error::data(path, format!("the pickle asks to run `{name}`; nothing of it was run"))
            .with_remedy("do not load this file in Python; ask whoever made it for a safetensors file"));
    }
    let reader = PytorchReader::new(path).map_err(broken)?;
    let container = match reader.metadata().format_type {
        FileFormat::Zip => Container::PytorchZip,
        FileFormat::Tar => Container::PytorchTar,
        FileFormat::Legacy => Container::PytorchLegacy,
        FileFormat::Pickle => Container::Pickle,
    };
    let tensors = reader.into_tensors().into_iter();
    let entries = tensors.map(|(name, tensor)| (name, Entry::pytorch(path, dtype(tensor.dtype()), tensor))).collect();
    Ok(Store { container, entries, metadata: Metadata::new(), values })
}

fn dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    }
}

/// Collects the plain values under `path`, dictionaries opened, and the names of what is neither plain nor known.
fn flatten(value: PickleValue, path: String, values: &mut BTreeMap<String, Value>, foreign: &mut Vec<String>) {
    let PickleValue::Dict(entries) = value else {
        if let Some(value) = plain(value, foreign) {
            values.insert(path, value);
        }
        return;
    };
    for (key, value) in entries {
        let path = if path.is_empty() { key } else { format!("{path}.{key}") };
        flatten(value, path, values, foreign);
    }
}

/// A value as JSON; none for tensors and for objects without a plain form.
fn plain(value: PickleValue, foreign: &mut Vec<String>) -> Option<Value> {
    Some(match value {
        PickleValue::None => Value::Null,
        PickleValue::Bool(value) => value.into(),
        PickleValue::Int(value) => value.into(),
        PickleValue::Float(value) => value.into(),
        PickleValue::String(value) => value.into(),
        PickleValue::Bytes(value) => format!("{} bytes", value.len()).into(),
        PickleValue::List(items) => items.into_iter().filter_map(|item| plain(item, foreign)).collect(),
        PickleValue::Dict(entries) => {
            let sorted: BTreeMap<String, PickleValue> = entries.into_iter().collect();
            let entries = sorted.into_iter().filter_map(|(key, value)| Some((key, plain(value, foreign)?)));
            Value::Object(entries.collect())
        }
        PickleValue::Unsupported(name) => {
            // An integer wider than 64 bits has no package.
            if name != "int" && !KNOWN_PACKAGES.iter().any(|package| name.starts_with(package)) {
                foreign.push(name);
            }
            return None;
        }
    })
}
