//! Whether and where an earlier run is continued.

use std::fs;
use std::path::{Path, PathBuf};

use super::metrics::{METRICS, steps};
use super::optimizer::AdamW;
use super::run::{NONFINITE_STEPS, Observer, Run};
use super::step::Networks;
use crate::checkpoint::{self, Checkpoints, State};
use crate::config::RunConfig;
use crate::error::{Error, IoContext as _, Kind, Result};
use crate::lock::LOCK_FILE;

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

impl Resume {
    /// Refuses what a run cannot begin from, before anything is written.
    ///
    /// # Errors
    /// A usage error where what is named does not exist.
    pub(super) fn require(&self) -> Result<()> {
        match self {
            Self::From(path) if !path.exists() => Err(Error::usage(format!("{} does not exist", path.display()))
                .with_remedy("--resume takes auto, never, a run or one of its checkpoints")),
            _ => Ok(()),
        }
    }

    /// How a run that was stopped and has saved goes on.
    pub(super) fn afterwards(&self) -> &'static str {
        match self {
            Self::Auto => "the same command continues the run where it stands",
            Self::Never | Self::From(_) => "the same command with --resume auto continues the run where it stands",
        }
    }

    /// What the command does again that was stopped before its first step.
    pub fn before(&self) -> &'static str {
        match self {
            Self::Auto => self.afterwards(),
            Self::Never | Self::From(_) => "the same command begins again",
        }
    }
}

/// Whether a run may go on with another configuration than it began with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ConfigChange {
    /// What differs is said, and the run refused.
    #[default]
    Refuse,
    /// What differs is said.
    Allow,
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
    checkpoints: &mut Checkpoints,
    run: &Run,
    observer: &mut dyn Observer,
) -> Result<Option<PathBuf>> {
    let out = run.out;
    match resume {
        Resume::From(path) if path.join("checkpoints").is_dir() => {
            let newest = newest(&mut Checkpoints::new(path, 0), observer)?;
            newest.map(Some).ok_or_else(|| {
                Error::usage(format!("{} holds no checkpoint", path.display()))
                    .with_remedy("name a run that has one, or leave out --resume to begin a new run")
            })
        }
        Resume::From(path) => Ok(Some(path.clone())),
        Resume::Auto => {
            let newest = newest(checkpoints, observer)?;
            let metrics = out.join(METRICS);
            let behind = if newest.is_none() { steps(&metrics)?.map_or(0, |[_, last]| last) } else { 0 };
            // The first one may be late where steps were left out.
            if behind > run.config.train.checkpoint_every + NONFINITE_STEPS {
                let message = format!("{} goes to step {behind}, and there is no checkpoint", metrics.display());
                return Err(Error::new(Kind::Data, message).with_remedy(
                    "restore the run's checkpoints from a copy, or begin again at step 0 with --resume never",
                ));
            }
            if behind > 0 {
                observer.warning(&format!(
                    "{} goes to step {behind} and there is no checkpoint yet: beginning again at step 0",
                    metrics.display()
                ));
            }
            Ok(newest)
        }
        Resume::Never if checkpoints.list()?.is_empty() => Ok(None),
        Resume::Never => Err(Error::usage(format!("{} already holds checkpoints", out.display()))
            .with_remedy("name another folder, or continue the run with --resume auto")),
    }
}

/// Refuses to go on from the checkpoint at `from`, of step `step`, in a folder where the run would mix with another one,
/// or with its own later steps.
pub(super) fn require_apart(run: &Run, from: &Path, step: usize, checkpoints: &Checkpoints) -> Result<()> {
    let out = run.out;
    let newest = checkpoints.list()?.pop().map(|(newest, _)| newest);
    let message = match (&run.resume, is_own(from, checkpoints), newest) {
        (Resume::Auto | Resume::Never, ..) => return Ok(()),
        (Resume::From(_), true, Some(newest)) if newest > step => {
            return Err(Error::usage(format!("{} has gone on to step {newest}", out.display()))
                .with_remedy("name another --out, so that both ways from this checkpoint are kept"));
        }
        (Resume::From(_), true, _) => return Ok(()),
        (Resume::From(_), false, Some(newest)) => {
            format!("{} holds a run of its own, which has come to step {newest}", out.display())
        }
        // This run's own lines begin behind the checkpoint.
        (Resume::From(_), false, None) => match steps(&out.join(METRICS))? {
            Some([first, last]) if first <= step => {
                format!("{} holds metrics of a run of its own, to step {last}", out.display())
            }
            _ => return Ok(()),
        },
    };
    Err(Error::usage(message).with_remedy(format!(
        "leave out --resume to continue that run, or name another --out to go on from {}",
        from.display()
    )))
}

/// Whether the checkpoint at `path` is one of `checkpoints`, by whatever name.
pub(super) fn is_own(path: &Path, checkpoints: &Checkpoints) -> bool {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    whole(path).starts_with(whole(&checkpoints.folder()))
}

/// The newest whole checkpoint; what is passed over is said.
fn newest(checkpoints: &mut Checkpoints, observer: &mut dyn Observer) -> Result<Option<PathBuf>> {
    let (newest, damaged) = checkpoints.newest()?;
    for error in damaged {
        observer.warning(&format!("passed over a checkpoint: {error}"));
    }
    Ok(newest)
}

/// What the checkpoint at `path` holds, where it is of the same configuration and data.
pub(super) fn restore(
    path: &Path,
    config: &RunConfig,
    changes: ConfigChange,
    networks: Networks,
    state: &mut State,
    observer: &mut dyn Observer,
) -> Result<(Networks, AdamW)> {
    let (stored, tensors, moments) = checkpoint::open(path)?;
    let different = checkpoint::config(path)?.changes(config).join("; ");
    match changes {
        _ if different.is_empty() => {}
        ConfigChange::Allow => observer.warning(&format!("going on with another configuration: {different}")),
        ConfigChange::Refuse => {
            return Err(Error::data(path, format!("the checkpoint has another configuration: {different}")).with_remedy(
                "go on with the run's own config.toml (--config), allow it with --allow-config-change, or start a new run \
                 in another folder",
            ));
        }
    }
    if stored.data != state.data {
        let message = format!("the checkpoint belongs to another data set: {}, found {}", stored.data, state.data);
        return Err(Error::data(path, message)
            .with_remedy("go on with the run's own data, or start a new run in another folder"));
    }
    let networks = networks.load(&tensors)?;
    // Steps that another configuration left out do not count against this one.
    let nonfinite_in_a_row = if different.is_empty() { stored.nonfinite_in_a_row } else { 0 };
    let optimizer = AdamW::load(&networks, &moments, stored.updates)?;
    *state = State {
        version: state.version.clone(),
        config: state.config.clone(),
        seed: state.seed,
        steps_per_epoch: state.steps_per_epoch,
        epoch: stored.step / state.steps_per_epoch,
        position: stored.step % state.steps_per_epoch,
        nonfinite_in_a_row,
        ..stored
    };
    Ok((networks, optimizer))
}
