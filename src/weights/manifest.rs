//! `manifest.json` of a checkpoint: the size and the BLAKE3 sum of each of its files.

use std::fmt::Display;
use std::fs::{self, File};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::error::{Error, IoContext as _, Kind, Result};

/// The files of a checkpoint; a folder without it is none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    files: Vec<Sum>,
}

/// A file, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sum {
    /// Its path in the folder of the manifest.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its BLAKE3 sum in hexadecimal.
    pub blake3: String,
}

impl Manifest {
    /// Its own name.
    pub const FILE: &str = "manifest.json";

    /// That of these files.
    pub fn new(files: Vec<Sum>) -> Self {
        Self { files }
    }

    /// Writes it into `folder`, whole or not at all.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| Error::new(Kind::Other, error.to_string()))?;
        atomic::write(&folder.join(Self::FILE), &text)
    }

    /// Reads that of the checkpoint `folder`.
    ///
    /// # Errors
    /// A data error where it is missing or invalid.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(Self::FILE);
        let text = fs::read(&path).map_err(|error| damaged(&path, error))?;
        serde_json::from_slice(&text).map_err(|error| damaged(&path, error))
    }

    /// The names of the files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|entry| entry.name.as_str())
    }

    /// Checks every file of `folder`.
    ///
    /// # Errors
    /// A data error that names the first file that is missing or of another size or sum.
    pub fn check(&self, folder: &Path) -> Result<()> {
        self.files.iter().try_for_each(|expected| expected.check(folder))
    }

    /// Checks the file `name` of `folder`, where it is one of those that are listed.
    ///
    /// # Errors
    /// A data error where it is missing or of another size or sum.
    pub fn check_file(&self, folder: &Path, name: &str) -> Result<()> {
        self.files.iter().filter(|expected| expected.name == name).try_for_each(|expected| expected.check(folder))
    }
}

impl Sum {
    /// The file `name`, whose `bytes` have this sum.
    pub fn new(name: &str, bytes: u64, sum: blake3::Hash) -> Self {
        Self { name: name.to_owned(), bytes, blake3: sum.to_hex().to_string() }
    }

    /// The file `name` with this content.
    pub fn of(name: &str, content: &[u8]) -> Self {
        Self::new(name, content.len() as u64, blake3::hash(content))
    }

    /// The file `name` in `folder`, as it is now.
    fn read(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let mut hasher = blake3::Hasher::new();
        let file = File::open(&path).at("open", &path)?;
        let bytes = file.metadata().at("read", &path)?.len();
        hasher.update_reader(file).at("read", &path)?;
        Ok(Self::new(name, bytes, hasher.finalize()))
    }

    fn check(&self, folder: &Path) -> Result<()> {
        let Self { name, bytes, blake3 } = self;
        let found = Self::read(folder, name)
            .map_err(|error| damaged(folder, format!("{error}; {name} had {bytes} bytes and sum {blake3}")))?;
        if found == *self {
            return Ok(());
        }
        let message =
            format!("{name} has {} bytes and sum {}, expected {bytes} bytes and {blake3}", found.bytes, found.blake3);
        Err(damaged(folder, message))
    }
}

/// The checkpoint at `path`, or a file of it, is damaged: `problem` says how.
pub fn damaged(path: &Path, problem: impl Display) -> Error {
    Error::data(path, format!("the checkpoint is damaged: {problem}"))
        .with_remedy("restore it from a copy, or take another checkpoint of the run")
}
