//! Checkpoints: folders built aside and renamed, with sums, and the choice of the one to go on from.
//!
//! `RUN/checkpoints/step-00000100/` holds a safetensors file a network, the optimizer's moments, `state.json`, and, written
//! last, `manifest.json` with the BLAKE3 sum of each. `RUN/latest` is a text file that names the newest.

use std::fmt::Display;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::atomic::{self, PARTIAL, partial_path};
use crate::config::RunConfig;
use crate::error::{Error, IoContext as _, Kind, Result, free};
use crate::faults::{self, Point};
use crate::weights::{FileEntry, Header, LATEST, Manifest, Tensors, Whole, latest, length, read, write};

const STATE: &str = "state.json";
/// What a checkpoint's manifest lists, no more and no less.
const FILES: [&str; 5] =
    ["encoder.safetensors", "predictor.safetensors", "target_encoder.safetensors", "optimizer.safetensors", STATE];

/// Where a run stands: everything random follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Steps made.
    pub step: usize,
    /// Passes over the data that are behind it.
    pub epoch: usize,
    /// Steps of the pass that it is in.
    pub position: usize,
    /// Steps of one epoch.
    pub steps_per_epoch: usize,
    /// Steps in which the optimizer changed the weights.
    pub updates: usize,
    /// Steps that were left out because their loss or gradient was not finite.
    pub nonfinite_steps: usize,
    /// How many of them were the last ones.
    pub nonfinite_in_a_row: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// BLAKE3 of the resolved configuration.
    pub config: String,
    /// Fingerprint of the data set.
    pub data: String,
    /// Version of this crate.
    pub version: String,
}

impl State {
    /// Goes on to the next step.
    pub fn advance(&mut self) {
        self.step += 1;
        self.epoch = self.step / self.steps_per_epoch;
        self.position = self.step % self.steps_per_epoch;
    }
}

/// A run's folder of checkpoints.
pub struct Checkpoints {
    run: PathBuf,
    keep_every: usize,
    /// The last one that is known to be whole.
    whole: Option<PathBuf>,
}

impl Checkpoints {
    /// The checkpoints of the run in `run`; those at a multiple of `keep_every` steps are never pruned (0: none).
    pub fn new(run: &Path, keep_every: usize) -> Self {
        Self { run: run.to_path_buf(), keep_every, whole: None }
    }

    /// The folder that they are in.
    pub fn folder(&self) -> PathBuf {
        self.run.join("checkpoints")
    }

    /// Makes sure that this folder is there.
    ///
    /// # Errors
    /// Where it cannot be made, as behind a link that leads nowhere.
    pub fn create(&self) -> Result<()> {
        let folder = self.folder();
        fs::create_dir_all(&folder).at("create", &folder)
    }

    /// Writes a checkpoint of the run of `config`: each of `parts` becomes `NAME.safetensors`.
    ///
    /// # Errors
    /// Where a file cannot be written; the checkpoints before stay valid, and nothing is left of this one.
    pub fn save(&mut self, state: &State, parts: &[(&str, Tensors)], config: &RunConfig) -> Result<PathBuf> {
        self.create()?;
        let parent = self.folder();
        let place = parent.join(folder_of(state.step));
        let aside = partial_path(&place);
        self.build(&aside, &place, state, parts, config).map_err(|error| {
            // The error that came first says more than one of cleaning up.
            let _ = remove(&aside);
            let of = |tensors| length(tensors, &Header::of(config, tensors).metadata()?);
            let needed = || parts.iter().map(|(_, tensors)| of(tensors)).sum::<Result<usize>>();
            match error.is_full_disk().then(needed) {
                Some(Ok(needed)) => {
                    let message = format!("{error}; the checkpoint takes {needed} bytes, {} now", free(&parent));
                    Error::new(error.kind(), message).with_remedy(
                        "free some space; the checkpoint before is whole, and the same command continues from it",
                    )
                }
                Some(Err(_)) | None => error,
            }
        })?;
        // Where the last steps were left out, the weights may be spoilt already: then older checkpoints are worth more.
        if state.nonfinite_in_a_row == 0 {
            self.prune(state.step, &place)?;
        }
        self.whole = Some(place.clone());
        Ok(place)
    }

