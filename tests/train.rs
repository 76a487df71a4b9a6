//! `anyjepa train`, as its users run it: continued, interrupted, diverging, with files that cannot be read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Steps of a whole run here: four photographs are one batch, so an epoch is a step.
const STEPS: usize = 6;

/// A V-JEPA that is small enough for a test: 4x4x2 tokens.
const CLIPS: [&str; 14] = [
    "model.image_size=32",
    "model.patch_size=8",
    "model.frames=4",
    "model.dim=24",
    "model.depth=1",
    "model.mlp=48",
    "model.predictor.dim=24",
    "model.predictor.depth=1",
    "model.predictor.mlp=48",
    "data.resize=36",
    "optim.warmup_epochs=0",
    "train.precision=f32",
    "train.workers=1",
    "data.sampling.clips=2",
];

struct Train {
    folder: tempfile::TempDir,
    preset: &'static str,
    data: PathBuf,
}

impl Train {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/photos");
        Self { folder, preset: "animals28", data }
    }

    /// Of clips.
    fn of_clips() -> Self {
        Self { preset: "vjepa-vit-tiny16", ..Self::new() }
    }

    /// As many films as a batch has, made by FFmpeg.
    fn films(&self) -> PathBuf {
        let folder = self.at("films");
        fs::create_dir(&folder).unwrap();
        for (i, source) in ["testsrc", "testsrc2", "mandelbrot", "life=random_seed=1:"].into_iter().enumerate() {
            let mut command = Command::new("ffmpeg");
            let source = if source.ends_with(':') { source.to_owned() } else { format!("{source}=") };
            command.args(["-v", "error", "-f", "lavfi", "-i", &format!("{source}size=48x40:rate=10")]);
            command.args(["-frames:v", "20", "-pix_fmt", "yuv420p"]).arg(folder.join(format!("{i}.mp4")));
            assert!(command.status().unwrap().success());
        }
        folder
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, out: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anyjepa"));
        command.env("NO_COLOR", "1").env_remove("ANYJEPA_DEVICE").arg("train").arg(self.preset);
        command.arg("--data").arg(&self.data).arg("--out").arg(self.at(out)).arg("--json");
        for set in [
            "train.batch=4",
            "train.log_every=1",
            "train.health_every=3",
            "train.checkpoint_every=2",
            "optim.schedule_scale=1",
        ] {
            command.args(["--set", set]);
        }
        let clips = if self.preset == "animals28" { &[] } else { CLIPS.as_slice() };
        command.args(clips.iter().flat_map(|set| ["--set", set]));
        command.args(["--set", &format!("optim.epochs={STEPS}")]).args(more);
        command
    }

    fn run(&self, out: &str, more: &[&str]) -> (i32, String) {
        let Output { status, stderr, .. } = self.command(out, more).output().unwrap();
        let said = String::from_utf8(stderr).unwrap().replace(self.folder.path().to_str().unwrap(), "T");
        assert!(!said.contains("panicked"), "{said}");
        (status.code().unwrap(), said)
    }

    fn checkpoint(&self, out: &str, step: usize) -> PathBuf {
        self.at(out).join(format!("checkpoints/step-{step:08}"))
    }

    fn metrics(&self, out: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.at(out).join("metrics.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The bytes of every network and moment of a run's last checkpoint.
    fn weights(&self, out: &str) -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(self.checkpoint(out, STEPS)).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "safetensors"));
        files.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())).collect()
    }

    /// The same without their headers, which repeat the configuration, cadences included.
    fn tensors(&self, out: &str) -> Vec<Vec<u8>> {
        let header = |bytes: &[u8]| 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        self.weights(out).into_values().map(|bytes| bytes[header(&bytes)..].to_vec()).collect()
    }
}

/// The keys that say how fast it was, not what was learnt.
fn numbers(mut metrics: Vec<Value>) -> Vec<Value> {
    for line in &mut metrics {
        for key in ["images_per_second", "data_wait", "memory_bytes"] {
            assert!(line.as_object_mut().unwrap().remove(key).is_some(), "{key}");
        }
    }
    metrics
}

#[test]
fn a_run_writes_what_the_guide_says_and_a_second_start_changes_nothing() {
    let train = Train::new();
    assert_eq!(train.run("run", &[]).0, 0);
    let lines = train.metrics("run");
    let keys = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    insta::assert_snapshot!(keys(&lines[STEPS - 1]), @"step epoch loss spread lr weight_decay momentum grad_norm_encoder grad_norm_predictor context_tokens target_tokens images_per_second data_wait skipped nonfinite_steps memory_bytes feature_std feature_std_min feature_rank feature_cosine target_std target_std_min constant_loss shown_targets prediction_cosine batch_mean_cosine");
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
    insta::assert_snapshot!(said["provenance"]["preprocessing"].as_str().unwrap(), @"4 frames, one in 4, 2 clips x 1 views, short side to 36 (bicubic), centre crop 32, mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225]");
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
}

