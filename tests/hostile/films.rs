//! Films whose decoder fails, through extraction: the film is skipped with its reason, and all else is as without it.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyjepa::extract::FeatureSet;

use super::child::{Ended, anyjepa, watch};
use super::pictures::skipped;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn film(path: &Path) {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc=s=48x32:r=25:d=0.4"]).arg(path);
    assert!(command.status().expect("FFmpeg is installed; scripts/test does it").success());
}

/// Extracts the features of `data`, with the programs of `path`.
fn extract(data: &Path, out: &Path, path: &str) -> Ended {
    let mut command = anyjepa(&["-q", "extract", "--max-bad", "1", "--workers", "2"]);
    command.arg(data).arg("--weights").arg(root("tests/fixtures/reference/hf_ijepa")).arg("--out").arg(out);
    watch(command.env("PATH", path))
}

#[test]
fn a_decoder_that_crashes_costs_its_film_and_never_the_run() {
    let place = tempfile::tempdir().unwrap();
    let (data, programs) = (place.path().join("data"), place.path().join("programs"));
    fs::create_dir(&data).unwrap();
    fs::create_dir(&programs).unwrap();
    ["a.mp4", "crashes.mp4", "floods.webm", "z.mkv"].iter().for_each(|name| film(&data.join(name)));
    fs::write(data.join("broken.avi"), "no film").unwrap();
    let here = std::env::var("PATH").unwrap();
    let real = here.split(':').map(|folder| Path::new(folder).join("ffmpeg")).find(|path| path.is_file()).unwrap();
    let fake = programs.join("ffmpeg");
    let real = real.display();
    let body = format!("case \"$*\" in *crashes*) kill -SEGV $$ ;; *floods*) exec yes ;; esac\nexec {real} \"$@\"");
    fs::write(&fake, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();

    let ended = extract(&data, &place.path().join("out"), &format!("{}:{here}", programs.display()));
    assert_eq!(ended.code, 0, "{}", ended.said);
    let skips = skipped(&place.path().join("out/skipped.jsonl"));
    let expected = [("broken.avi", "corrupt"), ("crashes.mp4", "decoder_failed"), ("floods.webm", "decoder_failed")];
    assert_eq!(skips, expected.map(|(name, reason)| (name.to_owned(), reason.to_owned())).into());
    let features = FeatureSet::open(&place.path().join("out")).unwrap();
    assert_eq!(features.names, ["a.mp4", "z.mkv"]);
}

#[test]
fn without_ffmpeg_films_are_an_error_that_says_how_to_get_it_and_pictures_are_not() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::copy(root("examples/data/photos/chelsea.png"), data.join("a.png")).unwrap();
    let ended = extract(&data, &place.path().join("pictures"), "/nowhere");
    assert_eq!(ended.code, 0, "{}", ended.said);
    film(&data.join("b.mp4"));
    let ended = extract(&data, &place.path().join("films"), "/nowhere");
    assert_eq!(ended.code, 1, "{}", ended.said);
    assert!(
        ended.said.contains("films are read by FFmpeg") && ended.said.contains("apt install ffmpeg"),
        "{}",
        ended.said
    );
}
