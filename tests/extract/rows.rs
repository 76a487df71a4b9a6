//! What a row is: the encoder's output on the prepared picture, its name, its label and where it comes from.

use std::fs;
use std::path::Path;

use anyjepa::compile::Dtype;
use anyjepa::config::{Layers, Precision};
use anyjepa::data::{Dataset, EvalTransform, Scratch};
use anyjepa::device;
use anyjepa::extract::{EngineChoice, FeatureDtype, FeatureSet, Frozen, ReadOut, Tokens, Views};
use anyjepa::model::{Encoder, Init};
use anyjepa::weights::{self, Which};
use burn::tensor::{Device, Tensor, TensorData};

use super::{command, extracted, photos, root, weights_folder};

/// The order of sums: the command's batch is another one than these tests'.
const ROUNDING: f32 = 1e-5;

/// The encoder operation by operation, its device, and what prepares its pictures.
fn reference() -> (Device, Encoder, EvalTransform) {
    let device = device::open("cpu".parse().unwrap()).unwrap();
    let loaded = weights::open(&weights_folder(), None).unwrap();
    let encoder = Encoder::new(&loaded.model, Precision::F32, Init::Constant, &device);
    let encoder = weights::load(encoder, "", &loaded.tensors).unwrap();
    let transform = loaded.provenance.preprocessing.transform(64).unwrap();
    (device, encoder, transform)
}

#[test]
fn features_are_the_encoders_outputs_on_the_prepared_picture() {
    let folder = tempfile::tempdir().unwrap();
    let pooled = extracted(&folder.path().join("pooled"), &["."]);
    let joined = extracted(&folder.path().join("joined"), &[".", "--layers", "-2..", "--tokens", "patch"]);
    assert_eq!((joined.shape.tokens, joined.shape.dim), (16, 48));
    assert_eq!(joined.provenance.layers, [0, 1]);

    let (device, encoder, transform) = reference();
    let data = Dataset::open(&photos()).unwrap();
    for (i, name) in pooled.names.iter().enumerate() {
        assert_eq!(*name, data.name(i));
        let mut pixels = Vec::new();
        transform.append(&data.picture(i).unwrap(), &mut Scratch::default(), &mut pixels);
        let image = Tensor::<4>::from_data(TensorData::new(pixels, [1, 3, 64, 64]), &device);
        let tokens = encoder.forward(image, None).into_data().try_to_vec::<f32>().unwrap();
        for (at, value) in pooled.features.row(i).iter().enumerate() {
            let mean = tokens.iter().skip(at).step_by(24).sum::<f32>() / 16.0;
            assert!((mean - value).abs() < ROUNDING, "{name}: {mean} and {value}");
        }
        for (vector, expected) in joined.features.row(i).chunks(48).zip(tokens.chunks(24)) {
            // The last block's output stands behind the one before.
            for (value, expected) in vector[24..].iter().zip(expected) {
                assert!((value - expected).abs() < ROUNDING, "{name}: {expected} and {value}");
            }
        }
    }
}

#[test]
fn mirrored_views_give_the_mean_over_the_prepared_picture_and_its_mirror_image() {
    let folder = tempfile::tempdir().unwrap();
    let one = extracted(&folder.path().join("one"), &["chelsea.png", "--tokens", "patch"]);
    let arguments = ["chelsea.png", "--tokens", "patch", "--views", "mirrored"];
    let both = extracted(&folder.path().join("both"), &arguments);
    let differences = one.provenance.differences(&both.provenance);
    assert_eq!(differences.iter().map(|found| found.field.as_str()).collect::<Vec<_>>(), ["views"]);

    let (device, encoder, transform) = reference();
    let data = Dataset::open(&photos().join("chelsea.png")).unwrap();
    let mut pixels = Vec::new();
    transform.append(&data.picture(0).unwrap(), &mut Scratch::default(), &mut pixels);
    pixels.chunks_exact_mut(64).for_each(<[f32]>::reverse);
    let mirror = Tensor::<4>::from_data(TensorData::new(pixels, [1, 3, 64, 64]), &device);
    let mirror = encoder.forward(mirror, None).into_data().try_to_vec::<f32>().unwrap();
    let plain = one.features.row(0);
    assert!(plain.iter().zip(&mirror).any(|(plain, mirror)| (plain - mirror).abs() > 0.1));
    for ((plain, mirror), mean) in plain.iter().zip(&mirror).zip(both.features.row(0)) {
        assert!(((plain + mirror) / 2.0 - mean).abs() < ROUNDING, "{plain}, {mirror} and {mean}");
    }
}

