//! Reference cases: golden values of the original PyTorch code, and how far this crate's are from them.

mod case;
mod checkpoint;
mod compare;
mod hf_ijepa;
mod ijepa;
mod pth_formats;
mod report;
mod tolerance;

use std::path::Path;

use burn::tensor::Device;

pub use case::Case;
pub use compare::{Comparison, Tolerance};
pub use report::Report;

use crate::error::{Error, Result};

/// Runs the case in `folder` on `device`.
///
/// # Errors
/// A data error where the folder holds no case this crate knows, a device error where the device fails. A comparison
/// that fails is no error: see [`Report::passed`].
pub fn verify(folder: &Path, device: &Device) -> Result<Report> {
    let case = Case::open(folder)?;
    let report = match case.kind.as_str() {
        "ijepa" => ijepa::verify(&case, device)?,
        "hf_ijepa" => hf_ijepa::verify(&case, device)?,
        "pth_formats" => pth_formats::verify(&case)?,
        other => {
            return Err(Error::data(folder, format!("cases of the kind `{other}` are not known"))
                .with_remedy("the known kinds are ijepa, hf_ijepa and pth_formats"));
        }
    };
    Ok(report.finish())
}
