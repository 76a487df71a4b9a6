//! Export to the layout of Hugging Face's transformers, whose `IJepaModel` loads it.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::{HostTensor, Loaded, Metadata, Tensors, hf, names, write};
use crate::error::{Error, IoContext as _, Kind, Result};

/// Writes `config.json`, `model.safetensors` and `preprocessor_config.json` into `folder`, which must be new or empty.
///
/// # Errors
/// A usage error where the folder holds anything, a data error where a tensor has no name there, an error of the file
/// system where one cannot be written.
pub fn export_hf(folder: &Path, weights: &Loaded) -> Result<()> {
    fs::create_dir_all(folder).at("create", folder)?;
    if fs::read_dir(folder).at("list", folder)?.next().is_some() {
        return Err(Error::usage(format!("{} is not empty", folder.display())).with_remedy("name a new folder"));
    }
    let mut renamed = Tensors::new();
    for (name, tensor) in &weights.tensors {
        let theirs = names::theirs(name);
        if theirs.is_empty() {
            return Err(Error::new(Kind::Data, format!("{name} has no place in an I-JEPA model")));
        }
        renamed.extend(split(tensor, theirs));
    }
    let config = hf::Config::of(&weights.model, weights.provenance.encoder);
    write_json(&folder.join(hf::CONFIG), &config)?;
    write_json(&folder.join(hf::PREPROCESSOR), &hf::Preprocessor::of(&weights.provenance.preprocessing))?;
    // The library asks for this key.
    let metadata = Metadata::from([("format".to_owned(), "pt".to_owned())]);
    write(&folder.join(hf::WEIGHTS), &renamed, &metadata)
}

/// Cuts a tensor along its first axis, a part a name.
fn split(tensor: &HostTensor, names: Vec<String>) -> Vec<(String, HostTensor)> {
    let parts = names.len();
    let mut shape = tensor.shape.clone();
    if let Some(rows) = shape.first_mut() {
        *rows /= parts;
    }
    let size = shape.iter().product::<usize>().max(1);
    let cuts = tensor.values.chunks(size).map(|values| HostTensor { shape: shape.clone(), values: values.to_vec() });
    names.into_iter().zip(cuts).collect()
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::new(Kind::Other, error.to_string()))?;
    fs::write(path, text + "\n").at("write", path)
}
