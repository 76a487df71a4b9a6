//! Shards are whole or not there, in order, and bound to their inputs.

use std::collections::BTreeMap;

use super::super::provenance::example;
use super::*;
use crate::weights::Which;

const FORMATS: [Format; 3] = [Format::Safetensors, Format::Npy, Format::Parquet];

fn options(format: Format) -> WriterOptions {
    WriterOptions { format, shape: Shape { tokens: 1, dim: 2 }, rows_per_shard: 3 }
}

/// Seven images of a folder of ten; the others could not be read.
const INPUTS: [u64; 7] = [0, 1, 3, 4, 6, 8, 9];

fn push(writer: &mut Writer, input: u64) -> Result<()> {
    let name = format!("{input}.png");
    let features = [input as f32, -0.5 * input as f32];
    writer.push(&Row {
        input,
        name: &name,
        label: (input != 4).then_some(input as u32 % 3),
        features: &features,
        times: &[],
    })
}

fn push_rest(writer: &mut Writer) {
    let next = writer.position().next_input;
    for input in INPUTS.into_iter().filter(|&input| input >= next) {
        push(writer, input).unwrap();
    }
}

type Files = BTreeMap<String, Vec<u8>>;

fn files(folder: &Path) -> Files {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// Every file that an extraction writes, in order, with what is in the folder before it.
fn writes(format: Format) -> Vec<(Files, String, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let mut writes = Vec::new();
    let mut before = Files::new();
    let mut note = |before: &mut Files| {
        let after = files(folder.path());
        // The index is always written last, and "index" sorts behind "features".
        let changed = after.iter().filter(|(name, content)| before.get(*name) != Some(content));
        let mut changed: Vec<_> = changed.map(|(name, content)| (name.clone(), content.clone())).collect();
        changed.sort_by_key(|(name, _)| (name == INDEX_FILE, name.ends_with("json")));
        for (name, content) in changed {
            writes.push((before.clone(), name.clone(), content.clone()));
            before.insert(name, content);
        }
    };
    let mut writer = Writer::create(folder.path(), example(), options(format)).unwrap();
    note(&mut before);
    for input in INPUTS {
        push(&mut writer, input).unwrap();
        note(&mut before);
    }
    writer.flush().unwrap();
    note(&mut before);
    writer.finish().unwrap();
    note(&mut before);
    writes
}

#[test]
fn an_extraction_killed_at_any_write_continues_to_the_same_files() {
    for format in FORMATS {
        let writes = writes(format);
        assert_eq!(writes.len(), if format == Format::Npy { 11 } else { 8 });
        let (mut complete, name, content) = writes.last().cloned().unwrap();
        complete.insert(name, content);
        for (before, name, content) in writes {
            let partial = format!("{name}{}", atomic::PARTIAL);
            let states = [
                (partial.clone(), &content[..0]),
                (partial.clone(), &content[..content.len() / 2]),
                (partial, &content[..]),
                (name.clone(), &content[..]),
            ];
            for (name, content) in states {
                let folder = tempfile::tempdir().unwrap();
                for (name, content) in
                    before.iter().map(|(name, content)| (name, &content[..])).chain([(&name, content)])
                {
                    fs::write(folder.path().join(name), content).unwrap();
                }
                let mut writer = Writer::resume(folder.path(), example(), options(format)).unwrap();
                push_rest(&mut writer);
                writer.finish().unwrap();
                let state = format!("{format:?}, killed at {} bytes of {name}", content.len());
                assert_eq!(
                    files(folder.path()).keys().collect::<Vec<_>>(),
                    complete.keys().collect::<Vec<_>>(),
                    "{state}"
                );
                assert!(files(folder.path()) == complete, "{state}");
            }
        }
    }
}

#[test]
fn the_position_is_that_of_the_last_whole_shard() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path(), example(), options(Format::Safetensors)).unwrap();
    assert_eq!(writer.position(), Position { rows: 0, next_input: 0, last_name: None });
    for input in &INPUTS[..5] {
        push(&mut writer, *input).unwrap();
    }
    drop(writer);
    let writer = Writer::resume(folder.path(), example(), options(Format::Safetensors)).unwrap();
    assert_eq!(writer.position(), Position { rows: 3, next_input: 4, last_name: Some("3.png".into()) });
}

#[test]
fn a_run_that_is_stopped_keeps_what_it_flushed() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path(), example(), options(Format::Safetensors)).unwrap();
    push(&mut writer, 0).unwrap();
    writer.flush().unwrap();
    writer.flush().unwrap();
    assert_eq!(Writer::resume(folder.path(), example(), options(Format::Safetensors)).unwrap().position().rows, 1);
    assert_eq!(files(folder.path()).keys().collect::<Vec<_>>(), ["features-00000.safetensors", "index.json"]);
}

#[test]
fn a_complete_extraction_continues_with_nothing_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path(), example(), options(Format::Npy)).unwrap();
    push_rest(&mut writer);
    writer.finish().unwrap();
    let before = files(folder.path());
    let index = Writer::resume(folder.path(), example(), options(Format::Npy)).unwrap().finish().unwrap();
    assert_eq!((index.rows, index.complete), (7, true));
    assert!(files(folder.path()) == before);
}

