//! Features are read back whole, or refused with what is wrong.

use super::super::provenance::{FeatureDtype, Tokens, example};
use super::super::writer::{Row, Writer, WriterOptions};
use super::*;
use crate::weights::Which;

const FORMATS: [Format; 3] = [Format::Safetensors, Format::Npy, Format::Parquet];

/// Five rows in shards of two: an image that could not be read leaves a gap.
fn write(folder: &Path, format: Format, provenance: Provenance) {
    let shape = Shape { tokens: if provenance.tokens == Tokens::Patch { 2 } else { 1 }, dim: 3 };
    let mut writer = Writer::create(folder, provenance, WriterOptions { format, shape, rows_per_shard: 2 }).unwrap();
    for input in [0, 1, 2, 4, 5_u32] {
        let features: Vec<f32> = (0..shape.width()).map(|at| input as f32 - 0.25 * at as f32).collect();
        let label = (input != 5).then_some(input % 2);
        writer
            .push(&Row { input: input.into(), name: &format!("{input}.png"), label, features: &features, times: &[] })
            .unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_folder_gives_back_what_was_written_in_every_format() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), format, example());
        let set = FeatureSet::open(folder.path()).unwrap();
        assert_eq!((set.features.rows, set.features.cols), (5, 3));
        assert_eq!(set.features.row(3), [4.0, 3.75, 3.5]);
        assert_eq!(set.inputs, [0, 1, 2, 4, 5]);
        assert_eq!(set.names, ["0.png", "1.png", "2.png", "4.png", "5.png"]);
        assert_eq!(set.labels, [Some(0), Some(1), Some(0), Some(0), None]);
        assert_eq!(set.provenance, example());
    }
}

#[test]
fn a_single_shard_gives_its_rows() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), format, example());
        let shard = folder.path().join(format!("features-00001.{}", format.extension()));
        assert_eq!(FeatureSet::open(&shard).unwrap().names, ["2.png", "4.png"]);
        std::fs::remove_file(folder.path().join(INDEX_FILE)).unwrap();
        match format {
            Format::Parquet => assert_eq!(FeatureSet::open(&shard).unwrap_err().kind(), Kind::Data),
            _ => assert_eq!(FeatureSet::open(&shard).unwrap().labels().unwrap(), [0, 0]),
        }
    }
}

#[test]
fn labels_are_matched_by_name_or_by_number_and_never_by_one_with_the_other() {
    let set = |classes: &[&str], labels: &[u32]| FeatureSet {
        classes: classes.iter().map(|&class| class.to_owned()).collect(),
        labels: labels.iter().map(|&label| Some(label)).collect(),
        ..FeatureSet::empty(example(), Shape { tokens: 1, dim: 3 })
    };
    let (three, two, unnamed) = (set(&["ant", "bee", "cat"], &[]), set(&["bee", "cat"], &[0, 1]), set(&[], &[0, 1]));
    assert_eq!(two.labels_as_in(&three).unwrap(), [1, 2]);
    assert_eq!(unnamed.labels_as_in(&set(&[], &[])).unwrap(), [0, 1]);
    for (test, train) in [(&unnamed, &three), (&two, &unnamed)] {
        let error = test.labels_as_in(train).unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        assert!(error.remedy().is_some());
    }
}

#[test]
fn patch_features_become_one_row_a_patch() {
    let folder = tempfile::tempdir().unwrap();
    let patch = Provenance { tokens: Tokens::Patch, dtype: FeatureDtype::F16, ..example() };
    write(folder.path(), Format::Safetensors, patch);
    let vectors = FeatureSet::open(folder.path()).unwrap().into_vectors();
    assert_eq!((vectors.rows, vectors.cols), (10, 3));
    assert_eq!(vectors.row(3), [0.25, 0.0, -0.25]);
}

#[test]
fn a_byte_changed_in_any_file_is_found() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), format, example());
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with(INDEX_FILE) {
                continue;
            }
            let whole = fs::read(&path).unwrap();
            let middle = whole.len() / 2;
            let mut changed = whole.clone();
            changed[middle] ^= 1;
            for content in [&changed[..], &whole[..middle], &[]] {
                fs::write(&path, content).unwrap();
                let error = FeatureSet::open(folder.path()).unwrap_err();
                assert_eq!(error.kind(), Kind::Data);
                assert!(error.to_string().contains("was changed or damaged"), "{error}");
            }
            fs::write(&path, &whole).unwrap();
        }
    }
}

#[test]
fn what_is_not_a_whole_set_of_features_is_refused_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let open = |path: &Path| FeatureSet::open(path).unwrap_err();
    let mut errors = vec![open(&path.join("nothing")), open(path)];
    let options = WriterOptions { format: Format::Npy, shape: Shape { tokens: 1, dim: 1 }, rows_per_shard: 1 };
    let mut writer = Writer::create(path, example(), options).unwrap();
    writer.push(&Row { input: 0, name: "a", label: None, features: &[1.0], times: &[] }).unwrap();
    errors.push(open(path));
    let index = writer.finish().unwrap();
    errors.push(Error::new(Kind::Data, FeatureSet::open(path).unwrap().labels().unwrap_err().to_string()));
    fs::write(path.join("notes.txt"), "").unwrap();
    errors.push(open(&path.join("notes.txt")));
    fs::write(path.join("other.safetensors"), "not a header").unwrap();
    errors.push(open(&path.join("other.safetensors")));
    fs::write(path.join("other.npy"), "").unwrap();
    errors.push(open(&path.join("other.npy")));
    fs::remove_file(path.join(&index.shards[0].file.name)).unwrap();
    errors.push(open(path));
    let name = path.display().to_string();
    let lines = errors.iter().map(|error| format!("{}: {}", error.exit_code(), error.to_string().replace(&name, "F")));
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @"
    2: F/nothing does not exist
    4: F: holds no features: it has no index.json
    4: F: the extraction was not finished; it has 1 rows so far
    4: a has no label
    4: F/notes.txt: not a feature file: its name ends in none of .safetensors, .npy, .parquet
    4: F/other.safetensors: not a whole safetensors file: header too large
    4: F/other.npy: its names, labels and provenance cannot be read: F/other.json: No such file or directory (os error 2)
    4: F/features-00000.npy: is missing, but index.json names it
    ");
}

#[test]
fn features_of_another_encoder_or_resolution_are_refused_and_of_another_version_are_not() {
    let set = |provenance| FeatureSet::empty(provenance, Shape { tokens: 1, dim: 3 });
    let ours = set(example());
    assert!(ours.compatible(&set(Provenance { version: "9.9.9".into(), ..example() })).is_ok());
    let other = Provenance { encoder: Which::Context, image_size: 224, layers: vec![2, 3], ..example() };
    let error = ours.compatible(&set(other)).unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    insta::assert_snapshot!(
        error,
        @r#"features of different provenance cannot be used together: encoder is "target", not "context"; image_size is 32, not 224; layers is [3], not [2,3]"#
    );
    let error = ours.compatible(&FeatureSet::empty(example(), Shape { tokens: 1, dim: 4 })).unwrap_err();
    insta::assert_snapshot!(error, @"rows of 1 x 3 values and of 1 x 4 values cannot be used together");
}
