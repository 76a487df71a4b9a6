//! `anyjepa train`: pre-training.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyjepa::config::RunConfig;
use anyjepa::data::{Dataset, MAX_BAD, check_bad};
use anyjepa::device;
use anyjepa::error::{Error, Result};
use anyjepa::stop::Stop;
use anyjepa::train::{ConfigChange, Resume, Run, train};
use clap::Args;
use serde::Serialize;

use super::output::{Shown, print, print_json, say};
use super::ready::GettingReady;
use super::settings::ConfigArgs;
use super::training::TrainProgress;
use super::{DeviceArgs, OutputArgs, signals};

/// `anyjepa train (PRESET | --config FILE) --data PATH --out RUN`
#[derive(Debug, Args)]
pub struct Command {
    #[command(flatten)]
    config: ConfigArgs,
    /// Pictures or films: a folder, a list, IDX or CIFAR files, tar shards, `frames:FOLDER` of films that are folders of
    /// pictures, or generated films such as `synthetic:photopan`
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// The run's folder
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Continue an earlier run: auto, never, or the path of a checkpoint
    #[arg(long, value_name = "auto|never|PATH", default_value = "auto", value_parser = parse_resume)]
    resume: Resume,
    /// Continue with another configuration than the run began with
    #[arg(long)]
    allow_config_change: bool,
    /// Save and end with exit code 75 after this long, such as 90s, 30m or 2h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    stop_after: Option<Duration>,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

fn parse_resume(text: &str) -> Result<Resume, std::convert::Infallible> {
    Ok(match text {
        "auto" => Resume::Auto,
        "never" => Resume::Never,
        path => Resume::From(path.into()),
    })
}

fn parse_time(text: &str) -> Result<Duration> {
    let parsed = [("s", 1.0), ("m", 60.0), ("h", 3600.0)].into_iter().find_map(|(unit, seconds)| {
        let number: f64 = text.trim().strip_suffix(unit)?.parse().ok()?;
        Duration::try_from_secs_f64(number * seconds).ok().filter(|time| !time.is_zero())
    });
    parsed.ok_or_else(|| Error::usage("this is no time").with_remedy("write it as 90s, 30m or 2h"))
}

#[derive(Serialize)]
struct Summary {
    checkpoint: Shown,
    steps: usize,
    images: usize,
    skipped: usize,
}

impl Command {
    pub fn run(self) -> Result<()> {
        // The queue's clock runs since the process was started.
        let signal = signals::listen()?;
        let ready = GettingReady::begin(Arc::clone(&signal), self.resume.before())?;
        let deadline = self.stop_after.and_then(|time| Instant::now().checked_add(time));
        let config = self.config.resolve()?;
        let [held, computed] = memory(&config);
        device::require_memory(self.device.device, held, computed)?;
        let device = device::open(self.device.device)?;
        let data = Arc::new(Dataset::open(&self.data)?);
        say(&format!("{}: {}, on {}", config.name, data.contents(), self.device.device));
        let run = Run {
            config: &config,
            data: Arc::clone(&data),
            out: &self.out,
            device: &device,
            resume: self.resume,
            config_change: if self.allow_config_change { ConfigChange::Allow } else { ConfigChange::Refuse },
            stop: Stop::new(signal, deadline),
        };
        let outcome = train(&run, &mut TrainProgress::after(ready))?;
        let summary = Summary {
            checkpoint: outcome.checkpoint.into(),
            steps: outcome.steps,
            images: data.len(),
            skipped: outcome.skipped,
        };
        match self.output.json {
            true => print_json(&summary)?,
            false => print(&format!("{} steps, checkpoint {}", summary.steps, summary.checkpoint.display()))?,
        }
        check_bad(summary.skipped, summary.images, MAX_BAD)
            .map_err(|error| error.with_remedy(format!("{} says why", self.out.join("skipped.jsonl").display())))
    }
}

/// Bytes that a run takes at least: in the machine's memory, and on the device.
fn memory(config: &RunConfig) -> [f64; 2] {
    let [encoder, predictor] = config.model.parameter_bytes();
    let batch = (config.train.batch * config.train.accumulate) as f64;
    // Two encoders, and for what learns a gradient and two moments.
    [batch * config.model.input_bytes(), 5.0 * encoder + 4.0 * predictor]
}
