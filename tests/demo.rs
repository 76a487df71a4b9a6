//! Both demonstrations, with encoders that are small enough for a test.

#[path = "support/idx.rs"]
mod idx;

use std::path::Path;

use anyjepa::config::Preset;
use anyjepa::demo::pictures::{self, Features, ProbeRow};
use anyjepa::demo::video::{self, MotionRow};
use anyjepa::demo::{Demo, Outcome};
use anyjepa::error::Result;
use anyjepa::stop::Stop;
use anyjepa::train::{Metrics, Observer};
use assert_cmd::Command;
use burn::tensor::Device;

/// Labelled clips; half as many are tested.
const CLIPS: usize = 192;

/// Of each direction, where there are few.
const FEW: usize = 8;

struct Silent;

impl Observer for Silent {
    fn begin(&mut self, _: usize, _: usize) {}
    fn metrics(&mut self, _: &Metrics) {}
    fn checkpoint(&mut self, _: &Path) {}
    fn warning(&mut self, _: &str) {}
}

fn demonstrate(data: &str, out: &Path) -> Result<Outcome<MotionRow>> {
    let mut config = Preset::find("photopan")?.config();
    (config.model.frames, config.model.patch_size) = (8, 16);
    (config.model.dim, config.model.depth, config.model.heads, config.model.mlp) = (24, 1, 4, 48);
    (config.model.predictor.dim, config.model.predictor.mlp) = (24, 48);
    (config.optim.epochs, config.train.batch) = (1, 2048);
    let demo = Demo {
        config: &config,
        data: Path::new(data),
        out,
        device: &Device::flex(),
        seeds: &[3],
        stop: Stop::default(),
    };
    video::run(&demo, [CLIPS, FEW], &mut Silent, &mut |_| ())
}

#[test]
fn clips_are_probed_before_and_after_under_every_control_and_the_report_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = demonstrate("synthetic:sprites", folder.path()).unwrap();
    let text = |rows: &[MotionRow]| rows.iter().map(|row| serde_json::to_value(row).unwrap()).collect::<Vec<_>>();
    let rows = text(&outcome.probes);
    let name = |row: &serde_json::Value| {
        let words = ["features", "control", "pooling"].map(|key| row[key].as_str().unwrap()).join(" ");
        format!("{words} {}", row["labels_per_class"])
    };
    insta::assert_snapshot!(rows.iter().map(name).collect::<Vec<_>>().join("\n"), @r"
    untrained none mean null
    untrained none attentive null
    untrained none mean 8
    untrained none attentive 8
    untrained repeated mean null
    untrained repeated attentive null
    untrained shuffled mean null
    untrained shuffled attentive null
    untrained reversed mean null
    untrained reversed attentive null
    trained none mean null
    trained none attentive null
    trained none mean 8
    trained none attentive 8
    trained repeated mean null
    trained repeated attentive null
    trained shuffled mean null
    trained shuffled attentive null
    trained reversed mean null
    trained reversed attentive null
    ");
    for row in &rows {
        assert_eq!(row["seed"], 3);
        for share in ["directions", "axis", "right_left"] {
            assert!((0.0..=1.0).contains(&row[share].as_f64().unwrap()), "{row}");
        }
        assert!(row["axis"].as_f64() >= row["directions"].as_f64(), "{row}");
    }
    // A control changes what the encoder sees, and therefore what is found.
    let found = |control: &str| {
        let rows = rows.iter().filter(|row| row["control"] == control && row["labels_per_class"].is_null());
        rows.map(|row| [&row["directions"], &row["axis"], &row["right_left"]]).collect::<Vec<_>>()
    };
    assert!(["repeated", "shuffled", "reversed"].iter().all(|control| found(control) != found("none")));
    assert!(outcome.checkpoint.starts_with(folder.path().join("seed-3")));
    let page = std::fs::read_to_string(&outcome.report).unwrap();
    for heading in ["Probes", "Which direction", "Training", "Clips", "Controls", "Masks", "Feature maps over time"] {
        assert!(page.contains(&format!("<h2>{heading}")), "{heading}");
    }
    // The training is done, so that a second demonstration only probes: what it finds is the same.
    assert_eq!(text(&demonstrate("synthetic:sprites", folder.path()).unwrap().probes), rows);
}