#[test]
fn a_run_that_diverges_keeps_the_checkpoint_before() {
    let train = Train::new();
    let sets = ["optim.lr=1e30", "optim.start_lr=1e30", "train.checkpoint_every=1"];
    let (code, said) = train.run("run", &sets.map(|set| ["--set", set]).concat());
    assert_eq!(code, 5, "{said}");
    assert!(
        said.contains("were not finite for 3 steps in a row, the last one step 4")
            && said.contains("help: lower optim.lr"),
        "{said}"
    );
    // `inspect --verify` reads every value, and refuses those that are not finite.
    let mut inspect = Command::new(env!("CARGO_BIN_EXE_anyjepa"));
    let checked = inspect.arg("inspect").arg(train.at("run")).arg("--verify").output().unwrap();
    // Steps 2 to 4 were left out, so nothing new is saved after step 1.
    assert!(train.checkpoint("run", 1).exists() && !train.checkpoint("run", 2).exists());
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn a_run_that_diverges_later_keeps_its_last_good_checkpoints() {
    let train = Train::new();
    let every = ["--set", "train.checkpoint_every=1", "--set", "optim.epochs=40"];
    // The first update of a learning rate that ruins the weights is made with gradients that are finite still.
    let ruin = ["optim.lr=1e30", "optim.start_lr=1e30"].map(|set| ["--set", set]).concat();
    let mut good = train.command("run", &every).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_for(&train.checkpoint("run", 3));
    good.kill().unwrap();
    good.wait().unwrap();
    let newest = (0..40).rev().find(|step| train.checkpoint("run", *step).exists()).unwrap();
    let (code, said) = train.run("run", &[&every[..], &ruin, &["--allow-config-change"]].concat());
    assert_eq!(code, 5, "{said}");
    let kept: Vec<usize> = (0..=40).filter(|step| train.checkpoint("run", *step).exists()).collect();
    assert!(kept.contains(&newest), "{newest} was good, {kept:?} are left:\n{said}");
    // With the rate mended the run goes on from there.
    let from = train.checkpoint("run", newest);
    let (code, said) = train.run("branch", &[&every[..], &["--resume", from.to_str().unwrap()]].concat());
    assert_eq!(code, 0, "{said}");
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
     WARN no picture of step 1 could be read, and nothing is learned; T/nothing/skipped.jsonl says why
    error: no picture of a whole epoch could be read
      help: T/nothing/skipped.jsonl says why
    exit code 4
    ");
}

#[test]
fn a_second_process_is_told_who_trains_here() {
    let train = Train::new();
    let long = ["--set", "optim.epochs=100000", "--set", "train.checkpoint_every=100000"];
    let mut first = train.command("run", &long).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_for(&train.at("run").join("metrics.jsonl"));
    let (code, said) = train.run("run", &long);
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(code, 7, "{said}");
    assert!(said.contains(&format!("is in use by process {} on ", first.id())), "{said}");
    // A lock that a killed process left behind blocks nobody.
    assert_eq!(train.run("run", &[]).0, 0);
}

#[cfg(unix)]
#[test]
fn a_signal_saves_and_stops_also_where_nobody_reads_what_is_said() {
    let train = Train::new();
    let long = ["--set", "optim.epochs=100000", "--set", "train.checkpoint_every=100000"];
    for (name, signal, expected) in [("int", "INT", 130), ("term", "TERM", 143)] {
        let mut run = train.command(name, &long).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        drop(run.stderr.take());
        wait_for(&train.at(name).join("metrics.jsonl"));
        Command::new("kill").args([&format!("-{signal}"), &run.id().to_string()]).status().unwrap();
        assert_eq!(run.wait().unwrap().code(), Some(expected));
        assert!(train.at(name).join("latest").exists());
    }
}

#[cfg(unix)]
#[test]
fn generated_films_are_trained_on_by_name() {
    let mut train = Train::of_clips();
    train.data = "synthetic:photopan".into();
    let path = train.at("run").join("metrics.jsonl");
    for expected in ["vjepa-vit-tiny16: 8192 pictures", "continuing after step"] {
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

/// Waits until a run has written a line there.
fn wait_for(path: &Path) {
    wait_for_more(path, 0);
}

/// Waits until more than so many bytes stand there.
fn wait_for_more(path: &Path, bytes: u64) {
    for _ in 0..600 {
        if fs::metadata(path).is_ok_and(|metadata| metadata.len() > bytes) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{} was not written in 30 s", path.display());
}
