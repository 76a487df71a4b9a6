//! `anyjepa extract`: every kind of input, whole shards, continuing after a kill, and what it says of bad inputs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyjepa::compile::Dtype;
use anyjepa::config::{Layers, Precision};
use anyjepa::data::{Dataset, Scratch};
use anyjepa::device;
use anyjepa::extract::{FeatureDtype, FeatureSet, Frozen, INDEX_FILE, Index, ReadOut, Tokens, Views, Way};
use anyjepa::model::{Encoder, Init};
use anyjepa::weights::{self, Which};
use assert_cmd::Command;
use burn::tensor::{Tensor, TensorData};

/// Slower machines than any that build this need less for a tiny encoder's first rows.
const PATIENCE: Duration = Duration::from_secs(60);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An encoder of 2 blocks for pictures of 64 pixels.
fn weights_folder() -> PathBuf {
    root().join("tests/fixtures/reference/hf_ijepa")
}

fn photos() -> PathBuf {
    root().join("examples/data/photos")
}

/// `anyjepa extract` into `out`, in the folder of the photos.
fn command(out: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("anyjepa").unwrap();
    command.current_dir(photos()).args(["-q", "extract", "--weights"]).arg(weights_folder());
    command.arg("--out").arg(out).args(arguments);
    command
}

/// Exit code and what was said on standard error.
fn run(out: &Path, arguments: &[&str]) -> (i32, String) {
    let output = command(out, arguments).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn extracted(out: &Path, arguments: &[&str]) -> FeatureSet {
    let (code, said) = run(out, arguments);
    assert_eq!(code, 0, "{said}");
    FeatureSet::open(out).unwrap()
}

/// The shards and the index; the skips stand apart.
/// The files of a folder, but for the lock, which names the process.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).filter(|entry| entry.file_name() != ".lock");
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn features_are_the_encoders_outputs_on_the_prepared_picture() {
    /// The order of sums: the command's batch is another one than this test's.
    const ROUNDING: f32 = 1e-5;
    let folder = tempfile::tempdir().unwrap();
    let pooled = extracted(&folder.path().join("pooled"), &["."]);
    let joined = extracted(&folder.path().join("joined"), &[".", "--layers", "-2..", "--tokens", "patch"]);
    assert_eq!((joined.shape.tokens, joined.shape.dim), (16, 48));
    assert_eq!(joined.provenance.layers, [0, 1]);

    let device = device::open("cpu".parse().unwrap()).unwrap();
    let loaded = weights::open(&weights_folder(), None).unwrap();
    let encoder = Encoder::new(&loaded.model, Precision::F32, Init::Constant, &device);
    let encoder = weights::load(encoder, "", &loaded.tensors).unwrap();
    let transform = loaded.provenance.preprocessing.transform(64).unwrap();
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
    /// The order of sums: the command's batch is another one than this test's.
    const ROUNDING: f32 = 1e-5;
    let folder = tempfile::tempdir().unwrap();
    let one = extracted(&folder.path().join("one"), &["chelsea.png", "--tokens", "patch"]);
    let arguments = ["chelsea.png", "--tokens", "patch", "--views", "mirrored"];
    let both = extracted(&folder.path().join("both"), &arguments);
    let differences = one.provenance.differences(&both.provenance);
    assert_eq!(differences.iter().map(|found| found.field.as_str()).collect::<Vec<_>>(), ["views"]);

    let device = device::open("cpu".parse().unwrap()).unwrap();
    let loaded = weights::open(&weights_folder(), None).unwrap();
    let encoder = Encoder::new(&loaded.model, Precision::F32, Init::Constant, &device);
    let encoder = weights::load(encoder, "", &loaded.tensors).unwrap();
    let transform = loaded.provenance.preprocessing.transform(64).unwrap();
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
      help: a list has a line `path` or `path label` for each picture, video or folder of frames, relative to the list's own folder, or to the working folder where it comes from standard input
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

/// An extraction of many pictures, slow enough to be stopped, once its first shards stand.
fn begun(out: &Path, arguments: &[&str]) -> Child {
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("anyjepa"));
    command.args(["-q", "extract", "--weights"]).arg(weights_folder()).arg("--out").arg(out).args(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !Index::find(out).is_ok_and(|index| index.is_some_and(|index| index.shards.len() > 2)) {
        assert!(start.elapsed() < PATIENCE, "no shard was written");
        assert!(child.try_wait().unwrap().is_none(), "the extraction has ended");
        sleep(Duration::from_millis(1));
    }
    child
}

#[test]
fn a_killed_extraction_continues_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let animals = root().join("examples/data/animals28").display().to_string();
    // Batches and shards end at different rows.
    let arguments = [&animals, "--split", "test", "--batch", "3", "--shard-rows", "8"];
    let (whole, out) = (folder.path().join("whole"), folder.path().join("killed"));
    extracted(&whole, &arguments);
    for _ in 0..2 {
        let more = if out.exists() { vec!["--resume"] } else { vec![] };
        let mut child = begun(&out, &[&arguments[..], &more].concat());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!Index::read(&out).unwrap().complete);
        let error = FeatureSet::open(&out).unwrap_err();
        assert_eq!(error.exit_code(), 4, "{error}");
    }
    extracted(&out, &[&arguments[..], &["--resume"]].concat());
    let (whole, out) = (files(&whole), files(&out));
    assert_eq!(whole.keys().collect::<Vec<_>>(), out.keys().collect::<Vec<_>>());
    assert!(whole == out);
}

