//! What a run says of itself: `metrics.jsonl` with flat keys, and the same as TensorBoard events.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::events::Events;
use crate::atomic;
use crate::error::{Error, IoContext as _, Result};
use crate::faults::{self, Point};

/// The file of lines in a run's folder.
pub(super) const METRICS: &str = "metrics.jsonl";

/// One line of metrics; health is measured less often than the rest.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// Steps made.
    pub step: usize,
    /// Passes over the data, with their fraction.
    pub epoch: f64,
    /// Mean loss of the step, the spread terms left out.
    pub loss: f64,
    /// The weighted spread terms, where the configuration has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
    /// Learning rate.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Momentum of the target encoder.
    pub momentum: f64,
    /// Global norm of the encoder's gradient, before clipping.
    pub grad_norm_encoder: f64,
    /// Global norm of the predictor's gradient, before clipping.
    pub grad_norm_predictor: f64,
    /// Tokens a context mask keeps.
    pub context_tokens: usize,
    /// Tokens a target mask keeps.
    pub target_tokens: usize,
    /// Images trained on a second since the line before.
    pub images_per_second: f64,
    /// Share of that time spent waiting for data.
    pub data_wait: f64,
    /// Share of this process's time since its first step that went into looking at the health of the features.
    pub health_share: f64,
    /// Pictures that could not be decoded so far.
    pub skipped: usize,
    /// Steps so far that were left out because their loss or gradient was not finite.
    pub nonfinite_steps: usize,
    /// Resident memory of the process, in bytes; 0 where the system does not say.
    pub memory_bytes: u64,
    /// Standard deviation of a pooled feature over the probe images, averaged over dimensions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_std: Option<f64>,
    /// The smallest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_std_min: Option<f64>,
    /// RankMe of the pooled features of the probe images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_rank: Option<f64>,
    /// Mean cosine between the pooled features of two probe images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_cosine: Option<f64>,
    /// Standard deviation of a target's dimension over the tokens of a micro-batch, averaged over dimensions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_std: Option<f64>,
    /// The smallest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_std_min: Option<f64>,
    /// The loss of a predictor that always says the mean target of the micro-batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constant_loss: Option<f64>,
    /// Share of the targets' tokens that the context shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shown_targets: Option<f64>,
    /// Mean cosine between prediction and target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction_cosine: Option<f64>,
    /// Mean cosine between the mean target and target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_mean_cosine: Option<f64>,
    /// The signs of a collapse, where there are two or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collapse: Option<String>,
}

/// The files that metrics go to.
pub struct MetricsLog {
    path: PathBuf,
    lines: File,
    events: Events,
}

impl MetricsLog {
    /// Opens the files in `folder` for a run that goes on after `step`; lines and events of later steps, from a run that
    /// was cut off after its last checkpoint, are dropped.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn open(folder: &Path, step: usize) -> Result<Self> {
        let path = folder.join(METRICS);
        let old = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let lines = old.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let kept = lines.filter(|line| step_of(line).is_some_and(|s| s <= step)).collect::<Vec<_>>().concat();
        atomic::write(&path, &kept)?;
        let lines = OpenOptions::new().append(true).open(&path).at("open", &path)?;
        Ok(Self { events: Events::create(folder, step)?, path, lines })
    }

    /// Writes one line.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn write(&mut self, metrics: &Metrics) -> Result<()> {
        let value = serde_json::to_value(metrics).map_err(|error| Error::data(&self.path, error))?;
        let line = format!("{value}\n");
        faults::at(Point::MetricsLine)
            .and_then(|()| self.lines.write_all(line.as_bytes()))
            .writing(&self.path, line.len())?;
        let none = Map::new();
        let scalars = value.as_object().unwrap_or(&none).iter();
        let scalars = scalars.filter_map(|(key, value)| Some((key.as_str(), value.as_f64()?)));
        self.events.scalars(metrics.step, scalars.filter(|(key, _)| *key != "step"))
    }

    /// Makes sure that what was written outlives a power cut, as the checkpoint will that is written next.
    ///
    /// # Errors
    /// Where a file cannot be synced.
    pub fn sync(&self) -> Result<()> {
        atomic::sync_log(&self.lines, &self.path)?;
        self.events.sync()
    }
}

/// The first and the last step that the lines at `path` tell of, where there are any.
///
/// # Errors
/// Where the file cannot be read.
pub(super) fn steps(path: &Path) -> Result<Option<[usize; 2]>> {
    match std::fs::read(path) {
        Ok(text) => {
            let steps = || text.split(|byte| *byte == b'\n').filter_map(step_of);
            Ok(steps().min().zip(steps().max()).map(|(first, last)| [first, last]))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

fn step_of(line: &[u8]) -> Option<usize> {
    serde_json::from_slice::<Value>(line).ok()?.get("step")?.as_u64().map(|step| step as usize)
}

/// Reads the `(step, value)` pairs of one key of a `metrics.jsonl`.
///
/// # Errors
/// Where the file cannot be read.
pub fn read_series(path: &Path, key: &str) -> Result<Vec<(f64, f64)>> {
    let text = std::fs::read_to_string(path).at("read", path)?;
    let pairs = text.lines().filter_map(|line| {
        let value: Value = serde_json::from_str(line).ok()?;
        Some((value.get("step")?.as_f64()?, value.get(key)?.as_f64()?))
    });
    Ok(pairs.collect())
}

/// Resident memory of this process in bytes; 0 where the system does not say.
pub fn resident_memory() -> u64 {
    const PAGE: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).map_or(0, |pages| pages * PAGE)
}
