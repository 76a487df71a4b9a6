//! The corpora of the fuzz targets, through the code of the targets: what was once found stays mended.

use std::fs;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

/// Runs every file of a target's corpus, of which there must be some.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        eprintln!("{}", file.display());
        run(&fs::read(file).unwrap());
    }
}

#[test]
fn no_configuration_of_the_corpus_ends_the_process() {
    replay("configuration", fuzz::configuration);
}

#[test]
fn no_safetensors_file_of_the_corpus_ends_the_process() {
    replay("safetensors", fuzz::safetensors);
}

#[test]
fn no_pytorch_file_of_the_corpus_ends_the_process() {
    replay("pth", fuzz::pth);
}

#[test]
fn no_list_and_no_tar_shard_of_the_corpus_ends_the_process() {
    replay("pictures", fuzz::pictures);
}

#[test]
fn no_parity_case_of_the_corpus_ends_the_process() {
    replay("case", fuzz::case);
}
