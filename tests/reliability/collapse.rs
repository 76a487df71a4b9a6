//! Collapse: planted failures are named within 500 steps, healthy runs are left alone.

use std::fs;
use std::path::Path;

use anyjepa::train::{Metrics, Signs, collapse};

use super::runs::Runs;

/// Steps of warm-up of the recorded runs: 0.7 epochs of 241 steps.
const WARMUP: usize = 168;

/// The lines of a recorded run's metrics that are judged; their README has the command.
fn recorded(name: &str) -> Vec<Metrics> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/health/{name}.jsonl"));
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<Metrics> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 12 && lines.iter().all(|line| line.feature_rank.is_some() && line.constant_loss.is_some()));
    lines
}

/// As the run itself does.
fn judged(line: &Metrics) -> Option<String> {
    Signs::at(line.step, WARMUP).and_then(|signs| collapse(line, signs))
}

#[test]
fn planted_failures_are_found_within_500_steps_and_healthy_runs_never() {
    for name in ["healthy-0", "healthy-1", "healthy-2"] {
        for line in recorded(name) {
            assert_eq!(judged(&line), None, "{name} at step {}", line.step);
        }
    }
    let found = ["ema-0", "lr-100", "leak"].map(|name| {
        let lines = recorded(name);
        let found = lines.iter().find_map(|line| Some((line.step, judged(line)?)));
        let (step, signs) = found.unwrap_or_else(|| panic!("{name} was not found"));
        assert!(step <= 500 && signs.contains(", and "), "{name} at step {step}: {signs}");
        format!("{name} at step {step}: {signs}")
    });
    insta::assert_snapshot!(found.join("\n"), @"
    ema-0 at step 180: feature_rank 1.745 is below 4 (the features use hardly more than one direction), and feature_cosine 0.999 is above 0.998 (all images look alike), and feature_std 0.026 is below 0.03 (the features do not vary), and prediction_cosine 0.992 is above 0.98 (predictions are the targets)
    lr-100 at step 180: feature_rank 3.213 is below 4 (the features use hardly more than one direction), and loss / constant_loss 1.011 is above 0.98 (the predictor does no better than a constant)
    leak at step 180: loss / constant_loss 0.351 is below 0.5 (the predictor has little to guess), and shown_targets 1.000 is above 0.5 (the context shows the targets)
    ");
}

#[test]
fn a_collapse_is_named_and_ends_the_run_where_it_is_to() {
    let runs = Runs::new();
    // Pictures without a difference have features without one.
    let picture = runs.at("pictures/00.png");
    for entry in fs::read_dir(runs.at("pictures")).unwrap() {
        let path = entry.unwrap().path();
        if path != picture {
            fs::copy(&picture, path).unwrap();
        }
    }
    for i in 16..32 {
        fs::copy(&picture, runs.at(&format!("pictures/{i}.png"))).unwrap();
    }
    let sets = [
        "optim.epochs=8",
        "train.health_every=30",
        "train.checkpoint_every=20",
        "data.flip=0",
        "data.crop_scale=[1.0, 1.0]",
        "data.crop_aspect=[1.0, 1.0]",
    ];
    let warned = runs.run("warn", "", &sets);
    assert_eq!(warned.code, Some(0), "{}", warned.said);
    assert!(warned.said.contains("collapse at step 60: feature_rank 1.000 is below 4"), "{}", warned.said);
    assert!(warned.said.contains("feature_cosine 1.000 is above 0.998 (all images look alike)"), "{}", warned.said);
    assert!(runs.metrics("warn")[59]["collapse"].is_string() && runs.metrics("warn")[29].get("collapse").is_none());

    let stopped = runs.run("stop", "", &[&sets[..], &["train.on_collapse=\"stop\""]].concat());
    assert_eq!(stopped.code, Some(5), "{}", stopped.said);
    assert!(
        stopped.said.contains("error: collapse at step 60: ") && stopped.said.contains("help: "),
        "{}",
        stopped.said
    );
    assert!(runs.checkpoint("stop", 40).exists() && runs.metrics("stop").len() == 60);
}
