//! Whether and where an earlier run is continued.

use std::fs;
use std::path::{Path, PathBuf};

use super::checkpoint::{self, Checkpoints, State};
use super::optimizer::AdamW;
use super::run::Observer;
use super::step::Networks;
use crate::config::RunConfig;
use crate::error::{Error, IoContext as _, Result};
use crate::lock::LOCK_FILE;
use crate::weights::Tensors;

/// Whether an earlier run in the same folder is continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// From the newest whole checkpoint, if there is one.
    Auto,
    /// Never: a folder that holds checkpoints is refused.
    Never,
    /// From this checkpoint.
    From(PathBuf),
}

/// Refuses a folder in which something else than a run stands.
pub(super) fn require_run(out: &Path) -> Result<()> {
    let is_run = || out.join(LOCK_FILE).exists() || out.join("checkpoints").is_dir();
    let is_empty = || -> Result<bool> { Ok(fs::read_dir(out).at("list", out)?.next().is_none()) };
    if !out.exists() || is_run() || is_empty()? {
        return Ok(());
    }
    Err(Error::usage(format!("{} holds something else than a run", out.display()))
        .with_remedy("name a new folder with --out"))
}

/// The checkpoint to go on from, if there is one.
pub(super) fn start_from(
    resume: &Resume,
    checkpoints: &Checkpoints,
    out: &Path,
    observer: &mut dyn Observer,
) -> Result<Option<PathBuf>> {
    match resume {
        Resume::From(path) if !path.exists() => Err(Error::usage(format!("{} does not exist", path.display()))
            .with_remedy("--resume takes auto, never, a run or one of its checkpoints")),
        Resume::From(path) if path.join("checkpoints").is_dir() => {
            start_from(&Resume::Auto, &Checkpoints::new(path, 0), path, observer)
        }
        Resume::From(path) => Ok(Some(path.clone())),
        Resume::Auto => {
            let (newest, damaged) = checkpoints.newest()?;
            for error in damaged {
                observer.warning(&format!("passed over a checkpoint: {error}"));
            }
            Ok(newest)
        }
        Resume::Never if checkpoints.list()?.is_empty() => Ok(None),
        Resume::Never => Err(Error::usage(format!("{} already holds checkpoints", out.display()))
            .with_remedy("name another folder, or continue the run with --resume auto")),
    }
}

/// What the checkpoint at `path` holds, where it is of the same configuration and data.
pub(super) fn restore(
    path: &Path,
    config: &RunConfig,
    networks: Networks,
    state: &mut State,
) -> Result<(Networks, AdamW)> {
    let changes = checkpoint::config(path)?.changes(config);
    if !changes.is_empty() {
        return Err(Error::data(path, format!("the checkpoint has another configuration: {}", changes.join("; ")))
            .with_remedy("go on with the run's own config.toml (--config), or start a new run in another folder"));
    }
    let mut tensors = Tensors::new();
    for part in ["encoder", "predictor", "target_encoder"] {
        tensors.extend(checkpoint::open(path, part)?.1);
    }
    let (stored, moments) = checkpoint::open(path, "optimizer")?;
    if stored.data != state.data {
        let message = format!("the checkpoint belongs to another data set: {}, found {}", stored.data, state.data);
        return Err(Error::data(path, message)
            .with_remedy("go on with the run's own data, or start a new run in another folder"));
    }
    let networks = networks.load(&tensors)?;
    let optimizer = AdamW::load(&networks, &moments, stored.step)?;
    *state = State { version: state.version.clone(), config: state.config.clone(), ..stored };
    Ok((networks, optimizer))
}
