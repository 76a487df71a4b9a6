//! Reference cases: golden values of the original PyTorch code, and how far this crate's are from them.

mod attentive;
mod case;
mod checkpoint;
mod compare;
mod compiled;
mod draws;
mod hf_ijepa;
mod hf_vjepa2;
mod ijepa;
mod misc;
mod preprocess;
mod pth_formats;
mod report;
mod schedule;
mod tolerance;
mod training;
mod vjepa;
mod vjepa_image;

use std::path::Path;

use burn::tensor::Device;

pub use case::Case;
pub use compare::{Comparison, Tolerance};
pub use report::Report;

use crate::device::Spec;
use crate::error::{Error, Result};

/// How a case of one kind is run.
type Verify = fn(&Case, &Device) -> Result<Report>;

/// The kinds of cases, as a case's configuration names them.
const KINDS: &[(&str, Verify)] = &[
    ("ijepa", ijepa::verify),
    ("vjepa", vjepa::verify),
    ("vjepa_image", vjepa_image::verify),
    ("hf_ijepa", hf_ijepa::verify),
    ("hf_vjepa2", hf_vjepa2::verify),
    ("attentive_classifier", attentive::verify),
    ("preprocess", |case, _| preprocess::verify(case)),
    ("misc", misc::verify),
    ("pth_formats", |case, _| pth_formats::verify(case)),
];

/// Runs the case in `folder` on `device`.
///
/// # Errors
/// A data error where the folder holds no case this crate knows, a device error where the device fails. A comparison
/// that fails is no error: see [`Report::passed`].
pub fn verify(folder: &Path, device: &Device) -> Result<Report> {
    let case = Case::open(folder)?;
    let Some((_, verify)) = KINDS.iter().find(|(kind, _)| *kind == case.kind) else {
        let known: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
        return Err(Error::data(folder, format!("cases of the kind `{}` are not known", case.kind))
            .with_remedy(format!("the known kinds are {}", known.join(", "))));
    };
    Ok(verify(&case, device)?.finish())
}

/// Runs the part of the case in `folder` that is an encoder's forward pass as a plan of our own kernels on `device`.
///
/// # Errors
/// As [`verify`]; a usage error where the case has no encoder.
pub fn verify_compiled(folder: &Path, device: Spec) -> Result<Report> {
    Ok(compiled::verify(&Case::open(folder)?, device)?.finish())
}
