//! The demonstration on pictures: pre-train, probe raw pixels, the untrained and the trained encoder, and report.

mod page;
mod probes;

use std::fs;
use std::path::Path;

use burn::tensor::Device;

pub use probes::{Features, ProbeRow};
use probes::{RawPixels, probe};

use super::{Demo, Learned, Outcome, Part, no_seed};
use crate::config::Layers;
use crate::data::{EvalPlan, EvalTransform};
use crate::error::{Error, IoContext as _, Kind, Result};
use crate::eval::few_labels;
use crate::extract::{
    BurnEngine, FeatureDtype, FeatureEngine, Format, Provenance, ReadOut, Row, Tokens, Views, Writer, WriterOptions,
    encode_all,
};
use crate::matrix::Matrix;
use crate::model::Encoder;
use crate::train::Observer;
use crate::weights::{self, Which};

/// Blocks whose pooled outputs are joined into the features, as in I-JEPA's own linear evaluation.
const LAYERS: usize = 4;
const READ_OUT: ReadOut = ReadOut { layers: Layers::LastOf(LAYERS), tokens: Tokens::Pooled, views: Views::One };
/// Labels of each class in the probe with few labels.
const FEW_LABELS: usize = 50;
/// Images of one forward pass in extraction.
const BATCH: usize = 256;

/// The run of the first seed, which the report shows.
struct First {
    learned: Learned,
    /// Features of the training and the test part.
    sets: Vec<(Features, [Matrix; 2])>,
}

/// Runs the demonstration.
///
/// # Errors
/// As training does; a data error where the data set has no labels.
pub fn run(demo: &Demo, observer: &mut dyn Observer) -> Result<Outcome<ProbeRow>> {
    let (data, test) = demo.parts()?;
    let plan = |part: &Part| -> Result<EvalPlan> {
        let samples = 0..part.data.len();
        Ok(EvalPlan { batch: BATCH, workers: 1, transform: EvalTransform::of(demo.config)?, samples })
    };
    // Too few labels end the demonstration here rather than after the training.
    few_labels(&data.labels, FEW_LABELS, 0).map_err(|error| {
        error.with_remedy(format!("give data with at least {FEW_LABELS} training pictures of each class"))
    })?;
    // And so does a picture that cannot be read: all features are of the same pictures.
    let raw = RawPixels::new(demo.config).encode(&data, &test)?;
    let mut probes = Vec::new();
    let mut first: Option<First> = None;
    for &seed in demo.seeds {
        let learned = demo.learn(seed, &data, observer)?;
        let mut sets = vec![(Features::Raw, raw.clone())];
        for (features, encoder) in
            [(Features::Untrained, &learned.pair.untrained), (Features::Trained, &learned.pair.trained)]
        {
            let engine = engine(encoder, demo.device);
            let encode = |part: &Part| encode_all(&engine, &part.data, plan(part)?, &mut |_| ()).map(|e| e.features);
            sets.push((features, [encode(&data)?, encode(&test)?]));
        }
        for (features, [train_features, test_features]) in &sets {
            for few in [None, Some(FEW_LABELS)] {
                demo.go_on()?;
                let train_set = (train_features, data.labels.as_slice());
                let row = probe(*features, train_set, (test_features, &test.labels), few, seed, demo.device)?;
                probes.push(row);
            }
        }
        if first.is_none() {
            if let Some((_, [train_features, test_features])) = sets.last() {
                let loaded = weights::open(&learned.checkpoint, Some(Which::Target))?;
                let provenance = Provenance::of(&loaded, Which::Target, READ_OUT, FeatureDtype::F32)?;
                write(&learned.out.join("features/train"), train_features, &data, &provenance)?;
                write(&learned.out.join("features/test"), test_features, &test, &provenance)?;
            }
            first = Some(First { learned, sets });
        }
    }
    let first = first.ok_or_else(no_seed)?;
    let page = page::render(demo, &first, &test, &data, &probes)?;
    demo.finish(probes, &page, first.learned)
}

/// An engine that reads the features of this demonstration.
fn engine(encoder: &Encoder, device: &Device) -> impl FeatureEngine + use<> {
    BurnEngine::new(encoder.clone(), device.clone(), READ_OUT)
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
