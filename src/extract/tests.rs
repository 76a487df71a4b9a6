//! What is written is what Python's libraries have read; see tests/fixtures/features/README.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::provenance::example;
use super::*;

/// What `read.py` found in one shard.
#[derive(Deserialize)]
struct Read {
    dtype: String,
    shape: Vec<usize>,
    features: Vec<f32>,
    labels: Vec<i64>,
    index: Vec<u64>,
    names: Vec<String>,
    encoder: String,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/features")
}

fn cases() -> [(&'static str, Format, Provenance); 5] {
    let halves = || Provenance { tokens: Tokens::Patch, dtype: FeatureDtype::F16, ..example() };
    [
        ("safetensors", Format::Safetensors, example()),
        ("safetensors-patch-f16", Format::Safetensors, halves()),
        ("npy", Format::Npy, example()),
        ("npy-patch-f16", Format::Npy, halves()),
        ("parquet", Format::Parquet, example()),
    ]
}

/// Three rows in two shards, the second without a label, with a gap in the input.
fn write(folder: &Path, format: Format, provenance: Provenance) {
    let shape = Shape { tokens: if provenance.tokens == Tokens::Patch { 2 } else { 1 }, dim: 3 };
    let mut writer = Writer::create(folder, provenance, WriterOptions { format, shape, rows_per_shard: 2 }).unwrap();
    for (input, name, label) in [(0, "cats/a.png", Some(0)), (2, "cats/größe.png", None), (3, "", Some(7))] {
        let features: Vec<f32> = (0..shape.width()).map(|at| input as f32 - 0.125 * at as f32).collect();
        writer.push(&Row { input, name, label, features: &features, times: &[] }).unwrap();
    }
    writer.finish().unwrap();
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn the_files_are_those_that_python_has_read() {
    for (name, format, provenance) in cases() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), format, provenance);
        let written = files(folder.path());
        if std::env::var_os("WRITE_FIXTURES").is_some() {
            written.iter().for_each(|(file, content)| fs::write(fixtures().join(name).join(file), content).unwrap());
        }
        let fixture = files(&fixtures().join(name));
        assert_eq!(written.keys().collect::<Vec<_>>(), fixture.keys().collect::<Vec<_>>(), "{name}");
        for (file, content) in &written {
            assert!(fixture[file] == *content, "{name}/{file} has changed; see tests/fixtures/features/README.md");
        }
    }
}

#[test]
fn python_reads_what_we_read() {
    let read: BTreeMap<String, Read> =
        serde_json::from_slice(&fs::read(fixtures().join("read.json")).unwrap()).unwrap();
    assert_eq!(read.len(), 2 * cases().len());
    for (file, read) in read {
        let set = FeatureSet::open(&fixtures().join(&file)).unwrap();
        let dtype = if set.provenance.dtype == FeatureDtype::F16 { "float16" } else { "float32" };
        assert_eq!(read.dtype, dtype, "{file}");
        assert_eq!(read.shape, set.shape.with_rows(set.features.rows, set.provenance.tokens), "{file}");
        assert_eq!(read.features, set.features.values, "{file}");
        let labels: Vec<i64> = set.labels.iter().map(|label| label.map_or(-1, i64::from)).collect();
        assert_eq!((read.labels, read.index, read.names), (labels, set.inputs, set.names), "{file}");
        assert_eq!(read.encoder, "target", "{file}");
    }
}

/// Its features are the number of the input in the batch, and the batch's size.
struct Numbers;

impl FeatureEngine for Numbers {
    fn encode(&self, batch: &crate::data::Batch) -> crate::error::Result<crate::matrix::Matrix> {
        let rows = batch.shape[0];
        let values = (0..rows).flat_map(|row| [row as f32, rows as f32]).collect();
        Ok(crate::matrix::Matrix { rows, cols: 2, values })
    }

    fn shape(&self) -> Shape {
        Shape { tokens: 1, dim: 2 }
    }
}

#[test]
fn the_features_of_a_film_are_the_mean_over_its_clips_and_views() {
    let batch = |samples: &[u64]| crate::data::Batch {
        samples: samples.to_vec(),
        shape: [samples.len(), 3, 8, 8],
        ..crate::data::Batch::default()
    };
    let (samples, features) = engine::encode_samples(&Numbers, &batch(&[4, 4, 4, 7, 7, 7])).unwrap();
    assert_eq!((samples, features.values), (vec![4, 7], vec![1.0, 6.0, 4.0, 6.0]));
    let (samples, features) = engine::encode_samples(&Numbers, &batch(&[4, 5])).unwrap();
    assert_eq!((samples, features.values), (vec![4, 5], vec![0.0, 2.0, 1.0, 2.0]));
}
