//! The published form of a case's weights: each `checkpoint*.pth.tar` holds what the case's safetensors hold.

use std::path::Path;

use super::case::Case;
use super::compare::{Comparison, Tolerance};
use super::report::Report;
use super::tolerance::AVERAGED;
use crate::error::{Error, Result};
use crate::weights::{Store, Tensors};

/// The networks of a checkpoint; beside them it holds the optimizer's state and plain numbers.
const NETWORKS: &[&str] = &["encoder.", "predictor.", "target_encoder."];

/// Compares every tensor of every checkpoint of the case.
///
/// `checkpoint_step1.pth.tar` is compared with the golden values `step1.*`, which leave out the position embeddings: no
/// gradient reaches them, but the moving average rounds the target encoder's.
///
/// # Errors
/// A data error where a checkpoint cannot be read.
pub fn verify(report: &mut Report, case: &Case, weights: &Tensors) -> Result<()> {
    for (file, path) in case.pytorch_files("checkpoint")? {
        let step = file.trim_start_matches("checkpoint").trim_end_matches(".pth.tar").trim_start_matches('_');
        let mut found = networks(&path)?;
        for (name, weight) in weights {
            let stepped = report.golden(&format!("{step}.{name}")).cloned();
            let averaged = stepped.is_none() && !step.is_empty() && name.starts_with("target_encoder.");
            let tolerance = if averaged { AVERAGED } else { Tolerance::Exact };
            let golden = stepped.unwrap_or_else(|| weight.clone());
            let label = format!("{file}: {name}");
            match found.remove(name) {
                Some(tensor) => report.against(&label, &tensor, &golden, tolerance),
                None => report.add(Comparison::failed(&label, &golden.shape, "the checkpoint does not hold it".into())),
            }
        }
        for (name, tensor) in found {
            let problem = "the case's weights do not hold it".to_owned();
            report.add(Comparison::failed(&format!("{file}: {name}"), &tensor.shape, problem));
        }
    }
    Ok(())
}

/// The tensors of a checkpoint's networks, without the prefixes `module.` of distributed training and `backbone.` of V-JEPA's
/// wrapper.
fn networks(path: &Path) -> Result<Tensors> {
    let mut tensors = Tensors::new();
    for (name, entry) in Store::open(path)?.entries {
        let Some(network) = NETWORKS.iter().find(|network| name.starts_with(**network)) else { continue };
        let parameter = name[network.len()..].trim_start_matches("module.").trim_start_matches("backbone.");
        let tensor = entry.floats().map_err(|error| Error::data(path, format!("{name}: {error}")))?;
        tensors.insert(format!("{network}{parameter}"), tensor);
    }
    Ok(tensors)
}
