//! What each fuzz target does with the bytes that it is given; the crate's tests replay the corpora through the same.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use anyjepa::config::{RunConfig, Sources, resolve};
use anyjepa::data::{Dataset, Split};
use anyjepa::error::Result;
use anyjepa::weights::{self, Source, Store, Which};
use anyjepa::{device, verify};
use tempfile::TempDir;

/// A configuration's text: as a run's own file, as a user's file over a preset, and, line by line, as `--set` pairs.
pub fn configuration(bytes: &[u8]) {
    let path = put("run.toml", bytes);
    told(resolve(&Sources { file: Some(&path), preset: Some("ijepa-vit-tiny16"), ..Sources::default() }));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let set: Vec<String> = text.lines().map(str::to_owned).collect();
    told(resolve(&Sources { preset: Some("ijepa-vit-tiny16"), set: &set, ..Sources::default() }));
    if let Some(config) = told(RunConfig::from_toml(text)) {
        // What was accepted can be written down and is accepted again.
        assert_eq!(RunConfig::from_toml(&config.to_toml()).expect("an accepted configuration"), config);
    }
}

/// A safetensors file.
pub fn safetensors(bytes: &[u8]) {
    weights_file(&put("w.safetensors", bytes));
}

/// A PyTorch file.
pub fn pth(bytes: &[u8]) {
    weights_file(&put("w.pth", bytes));
}

fn weights_file(path: &Path) {
    if let Some(store) = told(Store::open(path)) {
        for entry in store.entries.values() {
            if let Some(tensor) = told(entry.numbers()) {
                assert_eq!(tensor.values.len(), entry.elements());
            }
        }
    }
    if let Some(source) = told(Source::at(path, Which::Target)) {
        source.inspect(None);
        told(source.verify(None));
    }
    told(weights::open(path, None));
}

/// A list of pictures, where the first byte is even, or a tar shard; the rest is the file.
pub fn pictures(bytes: &[u8]) {
    /// Pictures of a file that are decoded; the index alone can name thousands.
    const DECODED: usize = 8;
    let Some((first, rest)) = bytes.split_first() else { return };
    put("a.png", include_bytes!("../corpus/a.png"));
    let path = put(if first % 2 == 0 { "list.txt" } else { "shard.tar" }, rest);
    let Some(data) = told(Dataset::open_split(&path, Split::All)) else { return };
    for sample in 0..data.len() {
        assert!(data.label(sample).is_none_or(|label| (label as usize) < data.classes().len()));
        data.name(sample);
        if sample < DECODED
            && let Ok(picture) = data.picture(sample)
        {
            assert_eq!(picture.pixels.len(), picture.width * picture.height * picture.channels);
        }
    }
    data.fingerprint();
}

/// The files of which a case may consist, by the number that stands before each.
pub const CASE_FILES: [&str; 14] = [
    "config.json",
    "case.json",
    "inputs.safetensors",
    "expected.safetensors",
    "weights.safetensors",
    "model.safetensors",
    "schedulers.json",
    "utils.safetensors",
    "pos_embed.safetensors",
    "mask_stats.json",
    "random_resized_crop_stats.json",
    "rng_goldens.json",
    "exact.png",
    "zip.pth.tar",
];

/// A parity case: files in a row, each a byte for its name, three for its length, and its content.
pub fn case(bytes: &[u8]) {
    let folder = folder().join("case");
    // What an earlier input left there is another case.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder of our own");
    let mut rest = bytes;
    while let Some(([name, length @ ..], content)) = rest.split_first_chunk::<4>() {
        let [low, middle, high] = *length;
        let length = (u32::from_le_bytes([low, middle, high, 0]) as usize).min(content.len());
        let name = CASE_FILES[usize::from(*name) % CASE_FILES.len()];
        fs::write(folder.join(name), &content[..length]).expect("a folder of our own");
        rest = &content[length..];
    }
    let device = device::open("cpu".parse().expect("a device")).expect("a device");
    told(verify::verify(&folder, &device));
}

/// The value; an error has a message and, as the command line would, an exit code that is not that of success.
fn told<T>(result: Result<T>) -> Option<T> {
    result
        .inspect_err(|error| {
            assert!(!error.to_string().is_empty());
            assert_ne!(error.exit_code(), 0);
        })
        .ok()
}

/// Writes a file of this name into the thread's folder.
fn put(name: &str, content: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::write(&path, content).expect("a folder of our own");
    path
}

/// A folder of this thread's own, in memory where there is such a place.
fn folder() -> PathBuf {
    thread_local!(static FOLDER: OnceCell<TempDir> = const { OnceCell::new() });
    let memory = Path::new("/dev/shm");
    let new = || if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    FOLDER.with(|folder| folder.get_or_init(|| new().expect("a folder of our own")).path().to_path_buf())
}
