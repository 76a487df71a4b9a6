//! Every shader has a twin and stands in the list of variants, and the binary carries all of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyjepa::compile::wgsl::{FILES, permutations};

/// Names of the files of a folder, without their ending.
fn names(folder: &str, ending: &str) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let paths = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let of_ending = paths.filter(|path| path.extension().is_some_and(|found| found == ending));
    of_ending.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_shader_has_a_twin_and_variants() {
    let shaders = names("shaders", "wgsl");
    let twins = names("src/runtime/twin", "rs");
    let without: Vec<&String> = shaders.difference(&twins).collect();
    assert!(without.is_empty(), "without a twin: {without:?}");
    let listed: BTreeSet<String> = permutations().map(|permutation| permutation.file.to_owned()).collect();
    assert_eq!(listed, shaders, "files of shaders/permutations, and of shaders/");
}

#[test]
fn the_binary_carries_every_file_of_the_folder() {
    let shared = names("shaders/shared", "wgsl").into_iter().map(|name| format!("shared/{name}"));
    let expected: BTreeSet<String> = names("shaders", "wgsl").into_iter().chain(shared).collect();
    let carried: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(carried, expected);
}

#[test]
fn every_shader_begins_with_what_one_workgroup_computes() {
    for name in names("shaders", "wgsl") {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("shaders/{name}.wgsl")));
        assert!(text.unwrap().starts_with("// One workgroup "), "shaders/{name}.wgsl");
    }
}
