//! Clips compiled: films become the same features by every engine, and from a package.

#[path = "support/gpu.rs"]
mod gpu;

use std::path::Path;

use anyjepa::extract::FeatureSet;
use assert_cmd::Command;
use image::{Rgb, RgbImage};

/// The order of sums in 32 bits, through two blocks, of features of the size of 1.
const ROUNDING: f32 = 1e-5;

/// Three films of two seconds, each a folder of frames in which a wave moves.
fn films(folder: &Path) {
    for film in 0..3u32 {
        let film_folder = folder.join(format!("film{film}"));
        std::fs::create_dir_all(&film_folder).unwrap();
        for t in 0..50 {
            let level = |x: u32, y: u32| ((x * (film + 3) + y * 5 + t * (film + 1) * 4) % 256) as u8;
            let frame = RgbImage::from_fn(48, 40, |x, y| Rgb([level(x, y), level(y, x), level(x + t, y)]));
            frame.save(film_folder.join(format!("{t:03}.png"))).unwrap();
        }
    }
}

/// What `anyjepa` says on standard output.
fn said(arguments: &[&str]) -> String {
    let output = Command::cargo_bin("anyjepa").unwrap().arg("-q").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn films_give_the_same_features_by_every_engine_and_from_a_package() {
    let folder = tempfile::tempdir().unwrap();
    films(&folder.path().join("films"));
    let at = |name: &str| folder.path().join(name).display().to_string();
    let input = format!("frames:{}", at("films"));
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/reference/hf_vjepa2");
    let extracted = |name: &str, arguments: &[&str]| {
        said(&[&["extract", &input, "--out", &at(name)], arguments].concat());
        FeatureSet::open(&folder.path().join(name)).unwrap()
    };
    let near = |name: &str, found: &FeatureSet, expected: &FeatureSet| {
        assert_eq!((found.shape, &found.names), (expected.shape, &expected.names));
        for (found, expected) in found.features.values.iter().zip(&expected.features.values) {
            assert!((found - expected).abs() < ROUNDING, "{name}: {found}, expected {expected}");
        }
    };

    let tokens = ["--weights", weights, "--batch", "2", "--tokens", "patch"];
    let burn = extracted("burn", &[&tokens[..], &["--engine", "burn"]].concat());
    assert_eq!((burn.names.len(), burn.shape.tokens, burn.shape.dim), (3, 32, 32));
    let compiled = extracted("compiled", &tokens);
    near("compiled", &compiled, &burn);

    said(&["compile", weights, "--batch", "2", "--tokens", "patch", "--out", &at("package")]);
    let preprocess = std::fs::read_to_string(folder.path().join("package/preprocess.json")).unwrap();
    let preprocess: serde_json::Value = serde_json::from_str(&preprocess).unwrap();
    assert_eq!((&preprocess["clips"]["frames"], &preprocess["clips"]["sampling"]["fps"]), (&4.into(), &4.0.into()));
    let packed = extracted("packed", &["--package", &at("package")]);
    assert!(packed.features == compiled.features, "a package gives other features than its weights");
    assert_eq!((packed.provenance, &packed.times), (compiled.provenance, &compiled.times));
    // Of each film the first and the last frame of two tubelets.
    assert_eq!(compiled.times.len(), 3 * 2 * 2);
    assert!(said(&["inspect", &at("package"), "--verify"]).contains("4 frames, 4 a second"));

    if !gpu::wanted("no Vulkan adapter was given films") {
        return;
    }
    near("vulkan", &extracted("vulkan", &["--package", &at("package"), "--device", "vulkan"]), &burn);
}
