//! `anyjepa demo`: a vision transformer learns on the spot, from real pictures or from clips.

use std::path::{Path, PathBuf};

use anyjepa::config::RunConfig;
use anyjepa::demo::pictures::{self, ProbeRow};
use anyjepa::demo::video::{self, MotionRow};
use anyjepa::demo::{Demo, Outcome};
use anyjepa::device;
use anyjepa::error::{Error, Result};
use anyjepa::stop::Stop;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::arguments::count;
use super::output::{Shown, print, print_json, say, table};
use super::settings::ConfigArgs;
use super::training::TrainProgress;
use super::{DeviceArgs, OutputArgs, signals};

/// Labelled clips of each direction, where the demonstration takes few.
const FEW_LABELS: usize = 20;

/// `anyjepa demo`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Command {
    #[command(subcommand)]
    of: Option<Of>,
    #[command(flatten)]
    pictures: Pictures,
}

#[derive(Debug, Subcommand)]
enum Of {
    /// V-JEPA on generated clips: what its features know of motion
    Video(Video),
}

#[derive(Debug, Args)]
struct Pictures {
    /// Pictures with labels, in a training and a test part
    #[arg(long, value_name = "PATH", default_value = "examples/data/animals28")]
    data: PathBuf,
    /// Where the checkpoint, the features and report.html are written
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    out: PathBuf,
    /// Passes over the pictures
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = count::<u32>(1..))]
    epochs: u32,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Video {
    /// Clips in a training and a test part, whose classes are directions: synthetic:photopan, synthetic:sprites, or films
    /// in folders called right, up-right, up, up-left, left, down-left, down and down-right
    #[arg(long, value_name = "NAME", default_value = "synthetic:photopan")]
    data: PathBuf,
    /// Where the checkpoint and report.html are written
    #[arg(long, value_name = "DIR", default_value = "runs/demo-video")]
    out: PathBuf,
    /// Passes over the clips; the preset's where none is given
    #[arg(long, value_name = "N", value_parser = count::<u32>(1..))]
    epochs: Option<u32>,
    /// Labelled clips that the probes learn from; they are tested on half as many others
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = count::<u32>(512..=4096))]
    clips: u32,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Training runs, with the seeds 0, 1, ...
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count::<u64>(1..=100))]
    seeds: u64,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Summary<Row> {
    probes: Vec<Row>,
    report: Shown,
    checkpoint: Shown,
}

impl Command {
    pub fn run(self) -> Result<()> {
        match self.of {
            None => self.pictures.run(),
            Some(Of::Video(video)) => video.run(),
        }
    }
}

impl Pictures {
    fn run(self) -> Result<()> {
        let Self { data, out, epochs, common } = self;
        if !data.exists() {
            return Err(Error::usage(format!("{} does not exist", data.display()))
                .with_remedy("run the demonstration from the repository's root, or name pictures with --data"));
        }
        let config = preset("animals28", Some(epochs))?;
        let outcome =
            common.demonstrate(&config, &data, &out, |demo| pictures::run(demo, &mut TrainProgress::new()))?;
        common.show(outcome, &ProbeRow::HEADER, |row| row.cells().to_vec())
    }
}

impl Video {
    fn run(self) -> Result<()> {
        let Self { data, out, epochs, clips, common } = self;
        let config = preset("photopan", epochs)?;
        let outcome = common.demonstrate(&config, &data, &out, |demo| {
            video::run(demo, [clips as usize, FEW_LABELS], &mut TrainProgress::new(), &mut |text| say(text))
        })?;
        common.show(outcome, &MotionRow::HEADER, |row| row.cells().to_vec())
    }
}

fn preset(name: &str, epochs: Option<u32>) -> Result<RunConfig> {
    let set: Vec<String> = epochs.map(|epochs| format!("optim.epochs={epochs}")).into_iter().collect();
    ConfigArgs { preset: Some(name.to_owned()), config: None, set }.resolve()
}

impl Common {
    fn demonstrate<Row>(
        &self,
        config: &RunConfig,
        data: &Path,
        out: &Path,
        run: impl FnOnce(&Demo) -> Result<Outcome<Row>>,
    ) -> Result<Outcome<Row>> {
        let device = device::open(self.device.device)?;
        let seeds: Vec<u64> = (0..self.seeds).collect();
        let stop = Stop::new(signals::listen()?, None);
        run(&Demo { config, data, out, device: &device, seeds: &seeds, stop })
    }

    fn show<Row: Serialize>(
        &self,
        outcome: Outcome<Row>,
        header: &[&str],
        cells: impl Fn(&Row) -> Vec<String>,
    ) -> Result<()> {
        let summary =
            Summary { probes: outcome.probes, report: outcome.report.into(), checkpoint: outcome.checkpoint.into() };
        if self.output.json {
            return print_json(&summary);
        }
        let mut rows = table(header);
        for row in &summary.probes {
            rows.add_row(cells(row));
        }
        say(&format!("checkpoint {}", summary.checkpoint.display()));
        print(&format!("{rows}\nopen {} in a browser", summary.report.display()))
    }
}
