//! `manifest.json` of a checkpoint or a package: the size and the BLAKE3 sum of each of its files.

use std::fmt::Display;
use std::fs::{self, File};
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::error::{Error, IoContext as _, Kind, Result, require_plain};

/// What a manifest is that of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Whole {
    /// A step of a run.
    #[default]
    Checkpoint,
    /// A compiled encoder.
    Package,
}

impl Whole {
    /// That it is damaged, at `path` or in the file there: `problem` says how.
    pub fn damaged(self, path: &Path, problem: impl Display) -> Error {
        let (name, remedy) = match self {
            Self::Checkpoint => ("checkpoint", "take another checkpoint of the run"),
            Self::Package => ("package", "compile it again"),
        };
        Error::data(path, format!("the {name} is damaged: {problem}"))
            .with_remedy(format!("restore it from a copy, or {remedy}"))
    }
}

/// The files of a checkpoint or a package; a folder without it is none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    files: Vec<FileEntry>,
    #[serde(skip)]
    whole: Whole,
}

/// A file of a folder, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its path in the folder of the list.
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
    pub fn new(files: Vec<FileEntry>) -> Self {
        Self { files, whole: Whole::default() }
    }

    /// Writes it into `folder`, whole or not at all.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| Error::new(Kind::Other, error.to_string()))?;
        atomic::write(&folder.join(Self::FILE), &text)
    }

    /// Reads that of `folder`, which is that of a `whole`.
    ///
    /// # Errors
    /// A data error where it is missing or invalid, or names what may lie outside of the folder.
    pub fn read(folder: &Path, whole: Whole) -> Result<Self> {
        let path = folder.join(Self::FILE);
        let text = fs::read(&path).map_err(|error| whole.damaged(&path, error))?;
        let read: Self = serde_json::from_slice(&text).map_err(|error| whole.damaged(&path, error))?;
        if let Some(name) = read.names().find(|name| !is_inside(name)) {
            return Err(whole.damaged(&path, format!("{name:?} is no file of this folder")));
        }
        Ok(Self { whole, ..read })
    }

    /// The names of the files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|entry| entry.name.as_str())
    }

    /// Whether the file `name` is one of them.
    pub fn lists(&self, name: &str) -> bool {
        self.names().any(|listed| listed == name)
    }

    /// Checks every file of `folder`, and that `needed` are among them.
    ///
    /// # Errors
    /// A data error that names the first file that is not listed, is missing, or is of another size or sum.
    pub fn check(&self, folder: &Path, needed: &[&str]) -> Result<()> {
        needed.iter().try_for_each(|name| self.require(folder, name))?;
        self.files.iter().try_for_each(|expected| self.compare(folder, expected))
    }

    /// Checks the file `name` of `folder`.
    ///
    /// # Errors
    /// A data error where it is not listed, is missing, or is of another size or sum.
    pub fn check_file(&self, folder: &Path, name: &str) -> Result<()> {
        self.require(folder, name)?;
        let mut listed = self.files.iter().filter(|expected| expected.name == name);
        listed.try_for_each(|expected| self.compare(folder, expected))
    }

    fn require(&self, folder: &Path, name: &str) -> Result<()> {
        if self.lists(name) {
            return Ok(());
        }
        Err(self.whole.damaged(folder, format!("{} does not list {name}", Self::FILE)))
    }

    fn compare(&self, folder: &Path, expected: &FileEntry) -> Result<()> {
        let FileEntry { name, bytes, blake3 } = expected;
        let found = FileEntry::read(folder, name).map_err(|error| {
            self.whole.damaged(folder, format!("{error}; {name} had {bytes} bytes and sum {blake3}"))
        })?;
        if found == *expected {
            return Ok(());
        }
        let message =
            format!("{name} has {} bytes and sum {}, expected {bytes} bytes and {blake3}", found.bytes, found.blake3);
        Err(self.whole.damaged(folder, message))
    }
}

/// Whether a name leads to no place but one in the folder that it is joined to.
fn is_inside(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

impl FileEntry {
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
        let path = require_plain(&folder.join(name))?;
        let mut hasher = blake3::Hasher::new();
        let file = File::open(&path).at("open", &path)?;
        let bytes = file.metadata().at("read", &path)?.len();
        hasher.update_reader(file).at("read", &path)?;
        Ok(Self::new(name, bytes, hasher.finalize()))
    }
}