    fn build(
        &self,
        aside: &Path,
        place: &Path,
        state: &State,
        parts: &[(&str, Tensors)],
        config: &RunConfig,
    ) -> Result<()> {
        remove(aside)?;
        faults::at(Point::CheckpointFolder).and_then(|()| fs::create_dir(aside)).writing(aside, 0)?;
        let mut files = Vec::new();
        for (part, tensors) in parts {
            let file = aside.join(format!("{part}.safetensors"));
            files.push(write(&file, tensors, &Header::of(config, tensors).metadata()?)?);
        }
        let state = to_json(state)?;
        atomic::write(&aside.join(STATE), &state)?;
        files.push(FileEntry::of(STATE, &state));
        Manifest::new(files).write(aside)?;
        // One of this step is there already only where it was found damaged, or a run goes back on itself.
        make_room(place)?;
        atomic::rename(aside, place)?;
        faults::at(Point::CheckpointCheck).at("read", place)?;
        check(place)?;
        self.name_latest(place)
    }

    /// Lets `latest` name the checkpoint at `place`, if it does not already.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn name_latest(&self, place: &Path) -> Result<()> {
        let latest = self.run.join(LATEST);
        let name = place.file_name().unwrap_or_default().as_encoded_bytes();
        if fs::read(&latest).is_ok_and(|old| old == name) { Ok(()) } else { atomic::write(&latest, name) }
    }

    /// Of the checkpoints before `saved`, removes all but the last whole one and those kept for good.
    ///
    /// What is no checkpoint of ours stays, and so do later ones, which belong to another way from here.
    fn prune(&self, step: usize, saved: &Path) -> Result<()> {
        let before: Vec<_> = self.list()?.into_iter().filter(|(other, _)| *other < step).collect();
        let last = self.whole.as_ref().filter(|path| *path != saved && path.starts_with(&self.run));
        let last = last.or(before.last().map(|(_, path)| path));
        for (other, path) in &before {
            let kept = Some(path) == last || self.keep_every > 0 && other % self.keep_every == 0;
            let is_ours = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
                && Manifest::read(path, Whole::Checkpoint).is_ok();
            if !kept && is_ours {
                remove(path)?;
            }
        }
        Ok(())
    }

    /// Removes what killed processes left half-built.
    ///
    /// # Errors
    /// Where something of ours cannot be removed.
    pub fn sweep(&self) -> Result<()> {
        let parent = self.folder();
        for name in names(&parent)? {
            if step_of(name.strip_suffix(PARTIAL).unwrap_or_default()).is_some() {
                remove(&parent.join(name))?;
            }
        }
        match fs::remove_file(partial_path(&self.run.join(LATEST))) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).at("remove", self.run.join(LATEST)),
            _ => Ok(()),
        }
    }

    /// Every checkpoint, the oldest first.
    ///
    /// # Errors
    /// Where the folder cannot be listed.
    pub fn list(&self) -> Result<Vec<(usize, PathBuf)>> {
        let parent = self.folder();
        let steps = names(&parent)?.into_iter().filter_map(|name| Some((step_of(&name)?, parent.join(name))));
        let mut found: Vec<_> = steps.collect();
        found.sort();
        Ok(found)
    }

    /// The newest checkpoint whose sums are right, with those that had to be passed over and why.
    ///
    /// # Errors
    /// A data error where there should be one and none is whole.
    pub fn newest(&mut self) -> Result<(Option<PathBuf>, Vec<Error>)> {
        let mut passed = Vec::new();
        passed.extend(latest(&self.run).err());
        for (_, path) in self.list()?.into_iter().rev() {
            match check(&path) {
                Ok(()) => {
                    self.whole = Some(path.clone());
                    return Ok((Some(path), passed));
                }
                Err(error) => passed.push(error),
            }
        }
        if passed.is_empty() {
            return Ok((None, passed));
        }
        let all = passed.iter().map(Error::to_string).collect::<Vec<_>>().join("; ");
        Err(Error::new(Kind::Data, format!("no checkpoint is whole: {all}"))
            .with_remedy("restore one from a copy, or start a new run in another folder"))
    }
}

