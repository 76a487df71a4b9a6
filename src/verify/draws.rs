//! The part of a `misc` case that concerns draws: masks to the bit, and statistics of masks and of crops.

use std::collections::BTreeMap;

use serde_json::Value;

use super::case::Case;
use super::compare::Comparison;
use super::report::Report;
use crate::chance::Sample;
use crate::data::crop_statistics::CropStatistics;
use crate::error::{Error, Result};
use crate::masks::goldens::Goldens;
use crate::masks::statistics::Statistics;
use crate::masks::tube_statistics::TubeStatistics;

const MASKS: &str = "mask_stats.json";
const DRAWS: &str = "rng_goldens.json";
const CROPS: &str = "random_resized_crop_stats.json";

/// Compares the three files.
///
/// # Errors
/// A data error where one is missing or asks for what cannot be drawn.
pub fn verify(report: &mut Report, case: &Case) -> Result<()> {
    let samplers: BTreeMap<String, Value> = case.json(MASKS)?;
    if !samplers.keys().any(|name| name.starts_with("ijepa")) {
        return Err(case.misfit(MASKS, "it holds no statistics of I-JEPA, expected an entry `ijepa...`"));
    }
    for (name, golden) in samplers {
        let label = format!("mask_stats.{name}");
        if name.starts_with("vjepa") {
            let golden: TubeStatistics = serde_json::from_value(golden)
                .map_err(|error| case.misfit(MASKS, format!("`{name}` does not fit: {error}")))?;
            let samples = golden.compare().map_err(|error| case.misfit(MASKS, format!("`{name}`: {error}")))?;
            add(report, &label, &samples);
        } else if name.starts_with("ijepa") {
            let golden: Statistics = serde_json::from_value(golden)
                .map_err(|error| case.misfit(MASKS, format!("`{name}` does not fit: {error}")))?;
            let samples = golden.compare().map_err(|error| case.misfit(MASKS, format!("`{name}`: {error}")))?;
            add(report, &label, &samples);
        } else {
            let problem = "neither I-JEPA's nor V-JEPA's, so nothing is compared with it".to_owned();
            report.add(Comparison::failed(&label, &[], problem));
        }
    }

    let goldens: Goldens = case.json(DRAWS)?;
    add(report, "rng_goldens", &goldens.compare().map_err(|error: Error| case.fault(DRAWS, error))?);

    let crops: CropStatistics = case.json(CROPS)?;
    add(report, "random_resized_crop_stats", &crops.compare().map_err(|error| case.fault(CROPS, error))?);
    let left_out = "of the files of draws, only texts and the seeds of the reference's own generator are not compared";
    report.note(left_out.to_owned());
    Ok(())
}

fn add(report: &mut Report, prefix: &str, samples: &[Sample]) {
    for sample in samples {
        report.add(Comparison::sampled(&format!("{prefix}.{}", sample.name), sample));
    }
}
