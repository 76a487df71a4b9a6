//! `anyjepa verify CASE_DIR...`: golden values of the original PyTorch code.

use std::path::PathBuf;

use anyjepa::device;
use anyjepa::error::{Error, Kind, Result};
use anyjepa::verify::{Comparison, verify};
use clap::Args;
use serde::Serialize;

use super::output::{print, print_json, table};
use super::{DeviceArgs, OutputArgs};

/// `anyjepa verify CASE_DIR...`
#[derive(Debug, Args)]
pub struct Command {
    /// Folders of reference cases
    #[arg(required = true, value_name = "CASE_DIR")]
    cases: Vec<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Verification {
    device: String,
    tensors: Vec<Row>,
    passed: bool,
}

#[derive(Serialize)]
struct Row {
    case: String,
    #[serde(flatten)]
    comparison: Comparison,
}

impl Command {
    pub fn run(self) -> Result<()> {
        let device = device::open(self.device.device)?;
        let mut result = Verification { device: self.device.device.to_string(), tensors: Vec::new(), passed: true };
        for folder in &self.cases {
            let report = verify(folder, &device)?;
            result.passed &= report.passed();
            let case = folder.display().to_string();
            for note in &report.notes {
                super::output::say(&format!("{case}: {note}"));
            }
            result.tensors.extend(report.tensors.into_iter().map(|comparison| Row { case: case.clone(), comparison }));
        }
        if self.output.json {
            print_json(&result)?;
        } else {
            print_table(&result)?;
        }
        let failed = result.tensors.iter().filter(|row| !row.comparison.passed).count();
        if result.passed {
            return Ok(());
        }
        Err(Error::new(Kind::Data, format!("{failed} of {} tensors differ from the reference", result.tensors.len()))
            .with_remedy("docs/PARITY.md explains the tolerances; a driver's fault shows on one device alone"))
    }
}

fn print_table(result: &Verification) -> Result<()> {
    let mut rows = table(&["tensor", "shape", "max abs", "max rel", "cosine", "tolerance", ""]);
    for Row { comparison: tensor, .. } in &result.tensors {
        let verdict = match (&tensor.problem, tensor.passed) {
            (Some(problem), _) => format!("FAIL: {problem}"),
            (None, true) => "pass".into(),
            (None, false) => "FAIL".into(),
        };
        rows.add_row([
            tensor.name.clone(),
            format!("{:?}", tensor.shape),
            format!("{:.1e}", tensor.max_abs),
            format!("{:.1e}", tensor.max_rel),
            format!("{:.9}", tensor.cosine),
            tensor.tolerance.clone(),
            verdict,
        ]);
    }
    let passed = result.tensors.iter().filter(|row| row.comparison.passed).count();
    print(&format!("{rows}\n{passed} of {} tensors pass on {}", result.tensors.len(), result.device))
}
