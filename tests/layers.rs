//! The layers of docs/ARCHITECTURE.md: a module uses only modules of lower layers, and few know burn or print.

use std::fs;
use std::path::{Path, PathBuf};

/// A module's layer; `foreign` are the crates that it may name among those that are kept in one place.
struct Module {
    name: &'static str,
    layer: u8,
    foreign: &'static [&'static str],
}

const MODULES: &[Module] = &[
    Module { name: "error", layer: 0, foreign: &[] },
    Module { name: "faults", layer: 0, foreign: &[] },
    Module { name: "random", layer: 0, foreign: &[] },
    Module { name: "atomic", layer: 1, foreign: &[] },
    Module { name: "chance", layer: 1, foreign: &[] },
    Module { name: "lock", layer: 1, foreign: &[] },
    Module { name: "matrix", layer: 1, foreign: &[] },
    Module { name: "stop", layer: 1, foreign: &[] },
    Module { name: "tape", layer: 0, foreign: &[] },
    Module { name: "config", layer: 1, foreign: &["toml"] },
    Module { name: "masks", layer: 2, foreign: &[] },
    Module { name: "data", layer: 2, foreign: &["image"] },
    Module { name: "kernels", layer: 2, foreign: &[] },
    Module { name: "fused", layer: 3, foreign: &["burn"] },
    Module { name: "compile", layer: 2, foreign: &["naga"] },
    // The parts of `compile` that see the model; for the rest a graph is all there is.
    Module { name: "compile/encoder", layer: 5, foreign: &[] },
    Module { name: "compile/import", layer: 5, foreign: &["burn"] },
    Module { name: "device", layer: 3, foreign: &["burn", "wgpu"] },
    Module { name: "model", layer: 4, foreign: &["burn"] },
    Module { name: "runtime", layer: 4, foreign: &["wgpu"] },
    Module { name: "weights", layer: 4, foreign: &["burn"] },
    Module { name: "checkpoint", layer: 5, foreign: &[] },
    Module { name: "eval", layer: 5, foreign: &["burn"] },
    Module { name: "viz", layer: 5, foreign: &["image"] },
    Module { name: "extract", layer: 6, foreign: &["burn"] },
    Module { name: "train", layer: 6, foreign: &["burn"] },
    Module { name: "bench", layer: 7, foreign: &["burn"] },
    Module { name: "demo", layer: 7, foreign: &["burn", "image"] },
    Module { name: "parity", layer: 7, foreign: &["burn"] },
    Module { name: "verify", layer: 7, foreign: &["burn", "image"] },
];

/// Crates that only the modules above may name.
const KEPT: &[&str] = &["burn", "wgpu", "clap", "indicatif", "comfy_table", "toml", "image", "naga"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

/// The names that follow `prefix` in `text`, such as `masks` in `crate::masks::Masks`.
fn names_after<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    let ends = |c: char| !(c.is_alphanumeric() || c == '_');
    text.match_indices(prefix)
        .filter(|(at, _)| *at == 0 || text[..*at].ends_with(ends))
        .map(|(at, _)| &text[at + prefix.len()..])
        .map(|rest| &rest[..rest.find(ends).unwrap_or(rest.len())])
        .collect()
}

fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn modules_use_only_lower_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    for path in sources(&root) {
        let inside = path.strip_prefix(&root).unwrap();
        let top = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if matches!(top, "lib" | "main" | "cli") {
            continue;
        }
        let whole = inside.to_str().unwrap().trim_end_matches(".rs");
        let of = |name: &str| MODULES.iter().find(|module| module.name == name);
        let Some(module) = of(whole).or_else(|| of(top)) else {
            broken.push(format!("{}: the module {top} stands in no layer", inside.display()));
            continue;
        };
        let code = code(&path);
        for used in names_after(&code, "crate::") {
            let lower = MODULES.iter().any(|other| other.name == used && other.layer < module.layer);
            if used != top && !lower {
                broken.push(format!("{} uses {used}, which stands in no lower layer", inside.display()));
            }
        }
        for foreign in KEPT.iter().filter(|foreign| !module.foreign.contains(foreign)) {
            let inside_a_path = |at: usize| code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if code.match_indices(&format!("{foreign}::")).any(|(at, _)| !inside_a_path(at)) {
                broken.push(format!("{} names {foreign}", inside.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Compiled encoders are for use, not for training.
#[test]
fn training_knows_neither_the_compiler_nor_the_runtime() {
    let found: Vec<String> = holding(&["crate::compile", "crate::runtime"])
        .into_iter()
        .filter(|path| ["train/", "fused/", "model/"].iter().any(|folder| path.starts_with(folder)))
        .collect();
    assert!(found.is_empty(), "{}", found.join(", "));
}

#[test]
fn only_the_command_line_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let prints = ["println!", "eprintln!", "print!(", "eprint!(", "dbg!("];
    let broken: Vec<String> = sources(&root)
        .into_iter()
        .filter(|path| !path.strip_prefix(&root).unwrap().starts_with("cli"))
        .filter(|path| prints.iter().any(|print| code(path).contains(print)))
        .map(|path| path.display().to_string())
        .collect();
    assert!(broken.is_empty(), "these print: {}", broken.join(", "));
}

/// The files of `src` whose code, tests aside, holds one of `words`.
fn holding(words: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let is_test =
        |path: &Path| path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")));
    let mut found: Vec<String> = sources(&root)
        .iter()
        .filter(|path| !is_test(path))
        .filter(|path| {
            let code = code(path);
            let code = code.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
            words.iter().any(|word| code.contains(word))
        })
        .map(|path| path.strip_prefix(&root).unwrap().display().to_string().replace('\\', "/"))
        .collect();
    found.sort();
    found
}

#[test]
fn attention_mlp_and_block_are_defined_once() {
    // Self-attention, and cross-attention, which has no kernel of ours; the sweep takes the softmax of all its probes.
    assert_eq!(holding(&["module::attention("]), ["fused/mod.rs", "model/attentive.rs"]);
    assert_eq!(holding(&["activation::softmax("]), ["eval/attentive/stack.rs"]);
    assert_eq!(holding(&["fused::attention("]), ["model/attention.rs"]);
    // So is the MLP, and the sweep has its own.
    assert_eq!(holding(&["fused::gelu("]), ["eval/attentive/stack.rs", "model/mlp.rs"]);
    assert_eq!(holding(&["activation::gelu("]), ["fused/mod.rs"]);
    assert_eq!(holding(&["pub struct Block {"]), ["model/block.rs"]);
}

#[test]
fn names_of_other_libraries_stand_in_weights_alone() {
    let theirs = ["layernorm_before", "attention.query", "patch_embeddings", "encoder.layer."];
    let found = holding(&theirs);
    assert!(!found.is_empty() && found.iter().all(|file| file.starts_with("weights/")), "{found:?}");
}

/// Files with `unsafe` in them, each with how often and its reason there.
const UNSAFE: &[(&str, usize)] = &[
    // Opening a shared library.
    ("device/cuda.rs", 1),
    // Instructions that not every processor has.
    ("kernels/dots.rs", 1),
    // Shaders without checks of what they index, and what wgpu calls experimental.
    ("runtime/gpu/trusted.rs", 2),
];

#[test]
fn unsafe_stands_in_listed_files_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let blocks = |path: &Path| {
        let code = code(path);
        names_after(&code, "unsafe ").len() + code.matches("unsafe{").count()
    };
    let mut found: Vec<(String, usize)> = sources(&root)
        .iter()
        .map(|path| (path.strip_prefix(&root).unwrap().display().to_string().replace('\\', "/"), blocks(path)))
        .filter(|(_, count)| *count > 0)
        .collect();
    found.sort();
    assert_eq!(found, UNSAFE.iter().map(|(path, count)| ((*path).to_owned(), *count)).collect::<Vec<_>>());
    for crate_root in ["lib.rs", "main.rs"] {
        assert!(code(&root.join(crate_root)).contains("#![deny(unsafe_code)]"), "{crate_root}");
    }
}

#[test]
fn the_program_that_only_runs_packages_is_built_without_burn() {
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--no-default-features"]);
    let output = cargo.args(["--features", "infer"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("wgpu v"), "{tree}");
    let burn: Vec<&str> = tree.lines().filter(|line| line.starts_with("burn") || line.starts_with("cube")).collect();
    assert!(burn.is_empty(), "{burn:?}");
}
