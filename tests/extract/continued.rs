//! Stopped and going on: whole shards, the same bytes, and nothing of other inputs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyjepa::extract::{FeatureSet, Index};

use super::{extracted, root, run, weights_folder};

/// Slower machines than any that build this need less for a tiny encoder's first rows.
const PATIENCE: Duration = Duration::from_secs(60);

/// The files of a folder, but for the lock, which names the process.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).filter(|entry| entry.file_name() != ".lock");
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// An extraction of many pictures, slow enough to be stopped, once its first shards stand.
fn begun(out: &Path, arguments: &[&str]) -> Child {
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("anyjepa"));
    command.args(["-q", "extract", "--weights"]).arg(weights_folder()).arg("--out").arg(out).args(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !Index::find(out).is_ok_and(|index| index.is_some_and(|index| index.shards.len() > 2)) {
        assert!(start.elapsed() < PATIENCE, "no shard was written");
        assert!(child.try_wait().unwrap().is_none(), "the extraction has ended");
        sleep(Duration::from_millis(1));
    }
    child
}

#[test]
fn a_killed_extraction_continues_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let animals = root().join("examples/data/animals28").display().to_string();
    // Batches and shards end at different rows.
    let arguments = [&animals, "--split", "test", "--batch", "3", "--shard-rows", "8"];
    let (whole, out) = (folder.path().join("whole"), folder.path().join("killed"));
    extracted(&whole, &arguments);
    for _ in 0..2 {
        let more = if out.exists() { vec!["--resume"] } else { vec![] };
        let mut child = begun(&out, &[&arguments[..], &more].concat());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!Index::read(&out).unwrap().complete);
        let error = FeatureSet::open(&out).unwrap_err();
        assert_eq!(error.exit_code(), 4, "{error}");
    }
    extracted(&out, &[&arguments[..], &["--resume"]].concat());
    let (whole, out) = (files(&whole), files(&out));
    assert_eq!(whole.keys().collect::<Vec<_>>(), out.keys().collect::<Vec<_>>());
    assert!(whole == out);
}

#[cfg(unix)]
#[test]
fn an_interrupted_extraction_keeps_its_rows_and_exits_with_130() {
    let folder = tempfile::tempdir().unwrap();
    let animals = root().join("examples/data/animals28").display().to_string();
    let out = folder.path().join("features");
    let arguments = [&animals, "--split", "test", "--batch", "3", "--shard-rows", "8"];
    let mut child = begun(&out, &arguments);
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let index = Index::read(&out).unwrap();
    assert!(!index.complete && index.next_input().is_multiple_of(3), "{} inputs", index.next_input());
    let whole = extracted(&folder.path().join("whole"), &arguments);
    assert_eq!(extracted(&out, &[&arguments[..], &["--resume"]].concat()), whole);
}

#[test]
fn an_extraction_is_not_continued_with_pictures_of_the_same_names() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other, out) = (folder.path().join("one"), folder.path().join("other"), folder.path().join("out"));
    for (pictures, size) in [(&one, 64), (&other, 65)] {
        fs::create_dir(pictures).unwrap();
        for name in ["a.bmp", "b.bmp"] {
            image::RgbImage::new(size, size).save(pictures.join(name)).unwrap();
        }
    }
    let (one, other) = (one.display().to_string(), other.display().to_string());
    extracted(&out, &[&one]);
    let before = files(&out);
    let (code, said) = run(&out, &[&other, "--resume"]);
    assert_eq!(code, 4);
    insta::assert_snapshot!(said.replace(&folder.path().display().to_string(), "T"), @"
    error: T/out: the inputs are not those with which the extraction began: names, sizes or labels differ
      help: give the inputs with which the extraction began, or choose another folder
    ");
    assert!(files(&out) == before);
    // Where the same pictures stand does not matter.
    let moved = folder.path().join("moved").display().to_string();
    fs::rename(&one, &moved).unwrap();
    extracted(&out, &[&moved, "--resume"]);
}
