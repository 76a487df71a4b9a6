//! `anyjepa extract`: every kind of input, whole shards, continuing after a kill, and what it says of bad inputs.

mod continued;
mod rows;
mod said;

use std::path::{Path, PathBuf};

use anyjepa::extract::FeatureSet;
use assert_cmd::Command;

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
