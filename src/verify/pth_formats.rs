//! A case of the kind `pth_formats`: pickles of several generations, whose tensors and values must come out to the bit.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::case::Case;
use super::compare::Comparison;
use super::report::Report;
use crate::error::{Error, Result};
use crate::weights::{Entry, Store, Tensors};

#[derive(Deserialize)]
struct CaseConfig {
    /// By dotted path, what the files hold beside tensors.
    #[serde(default)]
    non_tensors: BTreeMap<String, Value>,
}

/// Runs the case; it needs no device.
///
/// # Errors
/// A data error where a file of the case cannot be read or there is none.
pub fn verify(case: &Case) -> Result<Report> {
    let CaseConfig { non_tensors } = case.config()?;
    let expected = Store::safetensors(&case.held("expected.safetensors")?)?;
    let files = case.pytorch_files("")?;
    if files.is_empty() {
        return Err(Error::data(case.path(""), "the case holds no .pth.tar"));
    }
    let mut report = Report::new(Tensors::new());
    for (file, path) in files {
        let mut found = Store::open(&path)?;
        for (name, golden) in &expected.entries {
            let label = format!("{file}: {name}");
            report.add(match found.entries.remove(name) {
                Some(entry) => same(&label, &entry, golden)?,
                None => Comparison::failed(&label, &golden.shape, "the file does not hold it".into()),
            });
        }
        for (name, entry) in found.entries {
            let problem = "the case has no golden value of this name".to_owned();
            report.add(Comparison::failed(&format!("{file}: {name}"), &entry.shape, problem));
        }
        for (name, golden) in &non_tensors {
            let label = format!("{file}: {name}");
            report.add(match found.values.get(name) {
                Some(value) if value == golden => Comparison::identical(&label, &[]),
                Some(value) => Comparison::failed(&label, &[], format!("it is {value} instead of {golden}")),
                None => Comparison::failed(&label, &[], "the file does not hold it".into()),
            });
        }
    }
    Ok(report)
}

/// Compares type, shape and bytes: as f32, large integers and f64 would seem equal when they are not.
fn same(label: &str, found: &Entry, golden: &Entry) -> Result<Comparison> {
    if (found.dtype, &found.shape) != (golden.dtype, &golden.shape) {
        let problem =
            format!("it is {:?} {:?} instead of {:?} {:?}", found.dtype, found.shape, golden.dtype, golden.shape);
        return Ok(Comparison::failed(label, &golden.shape, problem));
    }
    let (found, bytes) = (found.bytes()?, golden.bytes()?);
    let different = found.iter().zip(&bytes).filter(|(a, b)| a != b).count();
    if different == 0 && found.len() == bytes.len() {
        return Ok(Comparison::identical(label, &golden.shape));
    }
    Ok(Comparison::failed(label, &golden.shape, format!("{different} of {} bytes differ", bytes.len())))
}
