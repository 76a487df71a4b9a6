//! What `anyjepa extract` makes of clips: pooled, of each tubelet or of each time, and when they are seen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyjepa::extract::FeatureSet;
use assert_cmd::Command;

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference").join(name).display().to_string()
}

fn anyjepa(arguments: &[&str]) -> Output {
    Command::cargo_bin("anyjepa").unwrap().arg("-q").args(arguments).output().unwrap()
}

/// A folder of two films, each a folder of 25 frames, of which 25 are shown in a second.
fn films(folder: &Path) -> PathBuf {
    for (film, light) in [("slow", 3), ("fast", 9)] {
        fs::create_dir_all(folder.join(film)).unwrap();
        for t in 0..25u8 {
            let picture = image::RgbImage::from_fn(40, 32, |x, y| image::Rgb([light * t, 5 * x as u8, 7 * y as u8]));
            picture.save(folder.join(film).join(format!("{t}.png"))).unwrap();
        }
    }
    folder.to_owned()
}

#[test]
fn features_of_clips_are_pooled_or_of_each_tubelet_or_time_with_the_seconds_at_which_they_are_seen() {
    /// The order of sums.
    const ROUNDING: f32 = 1e-5;
    let folder = tempfile::tempdir().unwrap();
    let films = format!("frames:{}", films(&folder.path().join("films")).display());
    let weights = fixture("hf_vjepa2");
    let clips = |tokens: &str, format: &str, more: &[&str]| {
        let out = folder.path().join(format!("{tokens}-{format}"));
        let (out_text, arguments) = (out.display().to_string(), ["--tokens", tokens]);
        let all = ["extract", &films, "--weights", &weights, "--out", &out_text, "--format", format];
        let output = anyjepa(&[&all[..], &arguments, more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        FeatureSet::open(&out).unwrap()
    };
    let [pooled, patch, time] = ["pooled", "patch", "time"].map(|tokens| clips(tokens, "safetensors", &[]));
    let burn = clips("time", "npy", &["--engine", "burn"]);
    // 4 frames, 4 a second, from the middle: two tubelets of two frames, each of 4 x 4 places.
    assert_eq!([&pooled, &patch, &time].map(|set| (set.shape.tokens, set.shape.dim)), [(1, 32), (32, 32), (2, 32)]);
    let seen = [0.08, 0.32, 0.6, 0.84];
    let near = |found: &[f64], expected: &[f64]| {
        found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9)
    };
    assert!(near(&pooled.times, &[seen[0], seen[3]].repeat(2)), "{:?}", pooled.times);
    assert!(near(&patch.times, &seen.repeat(2)) && near(&time.times, &seen.repeat(2)), "{:?}", time.times);
    for film in 0..2 {
        for (t, time) in time.features.row(film).chunks(32).enumerate() {
            let places = &patch.features.row(film)[t * 16 * 32..][..16 * 32];
            for (d, value) in time.iter().enumerate() {
                let mean = places.iter().skip(d).step_by(32).sum::<f32>() / 16.0;
                assert!((value - mean).abs() <= ROUNDING, "film {film}, time {t}, value {d}: {value}, mean {mean}");
            }
        }
        let far = |(a, b): (&f32, &f32)| (a - b).abs() > ROUNDING;
        assert!(!time.features.row(film).iter().zip(burn.features.row(film)).any(far), "film {film} by both engines");
        let means = time.features.row(film).chunks(32).collect::<Vec<_>>();
        assert!(means[0] != means[1], "the film changes");
        for (d, value) in pooled.features.row(film).iter().enumerate() {
            assert!((value - (means[0][d] + means[1][d]) / 2.0).abs() <= ROUNDING);
        }
    }
    for (format, more) in [("npy", &["--shard-rows", "1"][..]), ("parquet", &[]), ("npy", &["--dtype", "f16"])] {
        let _ = fs::remove_dir_all(folder.path().join("time-npy"));
        let again = clips("time", format, more);
        assert_eq!((&again.times, &again.names), (&time.times, &time.names), "{format}");
    }
    let (pictures, out) = (fixture("hf_ijepa"), folder.path().join("pictures").display().to_string());
    let photos = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/photos").display().to_string();
    let output = anyjepa(&["extract", &photos, "--weights", &pictures, "--out", &out, "--tokens", "time"]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr).trim_end(), @"
    error: a picture has no time: the model does not see clips
      help: take pooled features or those of each patch: --tokens pooled or patch
    ");
}

#[test]
fn which_frames_of_a_film_are_seen_can_be_said() {
    let folder = tempfile::tempdir().unwrap();
    let films = format!("frames:{}", films(&folder.path().join("films")).display());
    let extract = |weights: &str, sampling: &str| {
        let out = folder.path().join(sampling).display().to_string();
        let input = ["extract", &films, "--weights", &fixture(weights), "--out", &out];
        let output = anyjepa(&[&input[..], &["--tokens", "pooled", "--sampling", sampling]].concat());
        let said = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        match output.status.code() {
            Some(0) => Ok(FeatureSet::open(Path::new(&out)).unwrap()),
            code => Err(format!("{said}\nexit code {code:?}")),
        }
    };
    // 25 frames, 25 a second; the fixture has 4 frames of a clip, 4 a second.
    for (sampling, seconds, words) in [
        ("frames=6,stride=1", 0.2, "6 frames, every one"),
        ("stride=2", 0.24, "4 frames, one in 2"),
        ("fps=5", 0.6, "4 frames, 5 a second"),
        ("clips=2,stride=1", 0.96, "4 frames, every one, 2 clips x 1 views"),
    ] {
        let features = extract("hf_vjepa2", sampling).unwrap();
        assert!((features.times[1] - features.times[0] - seconds).abs() < 1e-9, "{sampling}: {:?}", features.times);
        let preprocessing = &features.provenance.preprocessing;
        assert!(preprocessing.to_string().starts_with(words), "{sampling}: {preprocessing}");
    }
    let mistakes = [
        ("hf_vjepa2", "frames=3"),
        ("hf_vjepa2", "clips=0"),
        ("hf_vjepa2", "speed=2"),
        ("hf_vjepa2", "fps=4,stride=2"),
        ("hf_vjepa2", "stride=2,fps=4"),
        ("hf_vjepa2", "clips=8,clips=2"),
        ("hf_ijepa", "fps=4"),
    ];
    let said: Vec<String> = mistakes.map(|(weights, sampling)| extract(weights, sampling).unwrap_err()).into();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_hugging_face_folder_of_clips_has_its_preprocessing_in_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture("hf_vjepa2")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let said = r#"{"size": {"shortest_edge": 36}, "resample": 2, "do_center_crop": true,
        "crop_size": {"height": 32, "width": 32}, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.2, 0.2]}"#;
    fs::write(folder.path().join("video_preprocessor_config.json"), said).unwrap();
    let shown = anyjepa(&["inspect", folder.path().to_str().unwrap()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("short side to 36 (bilinear), centre crop 32, mean [0.4, 0.5, 0.6]"), "{shown}");
}
