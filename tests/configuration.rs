//! docs/CONFIGURATION.md says what the doc comments of the code say: every key, every value of a choice, every metric.
//!
//! After a change `WRITE_DOCS=1 cargo test --test configuration` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyjepa::config::Preset;

const HEAD: &str = "\
# Configuration and metrics

Written from the doc comments of `src/config` and `src/train/metrics.rs` by `tests/configuration.rs`. A value comes \
from the preset, then from the file of `--config`, then from the environment (`ANYJEPA_OPTIM_LR=1e-3`), then from \
`--set optim.lr=1e-3`; `anyjepa inspect PRESET` shows a preset's values.
";

const CONFIG: [&str; 4] = ["src/config/mod.rs", "src/config/model.rs", "src/config/mask.rs", "src/config/sampling.rs"];

/// A field of a struct, or a variant of an enum.
struct Item {
    name: String,
    says: String,
    kind: String,
}

/// The public structs and enums of source files, with their documented items.
fn types(paths: &[&str]) -> BTreeMap<String, Vec<Item>> {
    let read = |path: &&str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let source: String = paths.iter().map(read).collect();
    let mut found: BTreeMap<String, Vec<Item>> = BTreeMap::new();
    let (mut owner, mut says) = (None, String::new());
    for line in source.lines() {
        let opens = line.strip_prefix("pub struct ").or(line.strip_prefix("pub enum "));
        if let Some(name) = opens.and_then(|rest| rest.strip_suffix(" {")) {
            owner = Some(name.to_owned());
        } else if line == "}" {
            owner = None;
        } else if let Some(text) = line.strip_prefix("    /// ") {
            says = format!("{says} {text}").trim().to_owned();
        } else if let (Some(owner), Some(item)) = (&owner, line.strip_suffix(',')) {
            let (name, kind) = item.trim().trim_start_matches("pub ").split_once(": ").unwrap_or((item.trim(), ""));
            let item = Item { name: name.to_owned(), says: std::mem::take(&mut says), kind: kind.to_owned() };
            found.entry(owner.clone()).or_default().push(item);
        } else if !line.starts_with("    #[") {
            says.clear();
        }
    }
    found
}

/// A row for each key below `prefix`, with what each value of a choice means.
fn keys(types: &BTreeMap<String, Vec<Item>>, owner: &str, prefix: &str, rows: &mut Vec<(String, String)>) {
    for Item { name, says, kind } in &types[owner] {
        let key = format!("{prefix}{name}");
        let inner = kind.strip_prefix("Option<").and_then(|kind| kind.strip_suffix('>')).unwrap_or(kind);
        match types.get(inner) {
            // One of several structs lies flat in its owner.
            Some(items) if items.iter().all(|item| item.name.contains('(')) => {
                for item in items {
                    let first = rows.len();
                    keys(types, item.name.split(['(', ')']).nth(1).unwrap(), prefix, rows);
                    let of = if item.says.contains(" of a clip") { "Clips" } else { "Pictures" };
                    rows[first..].iter_mut().for_each(|(_, says)| write!(says, " {of} only.").unwrap());
                }
            }
            Some(items) if items.iter().all(|item| item.kind.is_empty()) => {
                let values = items.iter().map(|item| format!("`\"{}\"`: {}", snake(&item.name), item.says));
                rows.push((key, format!("{says} {}", values.collect::<Vec<_>>().join(" "))));
            }
            Some(_) => keys(types, inner, &format!("{key}."), rows),
            None => rows.push((key, says.clone())),
        }
    }
}

/// The name of a variant as serde writes it.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for char in name.chars() {
        if char.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(char.to_lowercase());
    }
    out
}

fn page() -> (String, Vec<String>) {
    let mut text = HEAD.to_owned();
    let mut rows = Vec::new();
    keys(&types(&CONFIG), "RunConfig", "", &mut rows);
    write!(text, "\n## Keys\n\n| key | meaning |\n|---|---|\n").unwrap();
    rows.iter().for_each(|(key, says)| writeln!(text, "| `{key}` | {says} |").unwrap());
    let mut metrics = Vec::new();
    keys(&types(&["src/train/metrics.rs"]), "Metrics", "", &mut metrics);
    let lead =
        "A line of `metrics.jsonl`; TensorBoard's events have the same names. What is not known in a line is left out.";
    write!(text, "\n## Metrics\n\n{lead}\n\n| key | meaning |\n|---|---|\n").unwrap();
    metrics.iter().for_each(|(key, says)| writeln!(text, "| `{key}` | {says} |").unwrap());
    (text, rows.into_iter().map(|(key, _)| key).collect())
}

#[test]
fn the_page_says_what_the_code_says() {
    let (page, _) = page();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIGURATION.md");
    if std::env::var_os("WRITE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    assert!(found == page, "docs/CONFIGURATION.md is not what the code says; WRITE_DOCS=1 writes it anew");
}

#[test]
fn every_key_of_a_preset_is_on_it() {
    fn flat(table: &toml::Table, prefix: &str, found: &mut Vec<String>) {
        for (key, value) in table {
            match value {
                toml::Value::Table(inner) => flat(inner, &format!("{prefix}{key}."), found),
                _ => found.push(format!("{prefix}{key}")),
            }
        }
    }
    let mut found = Vec::new();
    for preset in ["ijepa-vit-tiny16", "vjepa-vit-tiny16"] {
        flat(&Preset::find(preset).unwrap().config().to_toml().parse().unwrap(), "", &mut found);
    }
    let (_, mut written) = page();
    found.sort();
    found.dedup();
    written.sort();
    assert_eq!(found, written);
}
