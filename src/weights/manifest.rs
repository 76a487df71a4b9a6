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
    files: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    bytes: u64,
    blake3: String,
}

impl Manifest {
    /// Its own name.
    pub const FILE: &str = "manifest.json";

    /// That of the files `names` in `folder`, as they are now.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn of(folder: &Path, names: &[String]) -> Result<Self> {
        let files = names.iter().map(|name| Entry::of(folder, name)).collect::<Result<_>>()?;
        Ok(Self { files })
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

impl Entry {
    fn of(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let mut hasher = blake3::Hasher::new();
        let file = File::open(&path).at("open", &path)?;
        let bytes = file.metadata().at("read", &path)?.len();
        hasher.update_reader(file).at("read", &path)?;
        Ok(Self { name: name.to_owned(), bytes, blake3: hasher.finalize().to_hex().to_string() })
    }

    fn check(&self, folder: &Path) -> Result<()> {
        let Self { name, bytes, blake3 } = self;
        let found = Self::of(folder, name)
            .map_err(|error| damaged(folder, format!("{error}; {name} had {bytes} bytes and sum {blake3}")))?;
        if (found.bytes, &found.blake3) == (self.bytes, &self.blake3) {
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
