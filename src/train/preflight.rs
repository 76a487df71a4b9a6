//! What is checked before the first step: recipes that cannot work, and a disk that is too small.

use burn::module::Module as _;

use super::step::Networks;
use super::{Machine, Plan};
use crate::checkpoint::{Checkpoints, State};
use crate::config::RunConfig;
use crate::error::{Error, Kind, Result};

/// Checkpoints that stand together at most: the last two, and the one that is being written.
const TOGETHER: usize = 3;
/// Bytes of a checkpoint beside its tensors: five headers, the state and the manifest.
const BESIDE: u64 = 64 << 10;

/// Refuses a recipe that cannot work with so many images, and gives what is odd about one that can.
///
/// # Errors
/// A usage error that names the keys.
pub(super) fn check_recipe(config: &RunConfig, images: usize) -> Result<Vec<String>> {
    let plan = Plan::new(config, Machine { gpus: 1, memory: None, images })?;
    if let Some(problem) = plan.problem {
        return Err(Error::usage(format!("this recipe cannot work: {problem}"))
            .with_remedy("`anyjepa plan` and `anyjepa masks` show what a recipe comes to"));
    }
    Ok(plan.warnings)
}

/// Refuses a disk on which the checkpoints that will stand together do not fit, two at least, if the run makes them.
///
/// # Errors
/// Of kind [`Kind::Other`], with the bytes needed and free.
pub(super) fn check_disk(
    config: &RunConfig,
    networks: &Networks,
    checkpoints: &Checkpoints,
    state: &State,
    steps: usize,
) -> Result<()> {
    // Both networks that learn have two moments.
    let learning = networks.encoder.num_params() + networks.predictor.num_params();
    let values = 3 * learning + networks.target_encoder.num_params();
    let one = (values * size_of::<f32>()) as u64 + BESIDE;
    let to_come = (steps - state.step.min(steps)).div_ceil(config.train.checkpoint_every);
    let count = TOGETHER.saturating_sub(checkpoints.list()?.len()).max(1).min(to_come) as u64;
    // Where they will be written: their folder may be a link to another disk.
    let folder = checkpoints.folder();
    let Ok(free) = fs4::available_space(&folder) else {
        // A file system that does not say is found out at the first checkpoint.
        return Ok(());
    };
    if free >= count * one {
        return Ok(());
    }
    let message = format!(
        "{count} checkpoints of {one} bytes do not fit on the disk of {}: {} bytes needed, {free} free",
        folder.display(),
        count * one
    );
    Err(Error::new(Kind::Other, message).with_remedy("free some space, or name a folder on another disk with --out"))
}
