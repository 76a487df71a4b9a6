//! Export to the layout of Hugging Face's transformers, whose `IJepaModel` loads it.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::{HostTensor, Loaded, Metadata, Tensors, hf, names, write};
use crate::atomic::{self, PARTIAL, partial_path};
use crate::config::Positions;
use crate::error::{Error, IoContext as _, Kind, Result};

/// The files of the layout. The configuration comes last: without it a folder is no model.
const FILES: [&str; 3] = [hf::WEIGHTS, hf::PREPROCESSOR, hf::CONFIG];

/// Writes `config.json`, `model.safetensors` and `preprocessor_config.json` into `folder`, which must be new or empty, and
/// becomes a model at once: everything is written aside first.
///
/// # Errors
/// A usage error where the folder holds anything, a data error where a tensor has no name there, an error of the file
/// system where one cannot be written.
pub fn export_hf(folder: &Path, weights: &Loaded) -> Result<()> {
    // Without the slash that may stand at its end, a name can be added to.
    let folder = folder.components().as_path();
    let stands = folder.exists();
    let aside = if stands { folder.join(PARTIAL) } else { partial_path(folder) };
    let strange = |path: &Path, known: &[&str]| -> Result<bool> {
        let mut entries = fs::read_dir(path).at("list", path)?;
        Ok(entries.any(|entry| entry.is_ok_and(|entry| !known.iter().any(|known| entry.file_name() == *known))))
    };
    if stands && strange(folder, &[PARTIAL])? {
        return Err(Error::usage(format!("{} is not empty", folder.display())).with_remedy("name a new folder"));
    }
    if weights.model.positions != Positions::Ijepa {
        return Err(Error::usage(
            "the layout is one of I-JEPA's pictures, and has no place for these position embeddings",
        )
        .with_remedy("a run's checkpoints are safetensors with the published names"));
    }
    let mut renamed = Tensors::new();
    for (name, tensor) in &weights.tensors {
        let theirs = names::theirs(name);
        if theirs.is_empty() {
            return Err(Error::new(Kind::Data, format!("{name} has no place in an I-JEPA model")));
        }
        renamed.extend(split(tensor, theirs));
    }
    fs::create_dir_all(&aside).at("create", &aside)?;
    if strange(&aside, &FILES)? {
        return Err(Error::usage(format!("{} is in the way", aside.display())).with_remedy("remove it"));
    }
    // The library asks for this key.
    let metadata = Metadata::from([("format".to_owned(), "pt".to_owned())]);
    write(&aside.join(hf::WEIGHTS), &renamed, &metadata)?;
    write_json(&aside.join(hf::PREPROCESSOR), &hf::Preprocessor::of(&weights.provenance.preprocessing))?;
    write_json(&aside.join(hf::CONFIG), &hf::Config::of(&weights.model, weights.provenance.encoder))?;
    if !stands {
        return atomic::rename(&aside, folder);
    }
    // A folder that stands may be another disk's, or the one in which the user is: it stays, and is filled.
    FILES.iter().try_for_each(|name| atomic::rename(&aside.join(name), &folder.join(name)))?;
    fs::remove_dir(&aside).at("remove", &aside)
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
    atomic::write(path, (text + "\n").as_bytes())
}
