//! Films that are damaged in their middle, that a cut left with packets that are never shown, or whose frames change size.

use std::path::Path;
use std::process::Command;

use super::{clip, film, numbered, numbers};
use crate::data::{Dataset, SkipReason};

#[test]
fn a_clip_of_a_damaged_film_has_the_frames_that_were_asked_for_or_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let source = "testsrc2=s=320x240:r=25";
    for (name, group) in [("few_keys.mp4", "250"), ("many_keys.mp4", "10")] {
        let path = film(folder.path(), name, source, 100, &["-c:v", "libx264", "-g", group, "-bf", "2"]);
        let mut content = std::fs::read(&path).unwrap();
        let data = content.windows(4).position(|word| word == b"mdat").unwrap();
        let place = data + (content.len() - data) / 3;
        content[place..place + 3000].fill(0xa5);
        std::fs::write(&path, content).unwrap();

        let dataset = Dataset::open(&path).unwrap();
        let mut listed = Vec::new();
        for first in 0..84 {
            let wanted: Vec<usize> = (first..first + 16).collect();
            match dataset.clip(0, &wanted) {
                Ok(clip) => {
                    for (frame, time) in wanted.iter().zip(&clip.times) {
                        assert!((time - *frame as f64 / 25.0).abs() < 2e-3, "{name}: frame {frame} at {time}");
                    }
                }
                Err(skip) => listed.push((first, skip.reason)),
            }
        }
        assert!(!listed.is_empty() && listed.len() < 84, "{name}: {listed:?}");
        assert!(listed.iter().any(|(_, reason)| *reason == SkipReason::Corrupt), "{name}: {listed:?}");
    }
}

#[test]
fn a_film_cut_between_keys_begins_with_its_first_frame_that_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["-c:v", "libx264", "-g", "25", "-bf", "3", "-x264-params", "open-gop=1", "-pix_fmt", "yuv420p"];
    let whole = film(folder.path(), "open.mp4", &numbered("64x48"), 100, &arguments);
    let cut = folder.path().join("cut.mkv");
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-ss", "1.1", "-i"])
        .arg(whole)
        .args(["-c", "copy"])
        .arg(&cut)
        .status();
    assert!(status.unwrap().success());
    let frames = Dataset::open(&cut).unwrap().timeline(0).unwrap().len();
    let wanted = [0, 1, 20, frames - 1];
    let clip = clip(Path::new(&cut), &wanted);
    let found = numbers(&clip);
    let expected = wanted.map(|frame| found[0] + frame);
    assert_eq!(found, expected);
    for (frame, time) in wanted.iter().zip(&clip.times) {
        assert!((time - *frame as f64 / 25.0).abs() < 2e-3, "frame {frame} at {time}");
    }
}

#[test]
fn a_film_whose_frames_change_their_size_from_one_process_to_the_next_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let arguments = ["-c:v", "libvpx", "-g", "25", "-b:v", "1M", "-deadline", "realtime"];
    let names = ["640x480", "320x240"].map(|size| {
        let name = format!("{size}.webm");
        film(folder, &name, &format!("testsrc2=s={size}:r=25"), 100, &arguments);
        name
    });
    for [first, second] in [[0, 1], [1, 0]] {
        let list = folder.join("list.txt");
        std::fs::write(&list, format!("file '{}'\nfile '{}'\n", names[first], names[second])).unwrap();
        let joined = folder.join("joined.webm");
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-y", "-f", "concat", "-safe", "0", "-i"]).arg(list);
        assert!(command.args(["-c", "copy"]).arg(&joined).status().unwrap().success());
        let dataset = Dataset::open(&joined).unwrap();
        // So far apart that each has a process of its own.
        let skip = dataset.clip(0, &[3, 150]).map(|clip| clip.times).unwrap_err();
        assert_eq!(skip.reason, SkipReason::Unsupported, "{} first: {}", names[first], skip.detail);
        assert!(skip.detail.contains("the size of the frames changes"), "{} first: {}", names[first], skip.detail);
        assert_eq!(dataset.clip(0, &[3, 50]).unwrap().frames, 2);
    }
}
