//! Checkpoints: folders built aside and renamed, with sums, and the choice of the one to go on from.
//!
//! `RUN/checkpoints/step-00000100/` holds a safetensors file a network, the optimizer's moments, `state.json`, and, written
//! last, `manifest.json` with the BLAKE3 sum of each. `RUN/latest` is a text file that names the newest.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::atomic;
use crate::config::RunConfig;
use crate::error::{Error, IoContext as _, Kind, Result};
use crate::weights::{Header, Manifest, Tensors, damaged, read, write};

const STATE: &str = "state.json";

/// Where a run stands: everything random follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Steps made.
    pub step: usize,
    /// Steps of one epoch; the epoch and the position in it follow.
    pub steps_per_epoch: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// BLAKE3 of the resolved configuration.
    pub config: String,
    /// Fingerprint of the data set.
    pub data: String,
    /// Version of this crate.
    pub version: String,
}

/// A run's folder of checkpoints.
pub struct Checkpoints {
    run: PathBuf,
    keep_every: usize,
}

impl Checkpoints {
    /// The checkpoints of the run in `run`; those at a multiple of `keep_every` steps are never pruned (0: none).
    pub fn new(run: &Path, keep_every: usize) -> Self {
        Self { run: run.to_path_buf(), keep_every }
    }

    /// Writes a checkpoint of the run of `config`: each of `parts` becomes `NAME.safetensors`.
    ///
    /// # Errors
    /// Where a file cannot be written; the checkpoints before stay valid.
    pub fn save(&self, state: &State, parts: &[(&str, Tensors)], config: &RunConfig) -> Result<PathBuf> {
        let parent = self.run.join("checkpoints");
        fs::create_dir_all(&parent).at("create", &parent)?;
        let name = format!("step-{:08}", state.step);
        let (aside, place) = (parent.join(format!("{name}.partial")), parent.join(&name));
        if aside.exists() {
            fs::remove_dir_all(&aside).at("remove", &aside)?;
        }
        fs::create_dir(&aside).at("create", &aside)?;
        let mut files = Vec::new();
        for (part, tensors) in parts {
            let file = format!("{part}.safetensors");
            write(&aside.join(&file), tensors, &Header::of(config, tensors).metadata()?)?;
            files.push(file);
        }
        atomic::write(&aside.join(STATE), &to_json(state)?)?;
        files.push(STATE.to_owned());
        Manifest::of(&aside, &files)?.write(&aside)?;
        if place.exists() {
            fs::remove_dir_all(&place).at("replace", &place)?;
        }
        atomic::rename(&aside, &place)?;
        atomic::write(&self.run.join("latest"), name.as_bytes())?;
        check(&place)?;
        self.prune(&place)?;
        Ok(place)
    }

    /// Removes all but `saved`, the last two checkpoints and those kept for good; what is no checkpoint of ours stays.
    fn prune(&self, saved: &Path) -> Result<()> {
        let all = self.list()?;
        for (step, path) in all.iter().rev().skip(2) {
            if path != saved && (self.keep_every == 0 || step % self.keep_every != 0) {
                fs::remove_dir_all(path).at("remove", path)?;
            }
        }
        Ok(())
    }

    /// Every checkpoint, the oldest first.
    ///
    /// # Errors
    /// Where the folder cannot be listed.
    pub fn list(&self) -> Result<Vec<(usize, PathBuf)>> {
        let parent = self.run.join("checkpoints");
        let entries = match fs::read_dir(&parent) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("list", &parent, error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.at("list", &parent)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(Ok(step)) = name.strip_prefix("step-").map(str::parse) {
                found.push((step, path));
            }
        }
        found.sort();
        Ok(found)
    }

    /// The newest checkpoint whose sums are right, with those that had to be passed over and why.
    ///
    /// # Errors
    /// A data error where there are checkpoints and none is whole.
    pub fn newest(&self) -> Result<(Option<PathBuf>, Vec<Error>)> {
        let mut damaged = Vec::new();
        for (_, path) in self.list()?.into_iter().rev() {
            match check(&path) {
                Ok(()) => return Ok((Some(path), damaged)),
                Err(error) => damaged.push(error),
            }
        }
        match damaged.pop() {
            None => Ok((None, damaged)),
            Some(last) => Err(Error::new(Kind::Data, format!("no checkpoint is whole; the oldest: {last}"))
                .with_remedy("restore one from a copy, or start a new run in another folder")),
        }
    }
}

/// Reads a checkpoint's state and one of its parts.
///
/// # Errors
/// A data error where a file is missing or damaged.
pub fn open(path: &Path, part: &str) -> Result<(State, Tensors)> {
    check(path)?;
    let state = from_json(&path.join(STATE))?;
    let (tensors, _) = read(&path.join(format!("{part}.safetensors")))?;
    Ok((state, tensors))
}

/// The configuration of the run that wrote a checkpoint.
///
/// # Errors
/// A data error where it is missing or damaged.
pub fn config(path: &Path) -> Result<RunConfig> {
    let file = path.join("optimizer.safetensors");
    let header = Header::read(&file)?.ok_or_else(|| Error::data(&file, "names no configuration"))?;
    Ok(header.run)
}

/// Checks every file of a checkpoint against its manifest.
///
/// # Errors
/// A data error that names the first file that is missing or of another size or sum.
pub fn check(path: &Path) -> Result<()> {
    Manifest::read(path)?.check(path)
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(|error| Error::new(Kind::Other, error.to_string()))
}

fn from_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).map_err(|error| damaged(path, error))?;
    serde_json::from_slice(&text).map_err(|error| damaged(path, error))
}
