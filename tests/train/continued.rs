//! Runs that are continued, branched, or refused with a reason.

use std::fs;

use serde_json::Value;

use super::runs::{STEPS, Train, numbers};

#[test]
fn a_run_writes_what_the_guide_says_and_a_second_start_changes_nothing() {
    let train = Train::new();
    assert_eq!(train.run("run", &[]).0, 0);
    let lines = train.metrics("run");
    let keys = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    insta::assert_snapshot!(keys(&lines[STEPS - 1]), @"step epoch loss spread lr weight_decay momentum grad_norm_encoder grad_norm_predictor context_tokens target_tokens images_per_second data_wait health_share skipped nonfinite_steps memory_bytes feature_std feature_std_min feature_rank feature_cosine target_std target_std_min constant_loss shown_targets prediction_cosine batch_mean_cosine");
    assert_eq!(lines.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert!(lines[1].get("feature_rank").is_none() && lines[2].get("feature_rank").is_some());
    let latest = fs::read_to_string(train.at("run").join("latest")).unwrap();
    assert_eq!(train.at("run").join("checkpoints").join(latest.trim()), train.checkpoint("run", STEPS));
    assert!(train.checkpoint("run", 4).exists() && !train.checkpoint("run", 2).exists(), "the last two are kept");

    let weights = train.weights("run");
    assert_eq!(train.run("run", &[]).0, 0);
    assert!(weights == train.weights("run"));
    let config = train.at("run").join("config.toml");
    assert!(fs::read_to_string(config).unwrap().contains("epochs = 6"));
}

#[test]
fn a_continued_run_equals_one_that_was_never_stopped() {
    let train = Train::new();
    assert_eq!(train.run("whole", &["--set", "train.accumulate=1", "--set", "train.workers=4"]).0, 0);
    assert_eq!(train.run("cut", &[]).0, 0);
    fs::remove_dir_all(train.checkpoint("cut", STEPS)).unwrap();
    let (code, said) = train.run("cut", &[]);
    assert!(code == 0 && said.contains("continuing after step 4 of 6"), "{said}");
    assert_eq!(numbers(train.metrics("cut")), numbers(train.metrics("whole")));
    assert!(train.tensors("cut") == train.tensors("whole"));
}

#[test]
fn two_ways_from_one_checkpoint_are_both_kept() {
    let train = Train::new();
    assert_eq!(train.run("run", &["--set", "train.keep_every=2"]).0, 0);
    let old = train.checkpoint("run", 2).to_str().unwrap().to_owned();
    let (code, said) = train.run("run", &["--resume", &old]);
    insta::assert_snapshot!(format!("{said}exit code {code}"), @r"
    animals28: 4 pictures, on cpu
    error: T/run has gone on to step 6
      help: name another --out, so that both ways from this checkpoint are kept
    exit code 2
    ");
    assert_eq!(train.run("branch", &["--resume", &old]).0, 0);
    assert!(train.tensors("branch") == train.tensors("run"));
}

#[test]
fn two_runs_are_never_mixed_in_one_folder() {
    let train = Train::new();
    assert_eq!(train.run("one", &[]).0, 0);
    let from = train.checkpoint("one", 4).to_str().unwrap().to_owned();
    let state = |out: &str| {
        let lines = train.metrics(out).into_iter().map(|line| line["step"].clone()).collect::<Vec<_>>();
        (lines, fs::read_to_string(train.at(out).join("latest")).ok())
    };

    // An older run with checkpoints of its own, behind the one that is named.
    assert_eq!(train.run("other", &["--set", "optim.epochs=2"]).0, 0);
    let before = state("other");
    let (code, said) = train.run("other", &["--resume", &from]);
    insta::assert_snapshot!(format!("{said}exit code {code}"), @r"
    animals28: 4 pictures, on cpu
    error: T/other holds a run of its own, which has come to step 2
      help: leave out --resume to continue that run, or name another --out to go on from T/one/checkpoints/step-00000004
    exit code 2
    ");
    assert_eq!(state("other"), before);
    assert!(!train.checkpoint("other", STEPS).exists());

    // One that has come to no checkpoint yet.
    fs::remove_dir_all(train.at("other/checkpoints")).unwrap();
    fs::remove_file(train.at("other/latest")).unwrap();
    let (code, said) = train.run("other", &["--resume", &from]);
    assert!(code == 2 && said.contains("T/other holds metrics of a run of its own, to step 2"), "{said}");
    assert_eq!(state("other"), (before.0, None));

    // The same run by another name is itself, and a branch that was killed before its first checkpoint is begun again.
    let detour = train.at("one/../one").to_str().unwrap().to_owned();
    assert_eq!(train.run("one", &["--resume", &detour]).0, 0);
    assert_eq!(train.run("branch", &["--resume", &from]).0, 0);
    fs::remove_dir_all(train.at("branch/checkpoints")).unwrap();
    assert_eq!(state("branch").0, [5, 6]);
    assert_eq!(train.run("branch", &["--resume", &from]).0, 0);
    assert_eq!(state("branch").0, [5, 6]);
    assert!(train.tensors("branch") == train.tensors("one"));

    // A branch that was stopped goes on as it says.
    let (code, said) = train.run("stopped", &["--resume", &from, "--stop-after", "0.001s"]);
    assert!(code == 75 && said.contains("the same command with --resume auto continues"), "{code}: {said}");
    assert_eq!(train.run("stopped", &["--resume", "auto"]).0, 0);
    assert!(train.tensors("stopped") == train.tensors("one"));
}

#[test]
fn what_cannot_be_continued_is_refused_with_its_reason() {
    let train = Train::new();
    assert_eq!(train.run("run", &[]).0, 0);
    fs::create_dir(train.at("other")).unwrap();
    fs::write(train.at("other/thesis.txt"), "not a run").unwrap();
    let answers = [
        ("run", &["--set", "optim.lr=1", "--set", "train.workers=3"][..]),
        ("run", &["--resume", "never"]),
        ("new", &["--resume", "nowhere"]),
        ("other", &[]),
    ]
    .map(|(out, more)| {
        let (code, said) = train.run(out, more);
        format!("{said}exit code {code}")
    });
    insta::assert_snapshot!(answers.join("\n"), @r"
    animals28: 4 pictures, on cpu
    error: T/run/checkpoints/step-00000006: the checkpoint has another configuration: optim.lr: 0.001, now 1.0
      help: go on with the run's own config.toml (--config), allow it with --allow-config-change, or start a new run in another folder
    exit code 4
    animals28: 4 pictures, on cpu
    error: T/run already holds checkpoints
      help: name another folder, or continue the run with --resume auto
    exit code 2
    animals28: 4 pictures, on cpu
    error: nowhere does not exist
      help: --resume takes auto, never, a run or one of its checkpoints
    exit code 2
    animals28: 4 pictures, on cpu
    error: T/other holds something else than a run
      help: name a new folder with --out
    exit code 2
    ");
    assert_eq!(fs::read_dir(train.at("other")).unwrap().count(), 1);
    assert!(!train.at("new").exists());
}

#[test]
fn a_run_whose_checkpoints_are_gone_does_not_begin_again_unasked() {
    let train = Train::new();
    let every = ["--set", "train.checkpoint_every=1"];
    let (code, said) = train.run("run", &every);
    assert_eq!(code, 0, "{said}");
    fs::remove_dir_all(train.at("run").join("checkpoints")).unwrap();
    fs::remove_file(train.at("run").join("latest")).unwrap();
    let (code, said) = train.run("run", &every);
    assert!(code == 4 && said.contains("there is no checkpoint") && said.contains("--resume never"), "{said}");
    assert!(!train.metrics("run").is_empty());
    let empty = train.at("empty");
    fs::create_dir_all(empty.join("checkpoints")).unwrap();
    let (code, said) = train.run("new", &[&every[..], &["--resume", empty.to_str().unwrap()]].concat());
    assert!(code == 2 && said.contains("holds no checkpoint"), "{said}");
    let (code, said) = train.run("run", &[&every[..], &["--resume", "never"]].concat());
    assert_eq!(code, 0, "{said}");
}
