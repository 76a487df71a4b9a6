//! `anyjepa demo`: a vision transformer learns from real pictures, on the spot.

use std::path::PathBuf;

use anyjepa::demo::{Demo, ProbeRow, run};
use anyjepa::device;
use anyjepa::error::{Error, Result};
use anyjepa::stop::Stop;
use clap::Args;
use serde::Serialize;

use super::output::{Shown, print, print_json, say, table};
use super::settings::ConfigArgs;
use super::training::TrainProgress;
use super::{DeviceArgs, OutputArgs, signals};

/// `anyjepa demo`
#[derive(Debug, Args)]
pub struct Command {
    /// Pictures with labels, in a training and a test part
    #[arg(long, value_name = "PATH", default_value = "examples/data/animals28")]
    data: PathBuf,
    /// Where the checkpoint, the features and report.html are written
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    out: PathBuf,
    /// Training runs, with the seeds 0, 1, ...
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// Passes over the pictures
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Summary {
    probes: Vec<ProbeRow>,
    report: Shown,
    checkpoint: Shown,
}

impl Command {
    pub fn run(self) -> Result<()> {
        if !self.data.exists() {
            return Err(Error::usage(format!("{} does not exist", self.data.display()))
                .with_remedy("run the demonstration from the repository's root, or name pictures with --data"));
        }
        let set = [format!("optim.epochs={}", self.epochs)];
        let config = ConfigArgs { preset: Some("animals28".to_owned()), config: None, set: set.into() }.resolve()?;
        let device = device::open(self.device.device)?;
        let seeds: Vec<u64> = (0..self.seeds).collect();
        let stop = Stop { signal: signals::listen()?, deadline: None };
        let demo = Demo { config: &config, data: &self.data, out: &self.out, device: &device, seeds: &seeds, stop };
        let outcome = run(&demo, &mut TrainProgress::new())?;
        let summary =
            Summary { probes: outcome.probes, report: outcome.report.into(), checkpoint: outcome.checkpoint.into() };
        if self.output.json {
            return print_json(&summary);
        }
        let mut rows = table(&ProbeRow::HEADER);
        for row in &summary.probes {
            rows.add_row(row.cells());
        }
        say(&format!("checkpoint {}", summary.checkpoint.display()));
        print(&format!("{rows}\nopen {} in a browser", summary.report.display()))
    }
}
