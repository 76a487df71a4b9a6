//! Sizes that no machine has, in arguments and configurations: an error with advice, where an allocation would abort.

use super::child::{anyjepa, watch};

#[test]
fn each_is_refused_with_advice() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/photos");
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("run");
    let train = |set: &[&str]| {
        let mut arguments = vec!["train", "ijepa-vit-tiny16", "--data", data, "--out", out.to_str().unwrap()];
        set.iter().for_each(|set| arguments.extend(["--set", *set]));
        watch(&mut anyjepa(&arguments))
    };
    let bench = |work: &str| watch(&mut anyjepa(&["bench", work, "--quick", "--batch", "4000000000"]));
    for (name, ended, code) in [
        ("extract", bench("extract"), 6),
        ("train", bench("train"), 6),
        ("dim", train(&["model.dim=65532", "model.depth=1000"]), 6),
        ("image_size", train(&["model.image_size=16384", "data.resize=16384", "model.patch_size=1"]), 6),
        ("batch", train(&["train.batch=1048576", "train.accumulate=1048576"]), 6),
        ("beyond", train(&["model.dim=4000000000"]), 2),
    ] {
        assert_eq!(ended.code, code, "{name}: {}", ended.said);
        assert!(ended.said.contains("  help: "), "{name}: {}", ended.said);
        assert!(code == 2 || ended.said.contains("of memory are needed"), "{name}: {}", ended.said);
    }
}
