//! `anyjepa extract INPUT... --weights PATH --out PATH`: features of pictures or films, written a shard at a time.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyjepa::data::{Dataset, ListEnd, MAX_BAD, Split, check_bad};
use anyjepa::error::{Error, IoContext as _, Result};
use anyjepa::extract::{Existing, Extraction, Format, Provenance, SKIPPED_FILE, Shape, extract};
use anyjepa::stop::Stop;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::arguments::count;
use super::frozen::{FrozenArgs, Opened};
use super::output::{Shown, print, print_json, say};
use super::progress::CountProgress;
use super::{DeviceArgs, FeatureDtypeArg, OutputArgs, signals};

/// `anyjepa extract INPUT... --weights PATH --out PATH`
#[derive(Debug, Args)]
pub struct Command {
    /// Files, folders, globs, lists, IDX or CIFAR files, tar shards; - reads a list of them from standard input
    #[arg(value_name = "INPUT", required_unless_present = "null")]
    inputs: Vec<PathBuf>,
    /// Read paths without labels from standard input, which end in NUL instead of a line feed
    #[arg(short = '0', long)]
    null: bool,
    /// A run, a checkpoint, or weights of any form
    #[arg(long, value_name = "PATH", required_unless_present = "package", group = "encoder_source")]
    weights: Option<PathBuf>,
    /// A compiled encoder that `anyjepa compile` wrote, instead of weights
    #[arg(long, value_name = "DIR", group = "encoder_source", conflicts_with_all = ["weights", "model", "encoder", "tokens", "views", "layers", "sampling", "batch", "engine", "precision"])]
    package: Option<PathBuf>,
    /// The folder of the features
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Which part of data that come in parts; others are taken whole
    #[arg(long, value_enum, default_value_t)]
    split: SplitArg,
    #[command(flatten)]
    frozen: FrozenArgs,
    /// How the values of features are stored; --precision says how they are computed
    #[arg(long, value_enum, default_value_t)]
    dtype: FeatureDtypeArg,
    /// The container of a shard
    #[arg(long, value_enum, default_value_t)]
    format: FormatArg,
    /// Rows of a shard; a kill loses at most so many
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = count::<u32>(1..))]
    shard_rows: u32,
    /// Continue an extraction that was stopped or killed
    #[arg(long)]
    resume: bool,
    /// The share of inputs that may be unreadable before the exit code is 3
    #[arg(long, value_name = "SHARE", default_value_t = MAX_BAD, value_parser = parse_share)]
    max_bad: f64,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum SplitArg {
    Train,
    Test,
    #[default]
    All,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum FormatArg {
    #[default]
    Safetensors,
    Npy,
    Parquet,
}

#[derive(Serialize)]
struct Summary {
    out: Shown,
    inputs: usize,
    rows: u64,
    rows_before: u64,
    skipped: usize,
    shards: usize,
    format: Format,
    shape: Shape,
    seconds: f64,
    images_per_second: f64,
    provenance: Provenance,
}

impl Command {
    pub fn run(self) -> Result<()> {
        let dtype = self.dtype.into();
        let format = match self.format {
            FormatArg::Safetensors => Format::Safetensors,
            FormatArg::Npy => Format::Npy,
            FormatArg::Parquet => Format::Parquet,
        };
        let data = Arc::new(self.data()?);
        let spec = self.device.device;
        let Opened { frozen, times, batch, workers } = match (&self.package, &self.weights) {
            (Some(package), _) => self.frozen.open_package(package, dtype, spec, data.len())?,
            (None, Some(weights)) => self.frozen.open(weights, dtype, spec, data.len())?,
            (None, None) => return Err(Error::usage("no encoder is named").with_remedy("give --weights or --package")),
        };
        say(&format!("{}: {}, on {}", frozen.provenance.model, data.contents(), self.device.device));
        tracing::info!(
            "batches of {batch}, {workers} threads; BLAKE3 of the encoder {}",
            frozen.provenance.weights_blake3
        );
        let extraction = Extraction {
            data: Arc::clone(&data),
            engine: frozen.engine.as_ref(),
            transform: frozen.transform,
            provenance: frozen.provenance,
            times,
            out: &self.out,
            existing: if self.resume { Existing::Continue } else { Existing::Refuse },
            format,
            rows_per_shard: self.shard_rows as usize,
            batch,
            workers,
            stop: Stop::new(signals::listen()?, None),
        };
        let start = Instant::now();
        let mut progress = CountProgress::new(data.len(), "images");
        let done = extract(&extraction, &mut |behind| progress.at(behind))?;
        progress.finish();

        let seconds = start.elapsed().as_secs_f64();
        let rows = done.index.rows;
        let summary = Summary {
            inputs: data.len(),
            rows,
            rows_before: done.rows_before,
            skipped: done.skipped,
            shards: done.index.shards.len(),
            format,
            shape: done.index.shape,
            seconds,
            images_per_second: (rows - done.rows_before) as f64 / seconds,
            provenance: done.index.provenance,
            out: self.out.into(),
        };
        let log = summary.out.join(SKIPPED_FILE);
        match self.output.json {
            true => print_json(&summary)?,
            false => print(&summary.to_text())?,
        }
        check_bad(summary.skipped, summary.inputs, self.max_bad)
            .map_err(|error| error.with_remedy(format!("{} says why; --max-bad permits a larger share", log.display())))
    }

    fn data(&self) -> Result<Dataset> {
        let split = match self.split {
            SplitArg::Train => Split::Train,
            SplitArg::Test => Split::Test,
            SplitArg::All => Split::All,
        };
        let listed = |path: &PathBuf| path.as_path() == Path::new("-");
        if !self.null && !self.inputs.iter().any(listed) {
            return Dataset::open_many(&self.inputs, split);
        }
        if !self.inputs.iter().all(listed) {
            return Err(Error::usage("paths from standard input cannot be joined with other inputs")
                .with_remedy("give - alone, or add the other paths to the list"));
        }
        let mut list = Vec::new();
        std::io::stdin().lock().read_to_end(&mut list).at("read", "standard input")?;
        Dataset::open_list(&list, if self.null { ListEnd::Nul } else { ListEnd::LineFeed }, split)
    }
}

impl Summary {
    fn to_text(&self) -> String {
        let Self { out, rows, rows_before, skipped, shards, format, shape, images_per_second, .. } = self;
        let mut text = format!("{}: {rows} rows of {shape} in {shards} shards of {format}", out.display());
        if *rows_before > 0 {
            text += &format!(", {rows_before} of them from before");
        }
        if *skipped > 0 {
            text += &format!(", {skipped} inputs skipped ({SKIPPED_FILE})");
        }
        text + &format!("; {images_per_second:.1} images/s")
    }
}

fn parse_share(text: &str) -> Result<f64> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| Error::usage("this is no share").with_remedy("write a number from 0 to 1"))
}
