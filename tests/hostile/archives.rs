//! Archives and lists of a few bytes that ask for gigabytes: refused, or opened, without taking them.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::child::{Ended, anyjepa, watch};

/// More than the program itself takes, and far less than any of these files asks for.
const MOST_MEMORY: u64 = 64 << 20;
/// Of the names below, nearly all of it a hole in the file.
const NAME: u64 = 3 << 30;
const PNG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/a.png");
const WEIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/reference/hf_ijepa");

fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_path("a.png").unwrap();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_cksum();
    header
}

/// A tar file whose first entry, of this kind, has `size` bytes that belong to the picture behind it.
fn tar_with(path: &Path, kind: tar::EntryType, size: u64) {
    let png = fs::read(PNG).unwrap();
    let mut file = File::create(path).unwrap();
    file.write_all(header(kind, size).as_bytes()).unwrap();
    // So much of it is a name indeed.
    file.write_all(&b"n".repeat(1000)).unwrap();
    let end = 512 + size.next_multiple_of(512);
    file.seek(SeekFrom::Start(end)).unwrap();
    file.write_all(header(tar::EntryType::Regular, png.len() as u64).as_bytes()).unwrap();
    file.write_all(&png).unwrap();
    file.set_len(end + 512 + 512 + 1024).unwrap();
}

fn extract(data: &Path, out: &Path) -> Ended {
    watch(anyjepa(&["-q", "extract", "--weights", WEIGHTS, "--out"]).arg(out).arg(data))
}

fn is_refused(name: &str, ended: &Ended) {
    assert_eq!(ended.code, 4, "{name}: {}", ended.said);
    assert!(ended.said.contains("more than 1 MiB") && ended.said.contains("  help: "), "{name}: {}", ended.said);
    assert!(ended.peak.is_none_or(|bytes| bytes < MOST_MEMORY), "{name} took {:?} bytes", ended.peak);
}

#[test]
fn names_of_gigabytes_are_refused_before_they_are_read() {
    let place = tempfile::tempdir().unwrap();
    for (name, kind) in [
        ("long name", tar::EntryType::GNULongName),
        ("long link", tar::EntryType::GNULongLink),
        ("attributes", tar::EntryType::XHeader),
    ] {
        let shard = place.path().join(format!("{name}.tar"));
        tar_with(&shard, kind, NAME);
        is_refused(name, &extract(&shard, &place.path().join("out")));
        // The same as weights of PyTorch's oldest form.
        let weights = place.path().join(format!("{name}.pth"));
        fs::rename(&shard, &weights).unwrap();
        is_refused(name, &watch(anyjepa(&["inspect"]).arg(&weights)));
        fs::remove_file(weights).unwrap();
    }
}

#[test]
fn attributes_of_all_entries_are_passed_over_and_a_usual_long_name_is_read() {
    let place = tempfile::tempdir().unwrap();
    for (name, kind, size) in
        [("global", tar::EntryType::XGlobalHeader, NAME), ("usual", tar::EntryType::GNULongName, 1000)]
    {
        let shard = place.path().join(format!("{name}.tar"));
        tar_with(&shard, kind, size);
        if name == "usual" {
            // A picture by its ending.
            let mut file = fs::OpenOptions::new().write(true).open(&shard).unwrap();
            file.seek(SeekFrom::Start(512 + 1000 - 4)).unwrap();
            file.write_all(b".png").unwrap();
        }
        let ended = extract(&shard, &place.path().join(name));
        assert_eq!(ended.code, 0, "{name}: {}", ended.said);
        assert!(ended.peak.is_none_or(|bytes| bytes < MOST_MEMORY), "{name} took {:?} bytes", ended.peak);
    }
}

#[test]
fn a_label_of_six_digits_makes_no_million_labels() {
    let place = tempfile::tempdir().unwrap();
    fs::copy(PNG, place.path().join("a.png")).unwrap();
    let list = place.path().join("list.txt");
    fs::write(&list, "a.png 999999\na.png 3\n").unwrap();
    let ended = extract(&list, &place.path().join("out"));
    assert_eq!(ended.code, 0, "{}", ended.said);
    assert!(ended.peak.is_none_or(|bytes| bytes < MOST_MEMORY), "it took {:?} bytes", ended.peak);
}