#[cfg(unix)]
#[test]
fn an_interrupted_extraction_keeps_its_rows_and_exits_with_130() {
    let folder = tempfile::tempdir().unwrap();
    let animals = root().join("examples/data/animals28").display().to_string();
    let out = folder.path().join("features");
    let arguments = [&animals, "--split", "test", "--batch", "3", "--shard-rows", "8"];
    let mut child = begun(&out, &arguments);
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let index = Index::read(&out).unwrap();
    assert!(!index.complete && index.next_input().is_multiple_of(3), "{} inputs", index.next_input());
    let whole = extracted(&folder.path().join("whole"), &arguments);
    assert_eq!(extracted(&out, &[&arguments[..], &["--resume"]].concat()), whole);
}

#[test]
fn what_cannot_be_read_is_skipped_with_its_reason_and_too_much_of_it_is_exit_code_3() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("features");
    let bad = folder.path().join("bad.png");
    fs::write(&bad, "not a picture").unwrap();
    let bad = bad.display().to_string();
    let output = command(&out, &["astronaut.png", &bad, "rocket.jpg", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["inputs"], &json["rows"], &json["skipped"]), (&3.into(), &2.into(), &1.into()));
    let said = String::from_utf8(output.stderr).unwrap().replace(&folder.path().display().to_string(), "T");
    insta::assert_snapshot!(said, @"
    error: 1 of 3 inputs could not be read, more than 1 %
      help: T/features/skipped.jsonl says why; --max-bad permits a larger share
    ");
    let skipped = fs::read_to_string(out.join("skipped.jsonl")).unwrap();
    insta::assert_snapshot!(skipped.replace(&folder.path().display().to_string(), "T"), @r#"{"sample":1,"name":"T/bad.png","reason":"not_an_image","detail":"the first bytes are of no known picture format"}"#);
    assert_eq!(FeatureSet::open(&out).unwrap().inputs, [0, 2]);
    let permitted = ["astronaut.png", &bad, "rocket.jpg", "--resume", "--max-bad", "0.4"];
    assert_eq!(extracted(&out, &permitted).inputs, [0, 2]);
    let (code, _) = run(&folder.path().join("nothing"), &[&bad, "--max-bad", "0.99"]);
    assert_eq!(code, 3);
}

#[test]
fn a_bad_picture_that_is_listed_often_counts_as_often() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.png");
    fs::write(&bad, "not a picture").unwrap();
    let list = [vec![bad.display().to_string(); 6], vec!["rocket.jpg".to_owned(); 5]].concat().join("\n");
    for (share, expected) in [("0.5", 3), ("0.6", 0)] {
        let mut command = command(&folder.path().join(share), &["-", "--max-bad", share, "--json"]);
        let output = command.write_stdin(list.clone()).output().unwrap();
        assert_eq!(output.status.code(), Some(expected), "{share}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&json["inputs"], &json["rows"], &json["skipped"]), (&11.into(), &5.into(), &6.into()));
    }
}

#[test]
fn an_extraction_is_not_continued_with_pictures_of_the_same_names() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other, out) = (folder.path().join("one"), folder.path().join("other"), folder.path().join("out"));
    for (pictures, size) in [(&one, 64), (&other, 65)] {
        fs::create_dir(pictures).unwrap();
        for name in ["a.bmp", "b.bmp"] {
            image::RgbImage::new(size, size).save(pictures.join(name)).unwrap();
        }
    }
    let (one, other) = (one.display().to_string(), other.display().to_string());
    extracted(&out, &[&one]);
    let before = files(&out);
    let (code, said) = run(&out, &[&other, "--resume"]);
    assert_eq!(code, 4);
    insta::assert_snapshot!(said.replace(&folder.path().display().to_string(), "T"), @"
    error: T/out: the inputs are not those with which the extraction began: names, sizes or labels differ
      help: give the inputs with which the extraction began, or choose another folder
    ");
    assert!(files(&out) == before);
    // Where the same pictures stand does not matter.
    let moved = folder.path().join("moved").display().to_string();
    fs::rename(&one, &moved).unwrap();
    extracted(&out, &[&moved, "--resume"]);
}

#[cfg(unix)]
#[test]
fn a_folder_whose_name_is_not_utf_8_is_told_in_json() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join(std::ffi::OsStr::from_bytes(b"f\xffatures"));
    let output = command(&out, &["rocket.jpg", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["out"].as_str().unwrap().ends_with("/f\u{fffd}atures"));
}

