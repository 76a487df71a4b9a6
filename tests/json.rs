//! What `--json` prints: docs/GUIDE.md lists every field with its type, as the commands print them here.
//!
//! After a change `WRITE_DOCS=1 cargo test --test json` writes the list anew.

#[path = "support/idx.rs"]
mod idx;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyjepa::config::Preset;
use anyjepa::parity::Fault;
use anyjepa::weights::{Preprocessing, Resize};
use assert_cmd::Command;
use safetensors::SafeTensors;
use serde_json::Value;

/// What the list in docs/GUIDE.md stands between.
const FENCE: [&str; 2] = ["\n```text\n", "```\n"];

/// Objects whose fields are described elsewhere or depend on the file, and what the list says of them.
const ELSEWHERE: [(&str, &str); 2] =
    [("config", "the keys of CONFIGURATION.md"), ("files[].values", "what the file holds beside tensors")];

/// What stood at one place of all results of a command.
#[derive(Default)]
struct Schema {
    kinds: Vec<&'static str>,
    /// How often something stood here, and how often that was an object.
    seen: usize,
    objects: usize,
    /// In the order in which they are printed.
    fields: Vec<(String, Schema)>,
    member: Option<Box<Schema>>,
}

impl Schema {
    fn add(&mut self, value: &Value) {
        self.seen += 1;
        let kind = match value {
            Value::Object(_) => "object",
            Value::Array(_) => "list",
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "text",
        };
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
        match value {
            Value::Object(fields) => {
                self.objects += 1;
                for (name, value) in fields {
                    let known = self.fields.iter().position(|(known, _)| known == name);
                    let at = known.unwrap_or_else(|| {
                        self.fields.push((name.clone(), Self::default()));
                        self.fields.len() - 1
                    });
                    self.fields[at].1.add(value);
                }
            }
            Value::Array(members) => {
                let here = &mut self.member;
                members.iter().for_each(|member| here.get_or_insert_default().add(member));
            }
            _ => {}
        }
    }

    /// A line for each value in it that is neither always an object nor always a list; `beside` objects could hold it.
    fn lines(&self, path: &str, beside: usize, text: &mut String) {
        let elsewhere = ELSEWHERE.iter().find(|(known, _)| *known == path).map(|(_, what)| *what);
        let mut kinds: Vec<&str> =
            self.kinds.iter().map(|kind| elsewhere.filter(|_| *kind == "object").unwrap_or(kind)).collect();
        // Whether processor seconds are counted depends on the system.
        if path.ends_with("cpu_median_s") {
            kinds = vec!["number", "null"];
        }
        if self.seen < beside {
            kinds.push("absent");
        }
        let described = match kinds[..] {
            ["object"] => !self.fields.is_empty(),
            ["list"] => self.member.is_some(),
            _ => false,
        };
        if !described {
            writeln!(text, "  {path}: {}", kinds.join(" or ")).unwrap();
        }
        if elsewhere.is_some() {
            return;
        }
        let dot = if path.is_empty() { "" } else { "." };
        self.fields.iter().for_each(|(name, field)| field.lines(&format!("{path}{dot}{name}"), self.objects, text));
        if let Some(member) = &self.member {
            member.lines(&format!("{path}[]"), 0, text);
        }
    }
}

