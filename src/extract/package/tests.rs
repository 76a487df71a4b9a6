use std::path::PathBuf;

use super::*;
use crate::compile::{Dtype, ReadOut, Take, compile};
use crate::config::Layers;
use crate::data::Batch;
use crate::extract::{self, FeatureDtype, Frozen, Provenance, Tokens, Views, Way};
use crate::weights::{self, Loaded, Which};

fn loaded() -> Loaded {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference/hf_ijepa");
    weights::open(&folder, None).unwrap()
}

const READ_OUT: extract::ReadOut = extract::ReadOut { layers: Layers::Last, tokens: Tokens::Pooled, views: Views::One };

fn written(folder: &std::path::Path, dtype: Dtype) {
    let loaded = loaded();
    let provenance = Provenance::of(&loaded, Which::Target, READ_OUT, FeatureDtype::F32).unwrap();
    let plan = compile(&loaded.model, 2, ReadOut { layers: 1, take: Take::Mean }, dtype).unwrap();
    write(folder, &Contents { loaded: &loaded, plan: &plan, provenance: &provenance }).unwrap();
}

fn batch(loaded: &Loaded, count: usize) -> Batch {
    let shape = [count, loaded.model.channels, loaded.model.image_size, loaded.model.image_size];
    let pixels = (0..shape.iter().product()).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
    Batch { pixels, shape, samples: (0..count as u64).collect(), ..Batch::default() }
}

#[test]
fn a_package_gives_the_features_of_its_weights_whatever_the_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("package");
    written(&path, Dtype::F32);
    let cpu = "cpu".parse().unwrap();
    let package = Package::open(&path).unwrap().load(cpu, FeatureDtype::F32).unwrap();
    let loaded = loaded();
    let way = Way::Compiled { device: cpu, batch: 2 };
    let direct = Frozen::new(&loaded, Which::Target, READ_OUT, FeatureDtype::F32, &way).unwrap();
    assert_eq!(package.provenance, direct.provenance);
    for count in [0, 1, 2, 5] {
        let batch = batch(&loaded, count);
        assert_eq!(package.engine.encode(&batch).unwrap(), direct.engine.encode(&batch).unwrap());
    }
}

#[test]
fn a_damaged_package_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("package");
    written(&path, Dtype::F32);
    let weights = path.join(shard(1));
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let error = Package::open(&path).unwrap_err();
    assert!(error.to_string().contains("weights-00001.safetensors"), "{error}");
    std::fs::remove_file(path.join("manifest.json")).unwrap();
    assert!(Package::open(&path).unwrap_err().to_string().ends_with("is no package"));
}
