//! Reading a reference case: its configuration and its safetensors.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::error::{Error, IoContext as _, Result};
use crate::masks::IndexMask;
use crate::weights::{Store, Tensors};

/// A folder of golden values.
pub struct Case {
    folder: PathBuf,
    /// `config.json` or `case.json`, whichever names a `kind`.
    pub config: serde_json::Value,
    /// The `kind` of the case.
    pub kind: String,
}

impl Case {
    /// Opens the case in `folder`.
    ///
    /// # Errors
    /// A usage error where the folder is missing, a data error where it holds no case.
    pub fn open(folder: &Path) -> Result<Self> {
        let folder = crate::error::require_exists(folder)?;
        for name in ["case.json", "config.json"] {
            let path = folder.join(name);
            if !path.is_file() {
                continue;
            }
            let text = std::fs::read_to_string(&path).at("read", &path)?;
            let config: serde_json::Value = serde_json::from_str(&text).map_err(|error| Error::data(&path, error))?;
            if let Some(kind) = config.get("kind").and_then(serde_json::Value::as_str) {
                let kind = kind.to_owned();
                return Ok(Self { folder, config, kind });
            }
        }
        if folder.join("schedulers.json").is_file() {
            return Ok(Self { folder, config: serde_json::Value::Null, kind: "misc".into() });
        }
        Err(Error::data(&folder, "no reference case: neither case.json nor config.json names a `kind`")
            .with_remedy("name a folder that holds config.json, inputs.safetensors and expected.safetensors"))
    }

    /// The configuration as a type.
    ///
    /// # Errors
    /// A data error that says which field is missing or of another type.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.config.clone())
            .map_err(|error| Error::data(&self.folder, format!("the case's configuration does not fit: {error}")))
    }

    /// The path of one of the case's files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A JSON file of the case.
    ///
    /// # Errors
    /// A data error where it is not the JSON expected.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.path(name);
        let text = std::fs::read_to_string(&path).at("read", &path)?;
        serde_json::from_str(&text).map_err(|error| Error::data(&path, error))
    }

    /// All numeric tensors of a safetensors file of the case, as f32.
    ///
    /// # Errors
    /// A data error where the file is not safetensors.
    pub fn tensors(&self, name: &str) -> Result<Tensors> {
        let path = self.path(name);
        let mut tensors = Tensors::new();
        for (name, entry) in Store::safetensors(&path)?.entries {
            let tensor = entry.numbers().map_err(|error| Error::data(&path, format!("{name}: {error}")))?;
            tensors.insert(name, tensor);
        }
        Ok(tensors)
    }

    /// The PyTorch files of the case whose names begin with `prefix`, in the order of their names.
    ///
    /// # Errors
    /// Where the folder cannot be listed.
    pub fn pytorch_files(&self, prefix: &str) -> Result<Vec<(String, PathBuf)>> {
        let entries = std::fs::read_dir(&self.folder).at("list", &self.folder)?.flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> =
            names.filter(|name| name.starts_with(prefix) && name.ends_with(".pth.tar")).collect();
        names.sort();
        Ok(names.into_iter().map(|name| (name.clone(), self.path(&name))).collect())
    }
}

/// The masks `PREFIX.0`, `PREFIX.1`, ... of a case's inputs, whose indices are below `tokens`.
///
/// # Errors
/// A data error where a mask is not a matrix of indices in range.
pub fn masks(inputs: &Tensors, prefix: &str, tokens: usize) -> Result<Vec<IndexMask>> {
    let mut masks = Vec::new();
    while let Some(tensor) = inputs.get(&format!("{prefix}.{}", masks.len())) {
        let valid = tensor.values.iter().all(|v| *v >= 0.0 && *v < tokens as f32);
        let ([batch, keep], true) = (tensor.shape.as_slice(), valid) else {
            let message = format!("{prefix}.{} is no matrix of token indices below {tokens}", masks.len());
            return Err(Error::new(crate::error::Kind::Data, message));
        };
        let indices = tensor.values.iter().map(|v| *v as u32).collect();
        masks.push(IndexMask { batch: *batch, keep: *keep, indices });
    }
    Ok(masks)
}
