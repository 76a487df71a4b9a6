//! Cases that contradict themselves are answered with an error that names the file, and falsified ones do not pass.

use std::fs;
use std::path::{Path, PathBuf};

use anyjepa::device::{self, Spec};
use anyjepa::error::Result;
use anyjepa::verify::{Report, verify};
use anyjepa::weights::{self, HostTensor, Metadata, Tensors};
use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What is changed in a copy of a case.
enum Change {
    /// The value at this pointer of the file becomes another.
    Set(&'static str, &'static str, Value),
    /// The tensor of the file becomes another; of no shape, it is taken out.
    Put(&'static str, &'static str, Vec<usize>, f32),
    /// The tensor of the file gets another name.
    Rename(&'static str, &'static str, &'static str),
    /// The file is taken away.
    Remove(&'static str),
}

use Change::{Put, Remove, Rename, Set};

fn committed(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference").join(case)
}

fn copy(case: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(committed(case)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

fn run(folder: &Path) -> Result<Report> {
    let device = device::open("cpu".parse::<Spec>().unwrap()).unwrap();
    verify(folder, &device)
}

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn tensors_of(path: &Path) -> Tensors {
    let entries = weights::Store::safetensors(path).unwrap().entries;
    entries.into_iter().map(|(name, entry)| (name, entry.numbers().unwrap())).collect()
}

fn write_tensors(path: &Path, tensors: &Tensors) {
    weights::write(path, tensors, &Metadata::new()).unwrap();
}

impl Change {
    fn apply(&self, folder: &Path) {
        match self {
            Set(file, pointer, value) => {
                let path = folder.join(file);
                let mut json = json_of(&path);
                *json.pointer_mut(pointer).unwrap_or_else(|| panic!("{file} has no {pointer}")) = value.clone();
                fs::write(path, json.to_string()).unwrap();
            }
            Put(file, name, shape, value) => {
                let path = folder.join(file);
                let mut tensors = tensors_of(&path);
                tensors.remove(*name);
                if !shape.is_empty() {
                    let values = vec![*value; shape.iter().product()];
                    tensors.insert((*name).to_owned(), HostTensor::new(shape.clone(), values).unwrap());
                }
                write_tensors(&path, &tensors);
            }
            Rename(file, from, to) => {
                let path = folder.join(file);
                let mut tensors = tensors_of(&path);
                let tensor = tensors.remove(*from).unwrap_or_else(|| panic!("{file} holds no {from}"));
                tensors.insert((*to).to_owned(), tensor);
                write_tensors(&path, &tensors);
            }
            Remove(file) => fs::remove_file(folder.join(file)).unwrap(),
        }
    }
}

const INPUTS: &str = "inputs.safetensors";
const CONFIG: &str = "config.json";

/// The changes of each case; every one of them leaves a case that cannot be computed.
fn contradictions() -> Vec<(&'static str, Vec<Change>)> {
    let model = |key: &'static str, value: Value| Set(CONFIG, key, value);
    let zeros = |name: &'static str, shape: &[usize]| Put(INPUTS, name, shape.to_vec(), 0.0);
    let no = |name: &'static str| Put(INPUTS, name, vec![], 0.0);
    vec![
        (
            "ijepa_eps",
            vec![
                model("/model/patch_size", json!(0)),
                model("/model/patch_size", json!(5)),
                model("/model/img_size", json!(0)),
                model("/model/img_size", json!(64)),
                model("/model/in_chans", json!(1)),
                model("/model/num_heads", json!(0)),
                model("/model/num_heads", json!(3)),
                model("/model/embed_dim", json!(15)),
                model("/model/embed_dim", json!(18)),
                model("/model/depth", json!(0)),
                model("/model/depth", json!(1_000_000)),
                model("/model/mlp_ratio", json!(1e300)),
                model("/model/mlp_ratio", json!(-1)),
                model("/model/layer_norm_eps", json!(0)),
                model("/model/predictor/num_heads", json!(0)),
                model("/model/predictor/num_heads", json!(3)),
                model("/model/predictor/embed_dim", json!(15)),
                model("/model/predictor/embed_dim", json!(1_000_000)),
                model("/model", json!(null)),
                model("/schedule/ipe", json!(u64::MAX)),
                model("/schedule/epochs", json!(u64::MAX)),
                model("/schedule/warmup", json!(-1)),
                model("/batch", json!(3)),
                model("/n_enc", json!(2)),
                model("/K_pred", json!(4)),
                zeros("images", &[2, 3, 40, 32]),
                zeros("images", &[3, 3, 32, 32]),
                zeros("images", &[2, 1, 32, 32]),
                zeros("images", &[2, 3, 32]),
                zeros("images", &[0, 3, 32, 32]),
                no("images"),
                no("masks_enc.0"),
                no("masks_pred.0"),
                zeros("masks_enc.0", &[2, 0]),
                zeros("masks_enc.0", &[0, 8]),
                zeros("masks_enc.0", &[3, 8]),
                zeros("masks_enc.0", &[16]),
                zeros("masks_pred.1", &[2, 4]),
                Put(INPUTS, "masks_enc.0", vec![2, 8], 16.0),
                Put(INPUTS, "masks_enc.0", vec![2, 8], -1.0),
                Put(INPUTS, "masks_enc.0", vec![2, 8], 0.5),
                Put(INPUTS, "masks_pred.0", vec![2, 3], f32::NAN),
                Put("weights.safetensors", "encoder.norm.weight", vec![7], 0.0),
                Put("weights.safetensors", "encoder.norm.weight", vec![], 0.0),
                Remove(INPUTS),
                Remove("expected.safetensors"),
                Remove("weights.safetensors"),
            ],
        ),
        (
            "hf_ijepa",
            vec![
                zeros("pixel_values", &[2, 3, 48, 64]),
                zeros("pixel_values", &[2, 3, 32, 32]),
                zeros("pixel_values", &[2, 1, 64, 64]),
                zeros("pixel_values", &[0, 3, 64, 64]),
                zeros("pixel_values", &[3, 64, 64]),
                zeros("pixel_values_res.0", &[1, 3, 81, 48]),
                zeros("pixel_values_res.0", &[1, 3, 0, 48]),
                zeros("pixel_values_res.1", &[1, 4, 32, 64]),
                model("/hidden_size", json!(15)),
                model("/hidden_size", json!(0)),
                model("/num_attention_heads", json!(0)),
                model("/num_attention_heads", json!(5)),
                model("/patch_size", json!(0)),
                model("/image_size", json!(0)),
                model("/image_size", json!(32)),
                model("/num_hidden_layers", json!(3)),
                Remove(INPUTS),
                Remove("model.safetensors"),
            ],
        ),
        (
            "preprocess",
            vec![
                model("/transform", json!("CenterCrop(0)")),
                model("/transform", json!("CenterCrop(99999999999)")),
                model("/transform", json!("nothing")),
                model("/mean", json!([])),
                model("/mean", json!([0.5, 0.5])),
                model("/std", json!([0.0, 0.0, 0.0])),
                model("/images/edges/resized_wh", json!([0, 0])),
                model("/images/edges/resized_wh", json!([1_000_000_000, 1_000_000_000])),
                model("/images/edges/crop_left_top", json!([u64::MAX, 0])),
                model("/images/edges/file", json!("nowhere.png")),
                model("/rrc/image", json!("nobody")),
                model("/rrc/height", json!(0)),
                model("/rrc/left", json!(u64::MAX)),
                model("/rrc/size", json!(0)),
                model("/rrc/size", json!(1_000_000_000)),
            ],
        ),
        (
            "misc",
            vec![
                Rename("pos_embed.safetensors", "ijepa_2d.dim16.grid4", "ijepa_2d.dim16.grid0"),
                Rename("pos_embed.safetensors", "ijepa_2d.dim16.grid4", "ijepa_2d.dim15.grid4"),
                Rename("pos_embed.safetensors", "ijepa_2d.dim16.grid4", "ijepa_2d.dim0.grid4"),
                Rename("pos_embed.safetensors", "ijepa_2d.dim16.grid4", "ijepa_2d.dim16.grid5"),
                Rename("pos_embed.safetensors", "ijepa_2d.dim16.grid4", "ijepa_2d.dim16.grid9999999999"),
                Rename("pos_embed.safetensors", "ijepa_2d.dim16.grid4", "rows_0_16.ijepa_2d.dim16.grid4"),
                Rename("pos_embed.safetensors", "bicubic_size.dim16.grid4.to3x3", "bicubic_size.dim16.grid0.to3x3"),
                Rename("pos_embed.safetensors", "bicubic_size.dim16.grid4.to3x3", "bicubic_size.dim16.grid4.to0x3"),
                Rename("pos_embed.safetensors", "bicubic_size.dim16.grid4.to3x3", "bicubic_size.dim16.grid4.to4x3"),
                Put("utils.safetensors", "x", vec![6, 5], 0.0),
                Put("utils.safetensors", "x", vec![0, 5, 2], 0.0),
                Put("utils.safetensors", "x", vec![], 0.0),
                Put("utils.safetensors", "mask.0", vec![], 0.0),
                Put("utils.safetensors", "mask.0", vec![6, 2], 5.0),
                Put("utils.safetensors", "mask.1", vec![6, 3], 0.0),
                Put("utils.safetensors", "apply_masks", vec![12, 4], 0.0),
                Rename("utils.safetensors", "repeat_interleave_batch_B3_r2", "repeat_interleave_batch_B0_r2"),
                Rename("utils.safetensors", "repeat_interleave_batch_B3_r2", "repeat_interleave_batch_B3_r0"),
                Set("schedulers.json", "/ijepa/params/ipe", json!(0)),
                Set("schedulers.json", "/ijepa/params/epochs", json!(u64::MAX)),
                Set("schedulers.json", "/ijepa/params/ipe_scale", json!(1e300)),
                Set("schedulers.json", "/ijepa/lr", json!([])),
                Set("mask_stats.json", "/ijepa_14x14_batch16/params/grid", json!(0)),
                Set("mask_stats.json", "/ijepa_14x14_batch16/params/grid", json!(u64::MAX)),
                Set("mask_stats.json", "/ijepa_14x14_batch16/params/batch_size", json!(0)),
                Set("mask_stats.json", "/ijepa_14x14_batch16/params/npred", json!(0)),
                Set("mask_stats.json", "/ijepa_14x14_batch16/params/pred_mask_scale", json!([0.2, 0.1])),
                Set("mask_stats.json", "/ijepa_14x14_batch16/n_samples", json!(u64::MAX)),
                Set("mask_stats.json", "/ijepa_14x14_batch16/target_top", json!(3)),
                Set("mask_stats.json", "", json!({})),
                Set("rng_goldens.json", "/ijepa_full/grid", json!(0)),
                Set("rng_goldens.json", "/ijepa_full/batch_size", json!(0)),
                Set("rng_goldens.json", "/ijepa_full/calls", json!([])),
                Set("random_resized_crop_stats.json", "/n", json!(0)),
                Set("random_resized_crop_stats.json", "/n", json!(u64::MAX)),
                Set("random_resized_crop_stats.json", "/image_wh", json!([0, 375])),
                Set("random_resized_crop_stats.json", "/ratio", json!([0.0, 1.0])),
                Remove("pos_embed.safetensors"),
                Remove("mask_stats.json"),
                Remove("rng_goldens.json"),
                Remove("random_resized_crop_stats.json"),
            ],
        ),
        ("pth_formats", vec![Remove("expected.safetensors"), Set(CONFIG, "/non_tensors", json!(3))]),
    ]
}

#[test]
fn a_case_that_contradicts_itself_is_an_error_that_names_the_file() {
    let mut answers = Vec::new();
    for (case, changes) in contradictions() {
        for change in changes {
            let folder = copy(case);
            change.apply(folder.path());
            let what = match &change {
                Set(file, pointer, value) => format!("{case}: {file}{pointer} = {value}"),
                Put(file, name, shape, value) => format!("{case}: {file} {name} = {value} in {shape:?}"),
                Rename(file, _, to) => format!("{case}: {file} {to}"),
                Remove(file) => format!("{case}: no {file}"),
            };
            let error = match run(folder.path()) {
                Ok(report) => panic!("{what}: no error, passed is {}", report.passed()),
                Err(error) => error,
            };
            let root = folder.path().to_str().unwrap();
            assert_eq!(error.exit_code(), 4, "{what}: {error}");
            assert!(error.to_string().starts_with(root), "{what} names no file: {error}");
            answers.push(format!("{what}\n    {}", error.to_string().replace(root, "CASE")));
        }
    }
    insta::assert_snapshot!(answers.join("\n"));
}

/// Every number below `value` becomes another, every truth its opposite; of a list, only the first.
fn falsify(value: &mut Value) {
    match value {
        Value::Bool(truth) => *truth = !*truth,
        Value::Number(number) if number.is_u64() => *value = json!(number.as_u64().unwrap() * 3 / 2 + 1),
        Value::Number(number) => *value = json!(number.as_f64().unwrap() * 1.5 + 1.0),
        Value::Array(values) => values.first_mut().into_iter().for_each(falsify),
        Value::Object(values) => values.values_mut().for_each(falsify),
        Value::Null | Value::String(_) => {}
    }
}

/// The pointers to what stands under `pointer`, down to `depth` levels of objects.
fn below(json: &Value, pointer: &str, depth: usize) -> Vec<String> {
    match json.pointer(pointer) {
        Some(Value::Object(values)) if depth > 0 => {
            values.keys().flat_map(|key| below(json, &format!("{pointer}/{key}"), depth - 1)).collect()
        }
        _ => vec![pointer.to_owned()],
    }
}

/// The sampler of pictures whose draws are falsified, that of clips, and the one that draws least, which goes with what
/// needs none: all others are left out, which is far faster.
const SAMPLERS: [&str; 3] =
    ["/ijepa_14x14_batch16", "/vjepa_8x14x14_partial_time_batch1", "/ijepa_14x14_batch1_allow_overlap"];

/// Falsifies what stands in `file` below `root`, one value after the other; how many there are, less what cannot be seen.
fn falsified(samplers: &[&str], file: &str, root: &str, depth: usize) -> usize {
    /// The seed of the reference's generator; a bound that no mask of this sampler meets.
    const UNSEEN: &[&str] = &["_batch16/seed", "_batch1/seed", "_batch16/params/min_keep"];
    let folder = copy("misc");
    let path = folder.path().join("mask_stats.json");
    let statistics = json_of(&path);
    let few = samplers.iter().map(|sampler| (sampler[1..].to_owned(), statistics[&sampler[1..]].clone()));
    fs::write(&path, Value::Object(few.collect()).to_string()).unwrap();
    assert!(run(folder.path()).unwrap().passed());

    let path = folder.path().join(file);
    let truth = json_of(&path);
    let mut seen = 0;
    for pointer in below(&truth, root, depth) {
        let mut json = truth.clone();
        falsify(json.pointer_mut(&pointer).unwrap());
        // A text or a bound that is not given.
        if json == truth || UNSEEN.iter().any(|unseen| pointer.ends_with(unseen)) {
            continue;
        }
        fs::write(&path, json.to_string()).unwrap();
        if let Ok(report) = run(folder.path()) {
            assert!(!report.passed(), "{file}{pointer} was falsified, and nothing was seen");
            let stem = file.trim_end_matches(".json");
            let differing = report.tensors.iter().filter(|tensor| !tensor.passed);
            assert!(differing.clone().all(|tensor| tensor.name.starts_with(stem)), "{file}{pointer}");
        }
        seen += 1;
    }
    seen
}

#[test]
fn whatever_is_falsified_in_draws_of_pictures_is_seen() {
    let [pictures, _, least] = SAMPLERS;
    let seen = falsified(&[pictures], "mask_stats.json", pictures, 2)
        + falsified(&[least], "rng_goldens.json", "/ijepa_full", 1)
        + falsified(&[least], "random_resized_crop_stats.json", "", 2);
    assert!(seen > 60, "{seen} values were falsified");
}

#[test]
fn whatever_is_falsified_in_draws_of_clips_is_seen() {
    let [_, clips, least] = SAMPLERS;
    let seen = falsified(&[least, clips], "mask_stats.json", clips, 2)
        + falsified(&[least], "rng_goldens.json", "/block_sizes/0", 1)
        + falsified(&[least], "rng_goldens.json", "/vjepa_full", 2);
    assert!(seen > 50, "{seen} values were falsified");
}

#[test]
fn what_concerns_videos_is_compared_as_well() {
    let report = run(&committed("misc")).unwrap();
    let statistics = json_of(&committed("misc").join("mask_stats.json"));
    let videos = statistics.as_object().unwrap().keys().filter(|name| !name.starts_with("ijepa"));
    let mut names: Vec<String> = videos.map(|name| format!("mask_stats.{name}")).collect();
    assert_eq!(names.len(), 5);
    names.extend(
        ["vjepa_full", "block_sizes.vjepa_short_thw", "block_sizes.vjepa_long_thw"].map(|n| format!("rng_goldens.{n}")),
    );
    for name in names {
        assert!(report.tensors.iter().any(|tensor| tensor.name.starts_with(&name)), "{name} is left out");
    }
}

#[test]
fn a_case_that_cannot_be_verified_does_not_keep_the_others_from_it() {
    let unknown = tempfile::tempdir().unwrap();
    fs::write(unknown.path().join(CONFIG), r#"{"kind": "sonata"}"#).unwrap();
    let (good, unknown) = (committed("pth_formats"), unknown.path().to_str().unwrap().to_owned());
    let good = good.to_str().unwrap();
    for cases in [[good, &unknown], [&unknown, good], ["nowhere", good]] {
        let mut command = Command::cargo_bin("anyjepa").unwrap();
        let output = command.env("NO_COLOR", "1").arg("verify").args(cases).arg("--json").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{stderr}");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(result["tensors"].as_array().unwrap().iter().all(|tensor| tensor["case"] == good));
        assert!(!result["tensors"].as_array().unwrap().is_empty());
        assert_eq!(result["passed"], false);
        let failures = result["failures"].as_array().unwrap();
        assert_eq!(failures.len(), 1);
        let bad = cases.into_iter().find(|case| *case != good).unwrap();
        assert_eq!(failures[0]["case"], bad);
        let message = failures[0]["message"].as_str().unwrap();
        assert!(message.contains("`sonata` are not known") || message.contains("does not exist"), "{message}");
        assert!(stderr.contains(message), "{stderr}");
    }
}
