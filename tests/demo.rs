//! The demonstration on clips, with an encoder that is small enough for a test.

use std::path::Path;

use anyjepa::config::Preset;
use anyjepa::demo::video::{self, MotionRow};
use anyjepa::demo::{Demo, Outcome};
use anyjepa::error::Result;
use anyjepa::stop::Stop;
use anyjepa::train::{Metrics, Observer};
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
    insta::assert_snapshot!(format!("{error}: {}", error.remedy().unwrap()), @"examples/data/animals28 has no directions of motion to be told: the demonstration is made for synthetic:photopan and synthetic:sprites");
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
}
