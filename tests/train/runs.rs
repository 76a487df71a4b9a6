//! `anyjepa train` on a few pictures or films, and what it leaves behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Steps of a whole run here: four photographs are one batch, so an epoch is a step.
pub const STEPS: usize = 6;

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

/// A folder for runs of one preset on one data set.
pub struct Train {
    folder: tempfile::TempDir,
    pub preset: &'static str,
    pub data: PathBuf,
}

impl Train {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/photos");
        Self { folder, preset: "animals28", data }
    }

    /// Of clips.
    pub fn of_clips() -> Self {
        Self { preset: "vjepa-vit-tiny16", ..Self::new() }
    }

    /// As many films as a batch has, made by FFmpeg.
    pub fn films(&self) -> PathBuf {
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

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, out: &str, more: &[&str]) -> Command {
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

    pub fn run(&self, out: &str, more: &[&str]) -> (i32, String) {
        let Output { status, stderr, .. } = self.command(out, more).output().unwrap();
        let said = String::from_utf8(stderr).unwrap().replace(self.folder.path().to_str().unwrap(), "T");
        assert!(!said.contains("panicked"), "{said}");
        (status.code().unwrap(), said)
    }

    pub fn checkpoint(&self, out: &str, step: usize) -> PathBuf {
        self.at(out).join(format!("checkpoints/step-{step:08}"))
    }

    pub fn metrics(&self, out: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.at(out).join("metrics.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The bytes of every network and moment of a run's last checkpoint.
    pub fn weights(&self, out: &str) -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(self.checkpoint(out, STEPS)).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "safetensors"));
        files.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())).collect()
    }

    /// The same without their headers, which repeat the configuration, cadences included.
    pub fn tensors(&self, out: &str) -> Vec<Vec<u8>> {
        let header = |bytes: &[u8]| 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        self.weights(out).into_values().map(|bytes| bytes[header(&bytes)..].to_vec()).collect()
    }
}

/// The keys that say how fast it was, not what was learnt.
pub fn numbers(mut metrics: Vec<Value>) -> Vec<Value> {
    for line in &mut metrics {
        for key in ["images_per_second", "data_wait", "health_share", "memory_bytes"] {
            assert!(line.as_object_mut().unwrap().remove(key).is_some(), "{key}");
        }
    }
    metrics
}

/// Waits until a run has written a line there.
pub fn wait_for(path: &Path) {
    wait_for_more(path, 0);
}

/// Waits until more than so many bytes stand there.
pub fn wait_for_more(path: &Path, bytes: u64) {
    for _ in 0..600 {
        if fs::metadata(path).is_ok_and(|metadata| metadata.len() > bytes) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{} was not written in 30 s", path.display());
}
