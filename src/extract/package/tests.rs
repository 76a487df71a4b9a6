use std::path::{Path, PathBuf};

use super::*;
use crate::compile::{Dtype, Kernel, Outputs, Take, compile};
use crate::config::{Layers, ModelConfig, Preset};
use crate::data::Batch;
use crate::error::{Error, Kind};
use crate::extract::{self, EngineChoice, FeatureDtype, Frozen, Provenance, Tokens, Views};
use crate::weights::{self, FileEntry, Loaded, Manifest, Which, Whole};

fn loaded() -> Loaded {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference/hf_ijepa");
    weights::open(&folder, None).unwrap()
}

const READ_OUT: extract::ReadOut = extract::ReadOut { layers: Layers::Last, tokens: Tokens::Pooled, views: Views::One };

fn written(folder: &Path) {
    let loaded = loaded();
    let provenance = Provenance::of(&loaded, Which::Target, READ_OUT, FeatureDtype::F32).unwrap();
    let plan = compile(&loaded.model, 2, Outputs { layers: 1, take: Take::Mean }, Dtype::F32).unwrap();
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
    written(&path);
    let cpu = "cpu".parse().unwrap();
    let package = Package::open(&path).unwrap().load(cpu, FeatureDtype::F32).unwrap();
    let loaded = loaded();
    let choice = EngineChoice::Compiled { device: cpu, batch: 2, dtype: Dtype::F32 };
    let direct = Frozen::new(loaded.clone(), Which::Target, READ_OUT, FeatureDtype::F32, &choice).unwrap();
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
    written(&path);
    let weights = path.join(shard(1));
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let error = Package::open(&path).unwrap_err();
    assert!(error.to_string().contains("the package is damaged: weights-00001.safetensors"), "{error}");
    assert_eq!(error.remedy(), Some("restore it from a copy, or compile it again"));
    std::fs::remove_file(path.join("manifest.json")).unwrap();
    assert!(Package::open(&path).unwrap_err().to_string().ends_with("is no package"));
}

#[test]
fn a_file_that_the_manifest_does_not_list_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("package");
    written(&path);
    let whole = Manifest::read(&path, Whole::Package).unwrap();
    let listing = |names: &[&str]| {
        let sums = names.iter().map(|name| FileEntry::of(name, &std::fs::read(path.join(name)).unwrap_or_default()));
        Manifest::new(sums.collect()).write(&path).unwrap();
    };
    let said = |error: Error| {
        assert_eq!(error.kind(), Kind::Data);
        format!("{error} ({})", error.remedy().unwrap()).replace(path.to_str().unwrap(), "P")
    };
    let names: Vec<&str> = whole.names().collect();
    let without = |left_out: &str| names.iter().copied().filter(|name| *name != left_out).collect::<Vec<_>>();
    let mut messages = Vec::new();
    for names in [vec![], without(PLAN), without(PREPROCESS), without(PROVENANCE)] {
        listing(&names);
        messages.push(said(Package::open(&path).unwrap_err()));
    }
    for outside in ["../plan.json", "/etc/hostname", "shaders/../../plan.json", "."] {
        listing(&[&names[..], &[outside]].concat());
        messages.push(said(Package::open(&path).unwrap_err()));
    }
    // Shaders are for others: no engine of ours reads them.
    listing(&without(&shard(1)));
    let package = || Package::open(&path).unwrap();
    let unread = package().load("cpu".parse().unwrap(), FeatureDtype::F32).err().unwrap();
    messages.extend([package().verify().unwrap_err(), unread].map(said));
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn a_plan_that_cuts_other_clips_than_films_become_is_refused() {
    let model = ModelConfig { depth: 1, ..Preset::find("vjepa2-vit-tiny").unwrap().config().model };
    let transform = weights::Preprocessing::published(&model).transform(model.image_size).unwrap();
    let plan = compile(&model, 1, Outputs { layers: 1, take: Take::Mean }, Dtype::F32).unwrap();
    assert_eq!(plan.spans(), Some([16, 2]));
    read::takes(&plan, transform.input()).unwrap();
    let refused = |cut: [usize; 3]| {
        let mut plan = plan.clone();
        for dispatch in &mut plan.dispatches {
            if let Kernel::Patchify { channels, frames, tubelet, .. } = &mut dispatch.kernel {
                [*channels, *frames, *tubelet] = cut;
            }
        }
        read::takes(&plan, transform.input()).unwrap_err().to_string()
    };
    insta::assert_snapshot!([refused([6, 8, 2]), refused([3, 16, 5]), refused([3, 16, 0])].join("\n"), @"
    the plan cuts 8 frames by 2, and films become clips of 16
    the plan cuts 16 frames by 5, and films become clips of 16
    the plan cuts 16 frames by 0, and films become clips of 16
    ");
}

#[test]
fn a_weight_beyond_f16_is_refused_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("package");
    let mut loaded = loaded();
    let provenance = Provenance::of(&loaded, Which::Target, READ_OUT, FeatureDtype::F32).unwrap();
    let plan = compile(&loaded.model, 2, Outputs { layers: 1, take: Take::Mean }, Dtype::F16).unwrap();
    let weight = plan.buffers.iter().find(|buffer| buffer.dtype == Dtype::F16 && buffer.role.is_constant()).unwrap();
    let crate::compile::Role::Weight { parameter, .. } = &weight.role else { panic!("{weight:?}") };
    loaded.tensors.get_mut(parameter).unwrap().values[0] = -70_000.0;
    let error = write(&path, &Contents { loaded: &loaded, plan: &plan, provenance: &provenance }).unwrap_err();
    assert_eq!(error.to_string(), format!("{} holds -70000, and f16 ends at 65504", weight.label));
    assert!(error.remedy().unwrap().contains("`--dtype f32`"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
