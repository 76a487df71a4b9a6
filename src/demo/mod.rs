//! The demonstration: pre-train on small pictures, probe raw pixels, the untrained and the trained encoder, and report.

mod page;
mod probes;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;

pub use probes::{Features, ProbeRow, RawPixels, probe};

use crate::config::{Layers, RunConfig};
use crate::data::{Dataset, EvalPlan, EvalTransform, Split};
use crate::error::{Error, IoContext as _, Kind, Result};
use crate::eval::few_labels;
use crate::extract::{
    BurnEngine, FeatureDtype, FeatureEngine, Format, Provenance, ReadOut, Row, Tokens, Views, Writer, WriterOptions,
    encode_all,
};
use crate::matrix::Matrix;
use crate::model::{Encoder, Init};
use crate::stop::Stop;
use crate::train::{ConfigChange, Networks, Observer, Resume, Run, train};
use crate::weights::{self, Which};

/// Blocks whose pooled outputs are joined into the features, as in I-JEPA's own linear evaluation.
pub const LAYERS: usize = 4;
const READ_OUT: ReadOut = ReadOut { layers: Layers::LastOf(LAYERS), tokens: Tokens::Pooled, views: Views::One };
/// Labels of each class in the probe with few labels.
pub const FEW_LABELS: usize = 50;
/// Images of one forward pass in extraction.
const BATCH: usize = 256;

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
pub struct Outcome {
    /// Accuracies by features, labels and seed.
    pub probes: Vec<ProbeRow>,
    /// The report.
    pub report: PathBuf,
    /// The last checkpoint of the first seed.
    pub checkpoint: PathBuf,
}

/// Pictures with their labels, ready to be encoded.
pub(crate) struct Part {
    pub data: Arc<Dataset>,
    pub labels: Vec<u32>,
}

/// The encoder of one seed before and after training.
pub(crate) struct Pair {
    pub untrained: Encoder,
    pub trained: Encoder,
}

/// The run of the first seed, which the report shows.
pub(crate) struct First {
    pub pair: Pair,
    /// Features of the training and the test part.
    pub sets: Vec<(Features, [Matrix; 2])>,
    pub metrics: PathBuf,
    pub checkpoint: PathBuf,
}

/// Runs the demonstration.
///
/// # Errors
/// As training does; a data error where the data set has no labels.
pub fn run(demo: &Demo, observer: &mut dyn Observer) -> Result<Outcome> {
    let (data, test) = (part(demo.data, Split::Train)?, part(demo.data, Split::Test)?);
    let plan = |part: &Part| -> Result<EvalPlan> {
        let samples = 0..part.data.len();
        Ok(EvalPlan { batch: BATCH, workers: 1, transform: EvalTransform::of(demo.config)?, samples })
    };

    if data.data.fingerprint() == test.data.fingerprint() {
        return Err(Error::data(demo.data, "has no test part of its own")
            .with_remedy("give IDX files, or a folder with train and test in it"));
    }
    // Too few labels end the demonstration here rather than after the training.
    few_labels(&data.labels, FEW_LABELS, 0)?;
    let stopped = || demo.stop.error("the training", "the same command continues it").map_or(Ok(()), Err);
    let mut probes = Vec::new();
    let mut first: Option<First> = None;
    for &seed in demo.seeds {
        let mut config = demo.config.clone();
        config.train.seed = seed;
        let out = demo.out.join(format!("seed-{seed}"));
        let run = Run {
            config: &config,
            data: Arc::clone(&data.data),
            out: &out,
            device: demo.device,
            resume: Resume::Auto,
            config_change: ConfigChange::Refuse,
            stop: demo.stop.clone(),
        };
        let outcome = train(&run, observer).map_err(|error| match error.kind() {
            // What a run in the folder does not fit is mended by another folder; everything else has advice of its own.
            Kind::Data if out.join("latest").exists() => {
                error.with_remedy(format!("remove {}, or name another folder with --out", out.display()))
            }
            _ => error,
        })?;
        let untrained = Networks::new(&config, Init::Seed(seed), demo.device).target_encoder;
        let pair = Pair { untrained, trained: outcome.networks.target_encoder };

        let mut sets = vec![(Features::Raw, RawPixels::new(&config).encode(&data, &test)?)];
        for (features, encoder) in [(Features::Untrained, &pair.untrained), (Features::Trained, &pair.trained)] {
            let engine = engine(encoder, demo.device);
            let encode = |part: &Part| encode_all(&engine, &part.data, plan(part)?, &mut |_| ()).map(|e| e.features);
            sets.push((features, [encode(&data)?, encode(&test)?]));
        }
        for (features, [train_features, test_features]) in &sets {
            for few in [None, Some(FEW_LABELS)] {
                stopped()?;
                let train_set = (train_features, data.labels.as_slice());
                let row = probe(*features, train_set, (test_features, &test.labels), few, seed, demo.device)?;
                probes.push(row);
            }
        }
        if first.is_none() {
            if let Some((_, [train_features, test_features])) = sets.last() {
                let loaded = weights::open(&outcome.checkpoint, Some(Which::Target))?;
                let provenance = Provenance::of(&loaded, Which::Target, READ_OUT, FeatureDtype::F32)?;
                write(&out.join("features/train"), train_features, &data, &provenance)?;
                write(&out.join("features/test"), test_features, &test, &provenance)?;
            }
            first = Some(First { pair, sets, metrics: out.join("metrics.jsonl"), checkpoint: outcome.checkpoint });
        }
    }
    let Some(first) = first else {
        return Err(Error::usage("a demonstration needs one seed at least"));
    };
    let page = page::render(demo, &first, &test, &data, &probes)?;
    let report = demo.out.join("report.html");
    fs::write(&report, page).at("write", &report)?;
    Ok(Outcome { probes, report, checkpoint: first.checkpoint })
}

/// An engine that reads the features of this demonstration.
pub(crate) fn engine(encoder: &Encoder, device: &Device) -> impl FeatureEngine + use<> {
    BurnEngine::new(encoder.clone(), device.clone(), READ_OUT)
}

fn part(path: &Path, split: Split) -> Result<Part> {
    let data = Dataset::open_split(path, split)?;
    let labels: Option<Vec<u32>> = (0..data.len()).map(|i| data.label(i)).collect();
    let labels = labels.ok_or_else(|| {
        Error::data(path, "a probe needs a label for every picture")
            .with_remedy("give a folder for each class, IDX files with labels, or a list with a label in each line")
    })?;
    Ok(Part { data: Arc::new(data), labels })
}

fn write(folder: &Path, features: &Matrix, part: &Part, provenance: &Provenance) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).at("replace", folder)?;
    }
    let shape = crate::extract::Shape { tokens: 1, dim: features.cols };
    let options = WriterOptions { format: Format::Safetensors, shape, rows_per_shard: 4096 };
    let mut writer = Writer::create(folder, provenance.clone(), options)?.with_classes(part.data.classes())?;
    if features.rows != part.labels.len() {
        return Err(Error::new(
            Kind::Data,
            format!("{} of {} pictures could be read", features.rows, part.labels.len()),
        ));
    }
    for (i, features) in features.iter_rows().enumerate() {
        writer.push(&Row {
            input: i as u64,
            name: &part.data.name(i),
            label: Some(part.labels[i]),
            features,
            times: &[],
        })?;
    }
    writer.finish().map(drop)
}
