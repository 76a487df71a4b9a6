//! Sizes that no machine has, in arguments, configurations and files: an error with advice, where an allocation would abort.

use std::fs;
use std::path::{Path, PathBuf};

use super::child::{anyjepa, watch};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn each_is_refused_with_advice() {
    let data = root("examples/data/photos");
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    let (data, out) = (data.to_str().unwrap(), out.to_str().unwrap());
    let run = |arguments: &[&str]| watch(&mut anyjepa(arguments));
    let train = |set: &[&str]| {
        let mut arguments = vec!["train", "ijepa-vit-tiny16", "--data", data, "--out", out];
        set.iter().for_each(|set| arguments.extend(["--set", *set]));
        run(&arguments)
    };
    let bench = |work: &str| run(&["bench", work, "--quick", "--batch", "4000000000"]);
    let parity = |set: &[&str]| {
        let mut arguments = vec!["parity", "animals28", "--devices", "cpu", "--batch", "64"];
        set.iter().for_each(|set| arguments.extend(["--set", *set]));
        run(&arguments)
    };
    // Weights of clips whose file says what no tensor shows.
    let weights = root("tests/fixtures/reference/hf_vjepa2");
    let (weights, large) = (weights.to_str().unwrap(), place.path().join("large"));
    fs::create_dir(&large).unwrap();
    fs::copy(root("tests/fixtures/reference/hf_vjepa2/model.safetensors"), large.join("model.safetensors")).unwrap();
    let config = fs::read_to_string(root("tests/fixtures/reference/hf_vjepa2/config.json")).unwrap();
    fs::write(large.join("config.json"), config.replace(r#""crop_size": 32"#, r#""crop_size": 65536"#)).unwrap();
    let large = large.to_str().unwrap();
    let many = place.path().join("many.txt");
    fs::write(&many, format!("{data}/rocket.jpg\n").repeat(1 << 10)).unwrap();
    let many = many.to_str().unwrap();
    let extract = |weights: &str, more: &[&str]| {
        run(&[&["extract", data, "--weights", weights, "--tokens", "pooled", "--out", out], more].concat())
    };
    let masks = "masks ijepa-vit-b16 --batch 1 --set model.image_size=16384 --set data.resize=16384 --set \
                 model.patch_size=64 --set mask.targets=256 --out";
    let masks = run(&masks.split_whitespace().chain([out]).collect::<Vec<_>>());
    for (name, ended, code) in [
        ("extract", bench("extract"), 6),
        ("train", bench("train"), 6),
        ("dim", train(&["model.dim=65532", "model.depth=1000"]), 6),
        ("image_size", train(&["model.image_size=16384", "data.resize=16384", "train.batch=65536"]), 6),
        ("tokens", train(&["model.image_size=16384", "data.resize=16384", "model.patch_size=1"]), 2),
        ("batch", train(&["train.batch=1048576", "train.accumulate=1048576"]), 6),
        ("beyond", train(&["model.dim=4000000000"]), 2),
        ("parity", parity(&["model.dim=65536", "model.heads=1", "model.depth=1024"]), 6),
        ("layers of parity", parity(&["model.image_size=14336", "data.resize=14336", "model.patch_size=14"]), 6),
        ("sheet of masks", masks, 6),
        ("pictures of a plan", run(&["plan", "ijepa-vit-h14", "--images", "18446744073709551615"]), 2),
        ("file in extract", extract(large, &[]), 4),
        ("file in compile", run(&["compile", large]), 4),
        ("file in parity", run(&["parity", large]), 4),
        ("clips", extract(weights, &["--sampling", "clips=4096,views=4096"]), 2),
        ("clips of a batch", extract(weights, &[many, "--sampling", "clips=4096,frames=1024", "--batch", "16"]), 6),
    ] {
        assert_eq!(ended.code, code, "{name}: {}", ended.said);
        assert!(ended.said.contains("  help: "), "{name}: {}", ended.said);
        assert!(code != 6 || ended.said.contains("of memory are needed"), "{name}: {}", ended.said);
    }
}

#[test]
fn a_graph_is_drawn_without_the_memory_of_its_batch() {
    /// Of the 29 GB that the batch takes; the program and the table of positions take less.
    const MOST: u64 = 1 << 30;
    let ended = watch(&mut anyjepa(&["compile", "vjepa-vit-h16-384", "--batch", "1024", "--print", "graph"]));
    assert_eq!(ended.code, 0, "{}", ended.said);
    assert!(ended.peak.is_none_or(|peak| peak < MOST), "{:?} bytes", ended.peak);
}
