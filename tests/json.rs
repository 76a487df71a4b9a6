//! What `--json` prints: the fields that docs/GUIDE.md names, and the type of everything in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

const SIDE: usize = 28;
const CLASSES: usize = 2;

/// Pictures of two classes as IDX files, enough of each for a probe with 50 labels.
fn idx(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for (part, count) in [("train", 130usize), ("t10k", 20)] {
        let sizes = |magic: u32, sizes: &[usize]| -> Vec<u8> {
            let words = [magic].into_iter().chain(sizes.iter().map(|size| *size as u32));
            words.flat_map(u32::to_be_bytes).collect()
        };
        let mut pictures = sizes(0x0803, &[count, SIDE, SIDE]);
        pictures
            .extend((0..count * SIDE * SIDE).map(|i| ((i * 7919 + (i / (SIDE * SIDE)) % CLASSES * 31) % 251) as u8));
        let mut labels = sizes(0x0801, &[count]);
        labels.extend((0..count).map(|i| (i % CLASSES) as u8));
        fs::write(folder.join(format!("{part}-images-idx3-ubyte")), pictures).unwrap();
        fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
}

/// The path and the type of every value; those of a list's members are united.
fn schema(value: &Value, path: &str, found: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let kind = match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                schema(value, &format!("{path}.{name}"), found);
            }
            return;
        }
        Value::Array(members) => {
            members.iter().for_each(|member| schema(member, &format!("{path}[]"), found));
            if !members.is_empty() {
                return;
            }
            "an empty list"
        }
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
    };
    found.entry(path.to_owned()).or_default().insert(kind);
}

/// The row of `command` in the guide's table: what stands between its backticks, but the command.
fn guide(command: &str) -> Vec<String> {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/GUIDE.md")).unwrap();
    let start = format!("| `{command}` |");
    let row = guide.lines().find_map(|line| line.strip_prefix(&start));
    let row = row.unwrap_or_else(|| panic!("docs/GUIDE.md has no row of {command} in its table of fields"));
    row.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_result_in_json_has_the_fields_and_types_of_the_guide() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    idx(&folder.path().join("data"));
    let (data, run, features) = (at("data"), at("run"), at("features"));
    let (demo, masks, export) = (at("demo"), at("masks"), at("export"));
    let commands = [
        ("plan", "animals28".to_owned()),
        ("devices", String::new()),
        ("train", format!("animals28 --data {data} --out {run} --set optim.epochs=1")),
        ("extract", format!("{data} --weights {run} --out {features}")),
        ("probe", format!("linear --train {data} --test {data} --weights {run} --labels-per-class 5")),
        (
            "probe attentive",
            format!("--train {data} --test {data} --weights {run} --epochs 1 --lr 1e-3 --weight-decay 0.1"),
        ),
        ("inspect", format!("{features} --verify")),
        ("export", format!("{run} --out {export}")),
        ("masks", format!("animals28 --batch 4 --out {masks}")),
        ("compile", "animals28".to_owned()),
        ("compile --print graph", "animals28".to_owned()),
        ("compile --print wgsl", "animals28".to_owned()),
        ("parity", format!("{run} --devices cpu")),
        ("verify", "tests/fixtures/reference/ijepa_eps".to_owned()),
        ("bench", "extract --quick --batch 1 --reps 1 --warm-up 0".to_owned()),
        ("demo", format!("--data {data} --out {demo} --epochs 1")),
    ];
    let mut text = String::new();
    for (name, arguments) in commands {
        let mut command = Command::cargo_bin("anyjepa").unwrap();
        command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("ANYJEPA_DEVICE");
        let output = command
            .args(name.split_whitespace())
            .args(arguments.split_whitespace())
            .args(["--json", "-q"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();

        let fields: Vec<&String> = result.as_object().unwrap().keys().collect();
        assert_eq!(fields, guide(name).iter().collect::<Vec<_>>(), "{name}: its fields, and those of docs/GUIDE.md");
        let mut found = BTreeMap::new();
        schema(&result, "", &mut found);
        for (path, kinds) in found {
            let kinds: Vec<&str> = kinds.into_iter().collect();
            text += &format!("{name} {}: {}\n", path.trim_start_matches('.'), kinds.join(" or "));
        }
    }
    // Whether processor seconds are counted depends on the system.
    insta::with_settings!({filters => vec![(r"(cpu_median_s): .*", "$1: number or null")]}, {
        insta::assert_snapshot!(text);
    });
}