/// The name of the folder of a checkpoint.
fn folder_of(step: usize) -> String {
    format!("step-{step:08}")
}

/// Takes away what stands at `place`; what is not ours is renamed, and that is said.
fn make_room(place: &Path) -> Result<()> {
    let stands = || fs::symlink_metadata(place).is_ok();
    if fs::symlink_metadata(place).is_ok_and(|found| found.is_dir()) {
        remove(place)?;
    }
    if stands() {
        let others = (1..).map(|number| place.with_extension(format!("other-{number}")));
        let Some(other) = others.into_iter().find(|other| fs::symlink_metadata(other).is_err()) else { return Ok(()) };
        fs::rename(place, &other).at("rename", place)?;
        tracing::warn!("{} was not ours alone, and is now {}", place.display(), other.display());
    }
    Ok(())
}

/// The step that the name of a checkpoint's folder says.
fn step_of(name: &str) -> Option<usize> {
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (name == folder_of(step)).then_some(step)
}

/// The names in `folder` that are text; none where there is no such folder.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", folder, error)),
    };
    let named = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().into_string().ok()).transpose();
    entries.filter_map(named).collect::<io::Result<_>>().at("list", folder)
}

/// Removes the folder of a checkpoint, whole or not, if it is there; the manifest goes last, so that what is left by a
/// killed process can be told from what is not ours. A folder that holds anything else stays, with that.
fn remove(folder: &Path) -> Result<()> {
    for name in FILES.into_iter().chain([Manifest::FILE]) {
        let path = folder.join(name);
        for path in [partial_path(&path), path].into_iter().filter(|path| path.exists()) {
            faults::at(Point::CheckpointPrune).and_then(|()| fs::remove_file(&path)).at("remove", &path)?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => Ok(()),
        other => other.at("remove", folder),
    }
}

/// The state and all tensors of a checkpoint: those of the networks, and those of the optimizer.
///
/// # Errors
/// A data error where a file is missing or damaged.
pub fn open(path: &Path) -> Result<(State, Tensors, Tensors)> {
    check(path)?;
    let [encoder, predictor, target_encoder, optimizer, state] = FILES.map(|file| path.join(file));
    let mut networks = Tensors::new();
    for part in [encoder, predictor, target_encoder] {
        networks.extend(read(&part)?.0);
    }
    Ok((from_json(&state)?, networks, read(&optimizer)?.0))
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

/// Checks every file of a checkpoint against its manifest, and that it is that of the step its folder is named after.
///
/// # Errors
/// A data error that names the first file that is missing or of another size or sum.
pub fn check(path: &Path) -> Result<()> {
    let manifest = Manifest::read(path, Whole::Checkpoint)?;
    if !manifest.names().eq(FILES) {
        let names: Vec<_> = manifest.names().collect();
        return Err(damaged(path, format!("{} lists {}", Manifest::FILE, names.join(", "))));
    }
    manifest.check(path, &FILES)?;
    let state: State = from_json(&path.join(STATE))?;
    match path.file_name().and_then(|name| step_of(name.to_str()?)) {
        Some(step) if step != state.step => Err(damaged(path, format!("{STATE} is that of step {}", state.step))),
        _ => Ok(()),
    }
}

fn damaged(path: &Path, problem: impl Display) -> Error {
    Whole::Checkpoint.damaged(path, problem)
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(|error| Error::new(Kind::Other, error.to_string()))
}

fn from_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).map_err(|error| damaged(path, error))?;
    serde_json::from_slice(&text).map_err(|error| damaged(path, error))
}
