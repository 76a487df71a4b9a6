//! A run small enough to be made hundreds of times, what can be done to it, and what it leaves behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

/// Steps of a whole run: sixteen pictures in batches of four, one and a half times; so a checkpoint stands in the middle of
/// either epoch.
pub const STEPS: usize = 8;

/// The smallest model; its checkpoints have all files that any has.
const SETS: &[&str] = &[
    "model.dim=16",
    "model.depth=1",
    "model.heads=2",
    "model.mlp=32",
    "model.predictor.dim=16",
    "model.predictor.depth=1",
    "model.predictor.heads=2",
    "model.predictor.mlp=32",
    "optim.epochs=2",
    "train.batch=4",
    "train.log_every=1",
    "train.health_every=4",
    "train.checkpoint_every=3",
];

/// A folder for runs, with pictures to train on.
pub struct Runs {
    folder: tempfile::TempDir,
}

/// How a process ended.
pub struct Ended {
    /// Its exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// What it said on standard error, with `T` for the folder.
    pub said: String,
}

/// The program, with `faults` as `FAILPOINTS`.
pub fn anyjepa(faults: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anyjepa"));
    command.env("NO_COLOR", "1").env("RAYON_NUM_THREADS", "1").env_remove("ANYJEPA_DEVICE").env("FAILPOINTS", faults);
    command
}

impl Runs {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pictures = folder.path().join("pictures");
        fs::create_dir(&pictures).unwrap();
        for i in 0..16_u32 {
            let level = |x: u32, y: u32| image::Luma([(x * (i + 3) * 5 + y * (17 - i) * 3) as u8]);
            image::GrayImage::from_fn(28, 28, level).save(pictures.join(format!("{i:02}.png"))).unwrap();
        }
        Self { folder }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command that begins or continues the run `out`, which is a name here or a path elsewhere.
    pub fn command(&self, out: impl AsRef<Path>, faults: &str, more: &[&str]) -> Command {
        self.command_on(&self.at("pictures"), SETS, out, faults, more)
    }

    /// The same on the pictures of `data` and with other settings at first, such as none.
    pub fn command_on(
        &self,
        data: &Path,
        sets: &[&str],
        out: impl AsRef<Path>,
        faults: &str,
        more: &[&str],
    ) -> Command {
        let mut command = anyjepa(faults);
        command.arg("train").arg("animals28").arg("--data").arg(data);
        command.arg("--out").arg(self.folder.path().join(out));
        sets.iter().chain(more.iter().filter(|arg| !arg.starts_with('-') && arg.contains('='))).for_each(|set| {
            command.args(["--set", set]);
        });
        command.args(more.iter().filter(|arg| arg.starts_with('-')).flat_map(|arg| arg.split(' ')));
        command
    }

    /// Runs the command to its end, with `faults` as `FAILPOINTS`; of `more`, `KEY=VALUE` is a setting and the rest options.
    pub fn run(&self, out: impl AsRef<Path>, faults: &str, more: &[&str]) -> Ended {
        self.ended(self.command(out, faults, more).output().unwrap())
    }

    pub fn ended(&self, Output { status, stderr, .. }: Output) -> Ended {
        let said = String::from_utf8(stderr).unwrap().replace(self.folder.path().to_str().unwrap(), "T");
        assert!(!said.contains("panicked"), "{said}");
        Ended { code: status.code(), said }
    }

    /// A run to its end, which must be a good one.
    pub fn finish(&self, out: impl AsRef<Path>) -> String {
        let ended = self.run(out, "", &[]);
        assert_eq!(ended.code, Some(0), "{}", ended.said);
        ended.said
    }

    pub fn checkpoint(&self, out: impl AsRef<Path>, step: usize) -> PathBuf {
        self.at("").join(out).join(format!("checkpoints/step-{step:08}"))
    }

    /// What a run has learnt and said: the BLAKE3 sums of every file of its last checkpoint, and its lines of metrics less
    /// what tells how fast it was.
    pub fn result(&self, out: impl AsRef<Path>) -> (String, Vec<Value>) {
        let manifest = fs::read_to_string(self.checkpoint(&out, STEPS).join("manifest.json")).unwrap();
        (manifest, self.metrics(out))
    }

    pub fn metrics(&self, out: impl AsRef<Path>) -> Vec<Value> {
        let text = fs::read_to_string(self.at("").join(out).join("metrics.jsonl")).unwrap();
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &mut lines {
            for key in ["images_per_second", "data_wait", "health_share", "memory_bytes"] {
                assert!(line.as_object_mut().unwrap().remove(key).is_some(), "{key}");
            }
        }
        lines
    }

    /// The run is whole and equals `whole`: the same weights, losses, and every step once in the lines and the events.
    pub fn assert_same(&self, out: &str, whole: &(String, Vec<Value>), what: &str) {
        let (manifest, metrics) = self.result(out);
        assert!(manifest == whole.0, "{what}: other weights: {manifest} {}", whole.0);
        assert_eq!(metrics, whole.1, "{what}");
        assert_eq!(self.events(out), (1..=STEPS as u64).collect::<Vec<_>>(), "{what}");
        assert_eq!(self.leftovers(out), Vec::<String>::new(), "{what}");
    }

    /// The steps of all events that hold metrics, in order.
    pub fn events(&self, out: impl AsRef<Path>) -> Vec<u64> {
        let mut steps = Vec::new();
        for entry in fs::read_dir(self.at("").join(out)).unwrap() {
            let path = entry.unwrap().path();
            if !path.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents.") {
                continue;
            }
            let file = fs::read(path).unwrap();
            let mut rest = file.as_slice();
            while let Some(length) = rest.first_chunk() {
                let length = u64::from_le_bytes(*length) as usize;
                // The wall time is a double of nine bytes, the step a varint with tag 2 behind it, and then come the
                // metrics with tag 5.
                let event = &rest[12..12 + length];
                if event[9] == 0x10 && event[11] == 0x2a {
                    steps.push(u64::from(event[10]));
                }
                rest = &rest[16 + length..];
            }
        }
        steps.sort_unstable();
        steps
    }

    /// Everything half-written that stands in a run's folder.
    pub fn leftovers(&self, out: impl AsRef<Path>) -> Vec<String> {
        fn walk(folder: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|ending| ending == "partial") {
                    found.push(path.display().to_string());
                }
                if path.is_dir() {
                    walk(&path, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.at("").join(out), &mut found);
        found
    }
}

/// Waits until `done`, for as long as a slow machine may take.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what} did not happen in two minutes");
}

/// Copies a run's folder.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Lines that a run has written to its metrics.
pub fn lines(run: &Path) -> usize {
    fs::read(run.join("metrics.jsonl")).map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count())
}