#[test]
fn quiet_leaves_results_and_errors_and_verbose_adds_to_what_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let said = |flag: &[&str]| {
        let mut command = Command::cargo_bin("anyjepa").unwrap();
        command.current_dir(photos()).env_remove("ANYJEPA_LOG").args(["extract", "rocket.jpg", "--weights"]);
        let out = folder.path().join(format!("out{}", flag.concat()));
        let output = command.arg(weights_folder()).arg("--out").arg(&out).args(flag).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let result = String::from_utf8(output.stdout).unwrap().replace(&out.display().to_string(), "OUT");
        assert!(result.starts_with("OUT: 1 rows of 1 x 24 values in 1 shards of safetensors; "), "{flag:?}: {result}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(said(&["-q"]), "");
    let usual = said(&[]);
    assert!(usual.contains("1 pictures, on cpu") && !usual.contains("are on disk"), "{usual}");
    let verbose = said(&["-v"]);
    assert!(verbose.contains("1 pictures, on cpu") && verbose.contains("rows 0 to 1 are on disk"), "{verbose}");
    let mut quiet = command(&folder.path().join("missing"), &["nowhere"]);
    let output = quiet.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: nowhere does not exist\n  help: "));
}

#[test]
fn a_result_in_json_has_these_keys() {
    let folder = tempfile::tempdir().unwrap();
    let output = command(&folder.path().join("features"), &["rocket.jpg", "--json"]).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    insta::assert_snapshot!(
        keys(&json),
        @"out inputs rows rows_before skipped shards format shape seconds images_per_second provenance"
    );
    insta::assert_snapshot!(keys(&json["provenance"]), @"encoder weights_blake3 model preprocessing views image_size layers tokens dtype precision version");
}

#[test]
fn mistakes_are_named_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (done, other) = (path("done"), path("other"));
    extracted(&done, &["."]);
    fs::create_dir(&other).unwrap();
    fs::write(other.join("notes.txt"), "").unwrap();
    let inputs = |arguments: &'static [&'static str]| arguments;
    let cases = [
        (&done, inputs(&["."])),
        (&done, inputs(&["astronaut.png", "--resume"])),
        (&done, inputs(&[".", "--resume", "--layers", "-2.."])),
        (&done, inputs(&[".", "--resume", "--format", "npy"])),
        (&done, inputs(&[".", "--resume", "--precision", "bf16"])),
        (&other, inputs(&["."])),
        (&other, inputs(&[".", "--resume"])),
        (&path("new"), inputs(&["nowhere"])),
        (&path("new"), inputs(&["*.nothing"])),
        (&path("new"), inputs(&["-"])),
        (&path("new"), inputs(&["-", "rocket.jpg"])),
        (&path("new"), inputs(&[".", "--layers", "-3.."])),
        (&path("new"), inputs(&[".", "--layers", "4"])),
        (&path("new"), inputs(&[".", "--batch", "0"])),
        (&path("new"), inputs(&[".", "--precision", "f16"])),
        (&path("new"), inputs(&[".", "--precision", "bf16", "--device", "vulkan"])),
        (&path("new"), inputs(&[".", "--precision", "bf16", "--engine", "burn"])),
        (&path("new"), inputs(&[".", "--precision", "f16", "--device", "cuda"])),
        (&path("new"), inputs(&[".", "--max-bad", "2"])),
        (&path("new"), inputs(&[".", "--model", "ijepa-vit-h14"])),
        (&path("new"), inputs(&[".", "--format", "parquet", "--dtype", "f16"])),
    ];
    let mut said = String::new();
    for (out, arguments) in cases {
        let (code, error) = run(out, arguments);
        let error = error.replace(&folder.path().display().to_string(), "T");
        let error = error.replace(&root().display().to_string(), ".");
        let error = error.split("\n\nFor more").next().unwrap();
        said += &format!("{}\n{code}: {}\n\n", arguments.join(" "), error.trim_end());
    }
    insta::assert_snapshot!(said);
    assert!(!path("new").join(INDEX_FILE).exists());
}

#[test]
fn an_exported_encoder_has_the_provenance_of_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let way = Way::Compiled { device: "cpu".parse().unwrap(), batch: 1, dtype: Dtype::F32 };
    let read_out = ReadOut { layers: Layers::Last, tokens: Tokens::Pooled, views: Views::One };
    let frozen = |path: &Path| {
        let loaded = weights::open(path, None).unwrap();
        Frozen::new(&loaded, Which::Target, read_out, FeatureDtype::F32, &way).unwrap()
    };
    let out = folder.path().join("exported");
    weights::export_hf(&out, &weights::open(&weights_folder(), None).unwrap()).unwrap();
    assert_eq!(frozen(&out).provenance, frozen(&weights_folder()).provenance);
}