#[test]
fn clips_without_directions_are_refused_before_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let error = demonstrate("examples/data/animals28", folder.path()).err().unwrap();
    insta::assert_snapshot!(format!("{error}: {}", error.remedy().unwrap()), @"the classes of the training part of examples/data/animals28 are not the directions of motion: there is no class `right`, and a class `0`: name the classes right, up-right, up, up-left, left, down-left, down, down-right: a folder with `train` and `test` in it, and in both a folder of clips for each; or take synthetic:photopan or synthetic:sprites");
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[test]
fn too_few_clips_of_a_direction_are_refused_before_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    for (part, count) in [("train", 30), ("test", 12)] {
        for direction in anyjepa::data::DIRECTIONS {
            let folder = data.join(part).join(direction);
            std::fs::create_dir_all(&folder).unwrap();
            let write =
                |i: u8| image::RgbImage::from_pixel(8, 8, image::Rgb([i; 3])).save(folder.join(format!("{i}.png")));
            (0..count).for_each(|i| write(i).unwrap());
        }
    }
    // Folders are taken in alphabetical order.
    let error = demonstrate(data.to_str().unwrap(), &out).err().unwrap();
    let said = format!("{error}: {}", error.remedy().unwrap()).replace(folder.path().to_str().unwrap(), "T");
    insta::assert_snapshot!(said, @"of the first 192 clips of the training part of T/data 0 move up-right, 8 are needed: take more with --clips, or give clips in mixed order, such as in tar shards called train-0.tar and test-0.tar");
    assert!(!out.exists());
}

fn demonstrate_pictures(data: &Path, out: &Path) -> Result<Outcome<ProbeRow>> {
    let mut config = Preset::find("animals28")?.config();
    (config.model.dim, config.model.heads, config.model.mlp) = (24, 4, 48);
    (config.model.predictor.dim, config.model.predictor.mlp) = (24, 48);
    (config.optim.epochs, config.train.batch) = (2, 32);
    let demo = Demo { config: &config, data, out, device: &Device::flex(), seeds: &[3], stop: Stop::default() };
    pictures::run(&demo, &mut Silent)
}

#[test]
fn pictures_are_probed_before_and_after_the_report_shows_it_and_the_features_can_be_probed_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    idx::write(&data, [130, 40]);
    let outcome = demonstrate_pictures(&data, folder.path()).unwrap();
    let rows: Vec<_> = outcome.probes.iter().map(|row| (row.features, row.labels_per_class, row.seed)).collect();
    let of = |features| [(features, None, 3), (features, Some(50), 3)];
    assert_eq!(rows, [Features::Raw, Features::Untrained, Features::Trained].map(of).concat());

    let page = std::fs::read_to_string(&outcome.report).unwrap();
    for heading in ["Probes", "Training", "Masks", "Feature maps", "Nearest neighbours"] {
        assert!(page.contains(&format!("<h2>{heading}")), "{heading}");
    }
    for asked in ["src=\"http", "href=\"http", "url(http"] {
        assert!(!page.contains(asked), "the report asks for the network");
    }

    let features = folder.path().join("seed-3/features");
    let mut probe = Command::cargo_bin("anyjepa").unwrap();
    probe.args(["-q", "probe", "knn", "--json", "--train"]).arg(features.join("train"));
    let output = probe.arg("--test").arg(features.join("test")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["mean"], outcome.probes[4].knn);
}

#[test]
fn pictures_with_few_labels_are_refused_before_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    idx::write(&data, [60, 20]);
    let out = folder.path().join("out");
    let error = demonstrate_pictures(&data, &out).err().unwrap();
    insta::assert_snapshot!(format!("{error}: {}", error.remedy().unwrap()), @"class 0 has 30 samples, fewer than the 50 asked for: give data with at least 50 training pictures of each class");
    assert!(!out.exists());
}