#[test]
fn what_a_folder_holds_cannot_be_continued_as_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let name = path.display().to_string();
    Writer::create(path, example(), options(Format::Npy)).unwrap();
    let error = Writer::create(path, example(), options(Format::Npy)).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    let other = Provenance { encoder: Which::Context, version: "0.2.0".into(), ..example() };
    let wide = WriterOptions { shape: Shape { tokens: 1, dim: 3 }, ..options(Format::Npy) };
    let errors = [
        error,
        Writer::resume(path, other, options(Format::Npy)).unwrap_err(),
        Writer::resume(path, example(), options(Format::Parquet)).unwrap_err(),
        Writer::resume(path, example(), wide).unwrap_err(),
    ];
    let messages: Vec<String> = errors.iter().map(|error| error.to_string().replace(&name, "OUT")).collect();
    insta::assert_snapshot!(messages.join("\n"), @r#"
    OUT holds features already
    OUT: holds features of another provenance: encoder is "target", not "context"; version is "0.1.0", not "0.2.0"
    OUT: holds rows of 1 x 2 values as npy, not rows of 1 x 2 values as parquet
    OUT: holds rows of 1 x 2 values as npy, not rows of 1 x 3 values as npy
    "#);
}

#[test]
fn an_extraction_is_not_continued_with_other_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let resume = || Writer::resume(folder.path(), example(), options(Format::Npy)).unwrap();
    let refused = |error: Error| {
        assert_eq!(error.kind(), Kind::Data);
        assert!(error.remedy().is_some());
    };
    // Also before the first shard: what could not be read is noted by then.
    drop(resume().with_data("one").unwrap());
    refused(resume().with_data("other").unwrap_err());
    let mut writer = resume().with_data("one").unwrap();
    push_rest(&mut writer);
    writer.finish().unwrap();
    refused(resume().with_data("other").unwrap_err());
    assert_eq!(resume().with_data("one").unwrap().finish().unwrap().data, Some("one".into()));
}

#[test]
fn shards_that_are_missing_cut_or_without_an_index_stop_an_extraction() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path(), example(), options(Format::Safetensors)).unwrap();
    push_rest(&mut writer);
    writer.finish().unwrap();
    let shard = folder.path().join("features-00001.safetensors");
    let resume =
        || Writer::resume(folder.path(), example(), options(Format::Safetensors)).map_err(|error| error.kind());
    let whole = fs::read(&shard).unwrap();
    fs::write(&shard, &whole[1..]).unwrap();
    assert_eq!(resume().err(), Some(Kind::Data));
    fs::remove_file(&shard).unwrap();
    assert_eq!(resume().err(), Some(Kind::Data));
    fs::remove_file(folder.path().join(INDEX_FILE)).unwrap();
    assert_eq!(resume().err(), Some(Kind::Data));
    assert_eq!(files(folder.path()).len(), 2);
}

#[test]
fn files_of_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = ["notes.txt", "download.partial", "features-final.npy", "features-00000.csv"];
    for name in foreign {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    Writer::create(folder.path(), example(), options(Format::Npy)).unwrap();
    assert!(foreign.iter().all(|name| folder.path().join(name).exists()));
}

#[test]
fn rows_that_cannot_be_stored_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let half = Provenance { dtype: FeatureDtype::F16, ..example() };
    let mut writer = Writer::create(folder.path(), half.clone(), options(Format::Npy)).unwrap();
    let row = Row { input: 3, name: "cat.png", label: None, features: &[0.0, 65504.0], times: &[] };
    writer.push(&row).unwrap();
    let rows = [
        Row { input: 4, features: &[0.0], ..row },
        Row { input: 4, features: &[0.0, f32::NAN], ..row },
        Row { input: 4, features: &[0.0, -7e4], ..row },
        Row { input: 3, ..row },
    ];
    let mut messages: Vec<String> = rows.iter().map(|row| writer.push(row).unwrap_err().to_string()).collect();
    let parquet = tempfile::tempdir().unwrap();
    messages.push(Writer::create(parquet.path(), half, options(Format::Parquet)).unwrap_err().to_string());
    assert!(files(parquet.path()).is_empty());
    insta::assert_snapshot!(messages.join("\n"), @"
    features of cat.png: expected 2 values, found 1
    features of cat.png: value 1 is NaN
    features of cat.png: 70000 is too large for 16 bits
    features of cat.png: its place in the input is 3, expected 4 or later
    features of 16 bits cannot be written as parquet
    ");
}

#[test]
fn shards_of_wide_rows_hold_fewer() {
    let folder = tempfile::tempdir().unwrap();
    let shape = Shape { tokens: 196, dim: 1280 };
    let options = WriterOptions { shape, rows_per_shard: 4096, ..options(Format::Npy) };
    let writer = Writer::create(folder.path(), example(), options).unwrap();
    assert_eq!(writer.rows_per_shard, 267);
}