/// The case `ijepa_eps` with one golden value more, which nothing computes.
fn failing_case(folder: &Path) {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference/ijepa_eps");
    fs::create_dir(folder).unwrap();
    for name in ["config.json", "inputs.safetensors", "weights.safetensors"] {
        fs::copy(case.join(name), folder.join(name)).unwrap();
    }
    let bytes = fs::read(case.join("expected.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut tensors = golden.tensors();
    tensors.push(("unheard_of".to_owned(), tensors[0].1.clone()));
    safetensors::serialize_to_file(tensors, metadata.metadata().clone(), &folder.join("expected.safetensors")).unwrap();
}

/// What weights can ask for beside the usual resize and crop: another shape, nothing at all, and clips.
fn preprocessings() -> [Value; 3] {
    let published = |preset| Preprocessing::published(&Preset::find(preset).unwrap().config().model);
    let pictures = |resize| Preprocessing { resize, crop: None, ..published("animals28") };
    [pictures(Resize::Squash(64, 64)), pictures(Resize::None), published("vjepa2-vit-l")]
        .map(|preprocessing| serde_json::to_value(preprocessing).unwrap())
}

/// Puts `preprocessing` in place of each that stands in `value`; gives how many did.
fn replace_preprocessing(value: &mut Value, preprocessing: &Value) -> usize {
    match value {
        Value::Object(fields) => fields
            .iter_mut()
            .map(|(name, field)| match name == "preprocessing" && field.is_object() {
                true => {
                    *field = preprocessing.clone();
                    1
                }
                false => replace_preprocessing(field, preprocessing),
            })
            .sum(),
        Value::Array(members) => members.iter_mut().map(|member| replace_preprocessing(member, preprocessing)).sum(),
        _ => 0,
    }
}

/// The encoder `hf_ijepa` in `folder` with the file in which Hugging Face says that pictures are squashed.
fn squashing_encoder(folder: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference/hf_ijepa");
    fs::create_dir(folder).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(from.join(name), folder.join(name)).unwrap();
    }
    fs::write(folder.join("preprocessor_config.json"), r#"{"size": {"height": 64, "width": 64}}"#).unwrap();
}

#[test]
fn every_result_in_json_has_the_fields_and_types_of_the_guide() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    // Enough of each class for a probe with 50 labels.
    idx::write(&folder.path().join("data"), [130, 20]);
    failing_case(&folder.path().join("case"));
    fs::create_dir(folder.path().join("empty")).unwrap();
    squashing_encoder(&folder.path().join("squashing"));
    let (data, run, features) = (at("data"), at("run"), at("features"));
    let (package, probe, masks) = (at("package"), at("probe.safetensors"), at("masks"));
    let small = "--set optim.epochs=1 --set model.dim=24 --set model.mlp=48 --set model.heads=4";
    let sweep = "--epochs 1 --lr 1e-3 --weight-decay 0.1";
    let case = "tests/fixtures/reference/ijepa_eps";
    let (squashing, of_clips) = (at("squashing"), "tests/fixtures/reference/hf_vjepa2");
    // What a line is called in the guide, the arguments, and the exit code.
    let commands = [
        ("plan", "plan animals28".to_owned(), 0),
        ("devices", "devices".to_owned(), 0),
        ("train", format!("train animals28 --data {data} --out {run} {small}"), 0),
        ("extract", format!("extract {data} --weights {run} --out {features}"), 0),
        ("extract", format!("extract {data} --weights {squashing} --out {}", at("squashed")), 0),
        ("extract", format!("extract {data} --weights {of_clips} --out {}", at("clips")), 0),
        ("probe linear", format!("probe linear --train {data} --test {data} --weights {run} --labels-per-class 5"), 0),
        ("probe linear", format!("probe linear --train {features} --test {features}"), 0),
        ("probe knn", format!("probe knn --train {features} --test {features}"), 0),
        ("probe knn", format!("probe knn --train {features} --test {features} --labels-per-class 5"), 0),
        (
            "probe attentive",
            format!("probe attentive --train {data} --test {data} --weights {run} --out {probe} {sweep}"),
            0,
        ),
        (
            "probe attentive",
            format!("probe attentive --train {data} --test {data} --weights {run} --labels-per-class 5 {sweep}"),
            0,
        ),
        ("probe attentive", format!("probe attentive --probe {probe} --test {data} --weights {run}"), 0),
        ("export", format!("export {run} --out {}", at("export")), 0),
        ("masks", format!("masks animals28 --batch 4 --out {masks}"), 0),
        ("masks", format!("masks vjepa-vit-tiny16 --batch 2 --out {masks}"), 0),
        ("compile", format!("compile {run} --out {package}"), 0),
        ("compile --print graph", "compile animals28 --print graph".to_owned(), 0),
        ("compile --print wgsl", "compile animals28 --print wgsl".to_owned(), 0),
        ("inspect", "inspect".to_owned(), 0),
        ("inspect PRESET", "inspect animals28".to_owned(), 0),
        ("inspect FEATURES", format!("inspect {features} --verify"), 0),
        ("inspect FEATURES", format!("inspect {}", at("squashed")), 0),
        ("inspect FEATURES", format!("inspect {}", at("clips")), 0),
        ("inspect PACKAGE", format!("inspect {package}"), 0),
        ("inspect PROBE", format!("inspect {probe}"), 0),
        ("inspect WEIGHTS", format!("inspect {run} --verify"), 0),
        (
            "inspect WEIGHTS",
            "inspect tests/fixtures/reference/ijepa_p14/checkpoint_step1.pth.tar --verify".to_owned(),
            0,
        ),
        ("inspect WEIGHTS", "inspect tests/fixtures/reference/hf_ijepa".to_owned(), 0),
        ("inspect WEIGHTS", format!("inspect {squashing}"), 0),
        ("inspect WEIGHTS", format!("inspect {of_clips}"), 0),
        ("parity", format!("parity {run} --devices cpu,vulkan:99"), 6),
        ("verify", format!("verify {case}"), 0),
        ("verify", format!("verify {case} {} {}", at("case"), at("empty")), 4),
        ("bench", "bench extract --quick --batch 1 --reps 1 --warm-up 0 --kernels".to_owned(), 0),
        ("bench", "bench train --quick --batch 2 --reps 1 --warm-up 0".to_owned(), 0),
        ("demo", format!("demo --data {data} --out {} --epochs 1", at("demo")), 0),
    ];
    let preprocessings = preprocessings();
    let mut schemas: Vec<(&str, Schema)> = Vec::new();
    for (name, arguments, code) in commands {
        let mut command = Command::cargo_bin("anyjepa").unwrap();
        command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("ANYJEPA_DEVICE");
        let output = command.args(arguments.split_whitespace()).args(["--json", "-q"]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        if schemas.last().is_none_or(|(last, _)| *last != name) {
            schemas.push((name, Schema::default()));
        }
        let (_, schema) = schemas.last_mut().unwrap();
        schema.add(&result);
        for preprocessing in &preprocessings {
            let mut other = result.clone();
            if replace_preprocessing(&mut other, preprocessing) > 0 {
                schema.add(&other);
            }
        }
        if name == "parity" {
            // No engine is at fault here; this is what would stand there.
            let mut failed = result;
            let (label, kernel) = (String::new(), String::new());
            let fault =
                Fault { label, kernel, shapes: vec![vec![1]], relative_l2: 1.0, index: 0, expected: 0.0, found: 1.0 };
            failed["ways"][0]["fault"] = serde_json::to_value(fault).unwrap();
            schema.add(&failed);
        }
    }
    let mut list = String::new();
    for (name, schema) in &schemas {
        writeln!(list, "{name}").unwrap();
        schema.lines("", 0, &mut list);
    }

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/GUIDE.md");
    let guide = fs::read_to_string(&path).unwrap();
    let section = guide.find("## Results in JSON").expect("docs/GUIDE.md has a section on results in JSON");
    let start = section + guide[section..].find(FENCE[0]).unwrap() + FENCE[0].len();
    let end = start + guide[start..].find(FENCE[1]).unwrap();
    if std::env::var_os("WRITE_DOCS").is_some() {
        fs::write(&path, format!("{}{list}{}", &guide[..start], &guide[end..])).unwrap();
        return;
    }
    assert_eq!(&guide[start..end], list, "docs/GUIDE.md does not list what is printed; WRITE_DOCS=1 writes it anew");
}
