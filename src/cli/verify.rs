//! `anyjepa verify CASE_DIR...`: golden values of the original PyTorch code.

use std::path::PathBuf;

use anyjepa::device;
use anyjepa::error::{Error, Kind, Result};
use anyjepa::verify::{Comparison, verify, verify_compiled};
use clap::Args;
use serde::Serialize;

use super::frozen::EngineArg;
use super::output::{print, print_json, table};
use super::{DeviceArgs, OutputArgs};

/// `anyjepa verify CASE_DIR...`
#[derive(Debug, Args)]
pub struct Command {
    /// Folders of reference cases
    #[arg(required = true, value_name = "CASE_DIR")]
    cases: Vec<PathBuf>,
    /// What runs the encoder: burn's operations, or our own kernels, which know its forward pass alone
    #[arg(long, value_enum, default_value_t = EngineArg::Burn)]
    engine: EngineArg,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Verification {
    device: String,
    tensors: Vec<Row>,
    failures: Vec<Failure>,
    passed: bool,
}

/// A case that could not be verified.
#[derive(Serialize)]
struct Failure {
    case: String,
    message: String,
}

#[derive(Serialize)]
struct Row {
    case: String,
    #[serde(flatten)]
    comparison: Comparison,
}

impl Command {
    pub fn run(self) -> Result<()> {
        let spec = self.device.device;
        let burn = if self.engine == EngineArg::Burn { Some(device::open(spec)?) } else { None };
        let mut result = Verification {
            device: self.device.device.to_string(),
            tensors: Vec::new(),
            failures: Vec::new(),
            passed: true,
        };
        let mut errors = Vec::new();
        for folder in &self.cases {
            let case = folder.display().to_string();
            let report = match &burn {
                Some(device) => verify(folder, device),
                None => verify_compiled(folder, spec),
            };
            match report {
                Ok(report) => {
                    result.passed &= report.passed();
                    for note in &report.notes {
                        super::output::say(&format!("{case}: {note}"));
                    }
                    let rows = report.tensors.into_iter().map(|comparison| Row { case: case.clone(), comparison });
                    result.tensors.extend(rows);
                }
                Err(error) => {
                    result.passed = false;
                    result.failures.push(Failure { case, message: error.to_string() });
                    errors.push(error);
                }
            }
        }
        if self.output.json {
            print_json(&result)?;
        } else if !result.tensors.is_empty() {
            print_table(&result)?;
        }
        if result.passed {
            return Ok(());
        }
        Err(failure(&result, self.cases.len(), errors))
    }
}

/// What ends a verification that did not pass; the exit code is that of the worst fault, at least that of invalid data.
fn failure(result: &Verification, cases: usize, mut errors: Vec<Error>) -> Error {
    if cases == 1
        && let Some(error) = errors.pop()
    {
        return error;
    }
    let different = result.tensors.iter().filter(|row| !row.comparison.passed).count();
    let mut parts = Vec::new();
    if different > 0 {
        parts.push(format!("{different} of {} tensors differ from the reference", result.tensors.len()));
    }
    if !errors.is_empty() {
        let reasons: Vec<String> =
            result.failures.iter().map(|failure| format!("{} ({})", failure.case, failure.message)).collect();
        parts.push(format!("{} of {cases} cases could not be verified: {}", errors.len(), reasons.join(", ")));
    }
    let worst = errors.iter().map(Error::kind).find(|kind| *kind == Kind::Device).unwrap_or(Kind::Data);
    let remedy = match errors.first().and_then(Error::remedy) {
        Some(remedy) if different == 0 => remedy,
        _ => "docs/PARITY.md explains the tolerances; a driver's fault shows on one device alone",
    };
    Error::new(worst, parts.join("; ")).with_remedy(remedy)
}

fn print_table(result: &Verification) -> Result<()> {
    let mut rows = table(&["tensor", "shape", "max abs", "max rel", "cosine", "tolerance", ""]);
    // Tensors of several cases have the same names.
    let several = result.tensors.iter().any(|row| row.case != result.tensors[0].case);
    let mut last = None;
    for Row { case, comparison: tensor } in &result.tensors {
        if several && last.replace(case) != Some(case) {
            rows.add_row([case.as_str()]);
        }
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
    for Failure { case, message } in &result.failures {
        rows.add_row([case.as_str(), "", "", "", "", "", &format!("FAIL: {message}")]);
    }
    let passed = result.tensors.iter().filter(|row| row.comparison.passed).count();
    print(&format!("{rows}\n{passed} of {} tensors pass on {}", result.tensors.len(), result.device))
}
