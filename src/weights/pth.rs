//! PyTorch's own files: pickles that are parsed and never run, and the storages that they name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pytorch_reader::{DType, FileFormat, PickleValue, PytorchError, PytorchReader};
use serde_json::Value;

use super::store::{Container, Dtype, Entry, Store};
use super::{Metadata, bounds};
use crate::error::{Error, IoContext as _, Result};

/// What helps where a checkpoint holds something that this crate refuses to take in.
const ALONE: &str = "save the model's state_dict() alone with torch.save, or as safetensors";

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
    bounds::check(path)?;
    let root = PytorchReader::read_pickle_data(path, None).map_err(broken)?;
    let mut paths = Paths::default();
    paths.collect(&root, "").map_err(|problem| Error::data(path, problem).with_remedy(ALONE))?;
    flatten(root, String::new(), &mut values);
    let reader = PytorchReader::new(path).map_err(broken)?;
    let container = match reader.metadata().format_type {
        FileFormat::Zip => Container::PytorchZip,
        FileFormat::Tar => Container::PytorchTar,
        FileFormat::Legacy => Container::PytorchLegacy,
        FileFormat::Pickle => Container::Pickle,
    };
    let length = std::fs::metadata(path).at("read", path)?.len();
    let claimed = reader.tensors().values().fold(0u64, |sum, tensor| sum.saturating_add(tensor.byte_len() as u64));
    if claimed > most_claimed(length) {
        let problem = format!("its tensors claim {claimed} bytes, the file has {length}");
        return Err(Error::data(path, problem).with_remedy(ALONE));
    }
    let tensors = reader.into_tensors().into_iter();
    let entries = tensors.map(|(name, tensor)| (name, Entry::pytorch(path, dtype(tensor.dtype()), tensor))).collect();
    Ok(Store { container, entries, metadata: Metadata::new(), values })
}

/// The most bytes of tensors that a file of `length` bytes may claim. Tensors share storages, and an expanded one repeats
/// a storage's few bytes; both are rare, and a storage that is compressed is mostly zeros.
fn most_claimed(length: u64) -> u64 {
    const SHARED: u64 = 4;
    const REPEATED: u64 = 64 << 20;
    length.saturating_mul(SHARED).saturating_add(REPEATED)
}

/// The dotted paths of the values of a pickle.
#[derive(Debug, Default)]
struct Paths {
    tensors: BTreeSet<String>,
    bytes: usize,
}

impl Paths {
    /// Collects those below `path`. A dictionary's long key can stand before each of a million values.
    fn collect(&mut self, value: &PickleValue, path: &str) -> Result<(), String> {
        /// Two thousand tensors take a hundred kilobytes.
        const MOST: usize = 32 << 20;
        self.bytes += path.len();
        if self.bytes > MOST {
            return Err(format!("the names of its values take more than {} MiB", MOST >> 20));
        }
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match value {
            PickleValue::Dict(entries) => entries.iter().try_for_each(|(key, value)| self.collect(value, &below(key))),
            PickleValue::List(items) => {
                items.iter().enumerate().try_for_each(|(i, item)| self.collect(item, &below(&i.to_string())))
            }
            PickleValue::Unsupported(name) if name == "torch.Tensor" && !self.tensors.insert(path.to_owned()) => {
                Err(format!("two tensors have the name {path}"))
            }
            _ => Ok(()),
        }
    }
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

/// Collects the plain values under `path`, dictionaries opened.
fn flatten(value: PickleValue, path: String, values: &mut BTreeMap<String, Value>) {
    let PickleValue::Dict(entries) = value else {
        if let Some(value) = plain(value) {
            values.insert(path, value);
        }
        return;
    };
    for (key, value) in entries {
        let path = if path.is_empty() { key } else { format!("{path}.{key}") };
        flatten(value, path, values);
    }
}

/// A value as JSON; none for tensors and for objects without a plain form.
fn plain(value: PickleValue) -> Option<Value> {
    Some(match value {
        PickleValue::None => Value::Null,
        PickleValue::Bool(value) => value.into(),
        PickleValue::Int(value) => value.into(),
        PickleValue::Float(value) => value.into(),
        PickleValue::String(value) => value.into(),
        PickleValue::Bytes(value) => format!("{} bytes", value.len()).into(),
        PickleValue::List(items) => items.into_iter().filter_map(plain).collect(),
        PickleValue::Dict(entries) => {
            let sorted: BTreeMap<String, PickleValue> = entries.into_iter().collect();
            let entries = sorted.into_iter().filter_map(|(key, value)| Some((key, plain(value)?)));
            Value::Object(entries.collect())
        }
        PickleValue::Unsupported(_) => return None,
    })
}
