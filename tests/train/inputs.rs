//! What is trained on: films, pictures for a model of clips, generated clips, files that cannot be read.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::runs::{STEPS, Train, numbers, wait_for_more};

#[test]
fn a_run_over_films_goes_on_as_if_it_had_not_been_stopped_and_only_with_the_same_sampling() {
    let mut train = Train::of_clips();
    train.data = train.films();
    assert_eq!(train.run("whole", &["--set", "train.workers=0"]).0, 0);
    assert_eq!(train.run("cut", &[]).0, 0);
    fs::remove_dir_all(train.checkpoint("cut", STEPS)).unwrap();
    let (code, said) = train.run("cut", &["--set", "data.sampling.stride=2"]);
    assert!(code == 4 && said.contains("data.sampling.stride: 4, now 2"), "{said}");
    let (code, said) = train.run("cut", &[]);
    assert!(code == 0 && said.contains("continuing after step 4 of 6"), "{said}");
    assert_eq!(numbers(train.metrics("cut")), numbers(train.metrics("whole")));
    assert!(train.tensors("cut") == train.tensors("whole"));
    assert!(train.metrics("whole")[2]["feature_rank"].as_f64().unwrap() > 1.0);

    // A film's two clips are one row of features.
    let mut extract = Command::new(env!("CARGO_BIN_EXE_anyjepa"));
    extract.args(["extract", "--engine", "burn", "--json", "--weights"]).arg(train.at("whole"));
    let Output { status, stdout, .. } =
        extract.arg("--out").arg(train.at("features")).arg(&train.data).output().unwrap();
    assert!(status.success());
    let said: Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!((&said["rows"], &said["shape"]["dim"]), (&4.into(), &24.into()));
    let provenance: anyjepa::extract::Provenance = serde_json::from_value(said["provenance"].clone()).unwrap();
    insta::assert_snapshot!(provenance.input(), @"4 frames, one in 4, 2 clips x 1 views, short side to 36 (linear without antialiasing), centre crop 32, mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225]");
}

#[test]
fn a_model_of_clips_takes_pictures_and_a_model_of_pictures_takes_films() {
    let mut train = Train::of_clips();
    assert_eq!(train.run("pictures", &[]).0, 0);
    train.data = train.films();
    train.preset = "animals28";
    assert_eq!(train.run("middles", &[]).0, 0);
    for run in ["pictures", "middles"] {
        let lines = train.metrics(run);
        assert!(lines.len() == STEPS && lines.iter().all(|line| line["skipped"] == 0), "{lines:?}");
    }
}

#[test]
fn unreadable_pictures_are_left_out_and_counted() {
    let mut train = Train::new();
    let photos = fs::read_dir(&train.data).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    train.data = train.at("pictures");
    fs::create_dir(&train.data).unwrap();
    for photo in &photos {
        fs::copy(photo, train.data.join(photo.file_name().unwrap())).unwrap();
    }
    fs::write(train.data.join("broken.png"), "no picture").unwrap();
    let (code, said) = train.run("run", &["--set", "train.batch=5"]);
    let said = said.lines().filter(|line| !line.starts_with("step ")).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(format!("{said}\nexit code {code}"), @r"
    animals28: 5 pictures, on cpu
    error: 1 of 5 inputs could not be read, more than 1 %
      help: T/run/skipped.jsonl says why
    exit code 3
    ");
    let skipped = fs::read_to_string(train.at("run").join("skipped.jsonl")).unwrap();
    assert!(skipped.lines().count() == 1 && skipped.contains("broken.png"), "{skipped}");
    assert!(train.metrics("run").iter().all(|line| line["loss"].as_f64().unwrap().is_finite()));

    for photo in &photos {
        fs::write(train.data.join(photo.file_name().unwrap()), "no picture").unwrap();
    }
    let (code, said) = train.run("nothing", &["--set", "train.batch=5"]);
    insta::assert_snapshot!(format!("{said}exit code {code}"), @r"
    animals28: 5 pictures, on cpu
     WARN nothing of step 1 could be read, and nothing is learned; T/nothing/skipped.jsonl says why
    error: nothing of a whole epoch could be read
      help: T/nothing/skipped.jsonl says why
    exit code 4
    ");
}

#[cfg(unix)]
#[test]
fn generated_films_are_trained_on_by_name() {
    let mut train = Train::of_clips();
    train.data = "synthetic:photopan".into();
    let path = train.at("run").join("metrics.jsonl");
    for expected in ["vjepa-vit-tiny16: 8192 films", "continuing after step"] {
        let before = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let mut command = train.command("run", &["--set", "train.health_every=1"]);
        let run = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        wait_for_more(&path, before);
        Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
        let Output { status, stderr, .. } = run.wait_with_output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert!(status.code() == Some(130) && said.contains(expected), "{said}");
    }
    let lines = train.metrics("run");
    for (line, step) in lines.iter().zip(1..) {
        // 64 clips are watched, whose features do not all point one way.
        let rank = line["feature_rank"].as_f64().unwrap();
        assert!(line["step"] == step && line["loss"].as_f64().unwrap() > 0.0 && rank > 1.5, "{line}");
    }
    assert!(lines.len() > 1);
}