#[test]
fn every_kind_of_input_gives_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"];
    let tar = folder.path().join("photos.tar");
    let mut archive = tar::Builder::new(fs::File::create(&tar).unwrap());
    names.iter().for_each(|name| archive.append_path_with_name(photos().join(name), name).unwrap());
    archive.finish().unwrap();
    let list = folder.path().join("list.txt");
    let lines: Vec<String> = names.iter().map(|name| photos().join(name).display().to_string()).collect();
    fs::write(&list, lines.join("\n")).unwrap();

    let expected = extracted(&folder.path().join("folder"), &["."]);
    assert_eq!(expected.names, names);
    let (tar, list) = (tar.display().to_string(), list.display().to_string());
    let cases: [(&str, &[&str], &str); 8] = [
        ("files", &names, ""),
        ("globs", &["*.png", "*.jpg"], ""),
        ("tar", &[&tar], ""),
        ("list", &[&list], ""),
        ("lines", &["-"], "astronaut.png\r\nchelsea.png\n\ncoffee.png\nrocket.jpg"),
        ("labels", &["-"], "astronaut.png 1\nchelsea.png\t0\ncoffee.png\nrocket.jpg 1\n"),
        ("folder on standard input", &["-"], ".\n"),
        ("nul", &["-0"], "astronaut.png\0chelsea.png\0coffee.png\0rocket.jpg\0"),
    ];
    for (case, arguments, stdin) in cases {
        let out = folder.path().join(case);
        let output = command(&out, arguments).write_stdin(stdin).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{case}: {}", String::from_utf8_lossy(&output.stderr));
        let found = FeatureSet::open(&out).unwrap();
        assert_eq!(found.features, expected.features, "{case}");
        let ends: Vec<_> = found.names.iter().map(|name| name.rsplit('/').next().unwrap()).collect();
        assert_eq!(ends, names, "{case}");
    }

    assert_eq!(FeatureSet::open(&folder.path().join("labels")).unwrap().labels, [Some(1), Some(0), None, Some(1)]);

    let mut said = String::new();
    for (arguments, stdin) in [
        ("-", "chelsea.png\0coffee.png\0"),
        ("-0", "chelsea.png\ncoffee.png\n"),
        ("-0", "chelsea.png\n"),
        ("-", "gone.png\nlost.png 3\n"),
    ] {
        let output = command(&folder.path().join("mistaken"), &[arguments]).write_stdin(stdin).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        said += &format!(
            "{}: {}\n",
            output.status.code().unwrap(),
            error.split("; pictures end").next().unwrap().trim_end()
        );
    }
    insta::assert_snapshot!(said, @"
    2: error: the paths on standard input end with NUL, which no path holds
      help: add -0, or write one path a line
    2: error: the paths on standard input end with line feeds, and -0 wants NUL
      help: give - instead of -0, or make the list with `find ... -print0`
    2: error: the paths on standard input end with line feeds, and -0 wants NUL
      help: give - instead of -0, or make the list with `find ... -print0`
    4: error: standard input: no picture that the list names exists, such as gone.png
      help: a list has a line `path`, `path label` or `path,label` for each picture, film or folder of frames, relative to the list's own folder, or to the working folder where it comes from standard input
    ");
}

#[test]
fn parts_labels_and_classes_of_idx_files_are_kept_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let animals = root().join("examples/data/animals28").display().to_string();
    let data = Dataset::open_split(Path::new(&animals), anyjepa::data::Split::Test).unwrap();
    for (format, dtype) in [("safetensors", "f16"), ("npy", "f16"), ("npy", "f32"), ("parquet", "f32")] {
        let out = folder.path().join(format!("{format}-{dtype}"));
        let options = ["--split", "test", "--format", format, "--dtype", dtype];
        let found = extracted(&out, &[&[animals.as_str()], &options[..]].concat());
        assert_eq!(found.names.len(), data.len());
        assert_eq!(found.classes, data.classes());
        assert!((0..data.len()).all(|i| found.labels[i] == data.label(i) && found.inputs[i] == i as u64));
        assert_eq!(found.provenance.dtype == FeatureDtype::F16, dtype == "f16");
    }
    let all = [animals.as_str(), "--split", "all"];
    assert!(extracted(&folder.path().join("all"), &all).names.len() > data.len());
}

#[test]
fn an_exported_encoder_has_the_provenance_of_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let choice = EngineChoice::Compiled { device: "cpu".parse().unwrap(), batch: 1, dtype: Dtype::F32 };
    let read_out = ReadOut { layers: Layers::Last, tokens: Tokens::Pooled, views: Views::One };
    let frozen = |path: &Path| {
        let loaded = weights::open(path, None).unwrap();
        Frozen::new(loaded, Which::Target, read_out, FeatureDtype::F32, &choice).unwrap()
    };
    let out = folder.path().join("exported");
    weights::export_hf(&out, &weights::open(&weights_folder(), None).unwrap()).unwrap();
    assert_eq!(frozen(&out).provenance, frozen(&weights_folder()).provenance);
}
