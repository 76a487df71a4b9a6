//! docs/RELIABILITY.md names a test for every promise, docs/ARCHITECTURE.md for every invariant; those tests exist.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// Refuses a `row` whose `tests`, between backticks, are none, or not among those of this package.
fn hold(row: &str, tests: &str, code: &str) {
    let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
    assert!(!names.is_empty(), "no test holds: {row}");
    for name in names {
        let is_test = |at: usize| code[..at].trim_end().lines().rev().take(3).any(|line| line.trim() == "#[test]");
        let found = code.match_indices(&format!("fn {name}()")).any(|(at, _)| is_test(at));
        assert!(found, "there is no test {name}");
    }
}

fn all_code() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    ["src", "tests"].iter().for_each(|folder| sources(&root.join(folder), &mut files));
    files.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let (code, text) = (all_code(), document("ARCHITECTURE.md"));
    let section = text.split("## Invariants\n\n").nth(1).unwrap();
    let rows: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("- ")).collect();
    assert!(rows.len() >= 12, "{} invariants", rows.len());
    for row in rows {
        let (_, tests) = row.rsplit_once(" Held by ").unwrap_or_else(|| panic!("no test holds: {row}"));
        hold(row, tests, &code);
    }
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let (code, text) = (all_code(), document("RELIABILITY.md"));
    let tables = text.split("| promise | test |\n|---|---|\n").skip(1);
    let rows: Vec<&str> = tables.flat_map(|table| table.lines().take_while(|line| line.starts_with("| "))).collect();
    assert!(rows.len() >= 20, "{} promises", rows.len());
    for row in rows {
        hold(row, row.trim_end_matches(" |").rsplit(" | ").next().unwrap(), &code);
    }
}
