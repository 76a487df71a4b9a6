//! Demonstrations: an encoder learns on the spot, is probed beside what it was before, and a report shows it.

pub mod pictures;
pub mod video;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;

use crate::config::RunConfig;
use crate::data::{Batch, Dataset, Split};
use crate::error::{Error, IoContext as _, Kind, Result};
use crate::matrix::Matrix;
use crate::model::{Encoder, Init};
use crate::stop::Stop;
use crate::train::{ConfigChange, Networks, Observer, Resume, Run, read_series, train, upload};
use crate::viz::chart::{Line, line_chart};
use crate::viz::report::{Body, Section};

/// What a demonstration is made of.
pub struct Demo<'a> {
    /// The resolved configuration; its seed is replaced by each of `seeds`.
    pub config: &'a RunConfig,
    /// A data set with labels and a test part.
    pub data: &'a Path,
    /// Where everything is written.
    pub out: &'a Path,
    /// Where it computes, without autodiff.
    pub device: &'a Device,
    /// One training run for each.
    pub seeds: &'a [u64],
    /// What makes it end early.
    pub stop: Stop,
}

/// What a demonstration found.
pub struct Outcome<Row> {
    /// Accuracies.
    pub probes: Vec<Row>,
    /// The report.
    pub report: PathBuf,
    /// The last checkpoint of the first seed.
    pub checkpoint: PathBuf,
}

/// Samples with their labels, ready to be encoded.
struct Part {
    data: Arc<Dataset>,
    labels: Vec<u32>,
}

/// An encoder before and after training.
struct Pair {
    untrained: Encoder,
    trained: Encoder,
}

/// The run of one seed.
struct Learned {
    pair: Pair,
    out: PathBuf,
    metrics: PathBuf,
    checkpoint: PathBuf,
}

impl Demo<'_> {
    /// The training and the test part.
    fn parts(&self) -> Result<(Part, Part)> {
        let (train, test) = (part(self.data, Split::Train)?, part(self.data, Split::Test)?);
        if train.data.fingerprint() == test.data.fingerprint() {
            return Err(Error::data(self.data, "has no test part of its own")
                .with_remedy("give IDX files, or a folder with train and test in it"));
        }
        Ok((train, test))
    }

    /// Trains with `seed`, or goes on where an earlier demonstration ended.
    fn learn(&self, seed: u64, data: &Part, observer: &mut dyn Observer) -> Result<Learned> {
        let mut config = self.config.clone();
        config.train.seed = seed;
        let out = self.out.join(format!("seed-{seed}"));
        let run = Run {
            config: &config,
            data: Arc::clone(&data.data),
            out: &out,
            device: self.device,
            resume: Resume::Auto,
            config_change: ConfigChange::Refuse,
            stop: self.stop.clone(),
        };
        let outcome = train(&run, observer).map_err(|error| match error.kind() {
            // What a run in the folder does not fit is mended by another folder; everything else has advice of its own.
            Kind::Data if out.join("latest").exists() => {
                error.with_remedy(format!("remove {}, or name another folder with --out", out.display()))
            }
            _ => error,
        })?;
        let untrained = Networks::new(&config, Init::Seed(seed), self.device).target_encoder;
        let pair = Pair { untrained, trained: outcome.networks.target_encoder };
        Ok(Learned { pair, metrics: out.join("metrics.jsonl"), checkpoint: outcome.checkpoint, out })
    }

    /// Writes the report `page` on the run of the first seed and says what was found.
    fn finish<Row>(&self, probes: Vec<Row>, page: &str, first: Learned) -> Result<Outcome<Row>> {
        let report = self.out.join("report.html");
        fs::write(&report, page).at("write", &report)?;
        Ok(Outcome { probes, report, checkpoint: first.checkpoint })
    }

    /// Ends the demonstration where it was told to.
    fn go_on(&self) -> Result<()> {
        self.stop.error("the training", "the same command continues it").map_or(Ok(()), Err)
    }

    /// The last layer's tokens of `batches`, one matrix row a token.
    fn tokens(&self, encoder: &Encoder, batches: &[Batch]) -> Result<Matrix> {
        let mut values = Vec::new();
        for batch in batches {
            let images = upload(batch.pixels.clone(), batch.shape, self.device);
            values.extend(crate::device::read::values(encoder.forward(images, None))?);
        }
        Matrix::new(values.len() / encoder.dim(), encoder.dim(), values)
    }
}

fn part(path: &Path, split: Split) -> Result<Part> {
    let data = Dataset::open_split(path, split)?;
    let labels: Option<Vec<u32>> = (0..data.len()).map(|i| data.label(i)).collect();
    let labels = labels.ok_or_else(|| {
        Error::data(path, "a probe needs a label for every sample")
            .with_remedy("give a folder for each class, IDX files with labels, or a list with a label in each line")
    })?;
    Ok(Part { data: Arc::new(data), labels })
}

fn no_seed() -> Error {
    Error::usage("a demonstration needs one seed at least").with_remedy("give --seeds 1 or more")
}

/// A share as it stands in tables.
fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// What a run's metrics say of its loss and of its features' rank.
fn curves(metrics: &Path) -> Result<Section> {
    let curve = |key: &str, name: &str| {
        let points = read_series(metrics, key)?;
        line_chart("step", name, &[Line { name, points: &points }]).map(Body::Svg)
    };
    Ok(Section {
        heading: "Training".into(),
        text: "The loss is measured against targets that move as the target encoder learns, so it need not fall; the \
               rank of the features says how many directions they use."
            .into(),
        body: vec![curve("loss", "loss")?, curve("feature_rank", "feature rank (RankMe)")?],
    })
}
