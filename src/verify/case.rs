//! Reading a reference case: its configuration and its safetensors.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::error::{Error, IoContext as _, Kind, Result};
use crate::masks::IndexMask;
use crate::weights::{HostTensor, Store, Tensors};

/// What mends a case that is not whole.
const AGAIN: &str = "copy the whole folder of the case again";

fn broken(path: &Path, error: &serde_json::Error) -> Error {
    Error::data(path, format!("is not the JSON that a case holds: {error}")).with_remedy(AGAIN)
}

/// A folder of golden values.
pub struct Case {
    folder: PathBuf,
    /// `config.json` or `case.json`, whichever names a `kind`.
    pub config: serde_json::Value,
    /// The file that [`Case::config`] was read from.
    pub config_file: &'static str,
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
            let config: serde_json::Value = serde_json::from_str(&text).map_err(|error| broken(&path, &error))?;
            if let Some(kind) = config.get("kind").and_then(serde_json::Value::as_str) {
                let kind = kind.to_owned();
                return Ok(Self { folder, config, config_file: name, kind });
            }
        }
        if folder.join("schedulers.json").is_file() {
            let (config, config_file) = (serde_json::Value::Null, "schedulers.json");
            return Ok(Self { folder, config, config_file, kind: "misc".into() });
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
            .map_err(|error| self.misfit(self.config_file, format!("the case's configuration does not fit: {error}")))
    }

    /// The path of one of the case's files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The path of one of the case's files, which it must hold.
    ///
    /// # Errors
    /// A data error where it does not.
    pub fn held(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        if path.is_file() {
            return Ok(path);
        }
        Err(Error::data(&path, "the case does not hold this file").with_remedy(AGAIN))
    }

    /// `error`, which the content of the case's file `name` caused, as a fault of that file.
    pub fn fault(&self, name: &str, error: Error) -> Error {
        match error.kind() {
            Kind::Usage | Kind::Data => {
                let fault = Error::data(self.path(name), &error);
                error.remedy().map(str::to_owned).into_iter().fold(fault, Error::with_remedy)
            }
            _ => error,
        }
    }

    /// The case's file `name` does not fit the rest of the case: `problem` says what was expected and found.
    pub fn misfit(&self, name: &str, problem: impl fmt::Display) -> Error {
        Error::data(self.path(name), problem)
    }

    /// A JSON file of the case.
    ///
    /// # Errors
    /// A data error where it is missing or not the JSON expected.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.held(name)?;
        let text = std::fs::read_to_string(&path).at("read", &path)?;
        serde_json::from_str(&text).map_err(|error| broken(&path, &error))
    }

    /// All numeric tensors of a safetensors file of the case, as f32.
    ///
    /// # Errors
    /// A data error where the file is missing or not safetensors.
    pub fn tensors(&self, name: &str) -> Result<Tensors> {
        let path = self.held(name)?;
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

/// What the masks of a case must fit.
#[derive(Debug, Clone, Copy)]
pub struct Fit {
    /// Samples of the batch.
    pub batch: usize,
    /// Tokens of a sample.
    pub tokens: usize,
}

impl Case {
    /// The masks `PREFIX.0`, `PREFIX.1`, ... of the tensors of the file `name`, at least one, all of the same size.
    ///
    /// # Errors
    /// A data error where there is none, or one is no matrix of token indices, one row a sample.
    pub fn masks(&self, name: &str, tensors: &Tensors, prefix: &str, fit: Fit) -> Result<Vec<IndexMask>> {
        let mut masks: Vec<IndexMask> = Vec::new();
        while tensors.contains_key(&format!("{prefix}.{}", masks.len())) {
            let key = format!("{prefix}.{}", masks.len());
            let mask = self.mask(name, tensors, &key, fit)?;
            if let Some(first) = masks.first().filter(|first| first.keep != mask.keep) {
                let (shape, batch, keep) = ([mask.batch, mask.keep], fit.batch, first.keep);
                let problem = format!("{key} has the shape {shape:?}, expected [{batch}, {keep}] as {prefix}.0");
                return Err(self.misfit(name, problem));
            }
            masks.push(mask);
        }
        if masks.is_empty() {
            return Err(self.misfit(name, format!("it holds no mask `{prefix}.0`, expected at least one")));
        }
        Ok(masks)
    }

    /// The mask called `key` of the tensors of the file `name`.
    ///
    /// # Errors
    /// A data error where it is missing, or no matrix of token indices, one row a sample.
    pub fn mask(&self, name: &str, tensors: &Tensors, key: &str, fit: Fit) -> Result<IndexMask> {
        let Fit { batch, tokens } = fit;
        let Some(HostTensor { shape, values }) = tensors.get(key) else {
            return Err(self.misfit(name, format!("it holds no mask `{key}`")));
        };
        let keep = match shape.as_slice() {
            [rows, keep] if *rows == batch && *keep > 0 => *keep,
            _ => {
                let problem = format!("{key} has the shape {shape:?}, expected [{batch}, K] with K above 0");
                return Err(self.misfit(name, problem));
            }
        };
        let token = |value: &f32| value.fract() == 0.0 && *value >= 0.0 && *value < tokens as f32;
        if let Some(value) = values.iter().find(|value| !token(value)) {
            let problem = format!("{key} holds {value}, expected indices of tokens below {tokens}");
            return Err(self.misfit(name, problem));
        }
        Ok(IndexMask { batch, keep, indices: values.iter().map(|value| *value as u32).collect() })
    }

    /// The images called `image` among the tensors of the file `name`, whose axes have the names `letters` and the lengths
    /// of `expected` where it says one.
    ///
    /// # Errors
    /// A data error where they are missing, empty or of another shape.
    pub fn images<'a, const N: usize>(
        &self,
        name: &str,
        tensors: &'a Tensors,
        image: &str,
        letters: &str,
        expected: [Option<usize>; N],
    ) -> Result<(&'a HostTensor, [usize; N])> {
        let wanted = || {
            let side = |(side, letter): (Option<usize>, char)| side.map_or(letter.to_string(), |side| side.to_string());
            expected.into_iter().zip(letters.chars()).map(side).collect::<Vec<_>>().join(", ")
        };
        let Some(images) = tensors.get(image) else {
            return Err(self.misfit(name, format!("it holds no `{image}`, expected images of [{}]", wanted())));
        };
        let fits = |shape: &[usize; N]| {
            shape.iter().zip(expected).all(|(side, expected)| *side > 0 && expected.is_none_or(|want| want == *side))
        };
        match <[usize; N]>::try_from(images.shape.as_slice()).ok().filter(fits) {
            Some(shape) => Ok((images, shape)),
            None => {
                let shape = &images.shape;
                Err(self.misfit(name, format!("`{image}` has the shape {shape:?}, expected [{}]", wanted())))
            }
        }
    }
}
