//! Weights that mean harm: each is refused with exit code 4, and nothing of it runs.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyjepa::error::Kind;
use anyjepa::weights::{self, Store};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::child::{anyjepa, watch};

/// More than the program itself takes, and far less than any of these files asks for.
const MOST_MEMORY: u64 = 256 << 20;

fn reference(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference").join(path)
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn text(text: &str) -> Vec<u8> {
    joined(&[b"X", &(text.len() as u32).to_le_bytes(), text.as_bytes()])
}

fn number(value: i64) -> Vec<u8> {
    joined(&[b"\x8a\x08", &value.to_le_bytes()])
}

fn numbers(values: &[i64]) -> Vec<u8> {
    joined(&[b"(", &values.iter().flat_map(|value| number(*value)).collect::<Vec<u8>>(), b"t"])
}

/// A tensor of `shape` in the storage `key` of `count` elements.
fn tensor(class: &str, key: &str, count: i64, shape: &[i64], stride: &[i64]) -> Vec<u8> {
    joined(&[
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage"),
        format!("ctorch\n{class}\n").as_bytes(),
        &text(key),
        &text("cpu"),
        &number(count),
        b"tQ",
        &number(0),
        &numbers(shape),
        &numbers(stride),
        b"\x89ccollections\nOrderedDict\n)RtR",
    ])
}

/// A pickle of a dictionary.
fn dictionary(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<u8> = entries.iter().flat_map(|(key, value)| joined(&[&text(key), value, b"s"])).collect();
    joined(&[b"\x80\x02}", &entries, b"."])
}

fn archive(pickle: &[u8], storages: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    let mut put = |name: &str, content: &[u8]| {
        zip.start_file(format!("archive/{name}"), options).unwrap();
        zip.write_all(content).unwrap();
    };
    put("data.pkl", pickle);
    put("version", b"3");
    put("byteorder", b"little");
    storages.iter().for_each(|(key, content)| put(&format!("data/{key}"), content));
    zip.finish().unwrap().into_inner()
}

fn stored(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    archive(pickle, storages, CompressionMethod::Stored)
}

/// An archive of these two pickles under one name.
fn two_of_one_name(first: &[u8], second: &[u8]) -> Vec<u8> {
    const OTHER: &[u8] = b"archive/other.pkl";
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let entries = [("archive/first.pkl", first), ("archive/other.pkl", second), ("archive/data/0", &[0; 4])];
    for (name, content) in entries {
        zip.start_file(name, SimpleFileOptions::default().compression_method(CompressionMethod::Stored)).unwrap();
        zip.write_all(content).unwrap();
    }
    let mut content = zip.finish().unwrap().into_inner();
    for at in 0..content.len() - OTHER.len() {
        if [OTHER, b"archive/first.pkl"].contains(&&content[at..at + OTHER.len()]) {
            content[at..at + OTHER.len()].copy_from_slice(b"archive//data.pkl");
        }
    }
    content
}

fn safetensors(length: u64, header: &[u8], data: &[u8]) -> Vec<u8> {
    joined(&[&length.to_le_bytes(), header, data])
}

fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    safetensors(header.len() as u64, header.as_bytes(), data)
}

/// The entry of a header for a tensor at `from..to`.
fn entry(name: &str, dtype: &str, shape: &str, from: u64, to: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
}

/// PyTorch's oldest form, whose storages claim to be of `size` bytes, most of them a hole.
fn sparse_archive(size: u64) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [("sys_info", b"\x80\x02}.".as_slice()), ("pickle", b"\x80\x02}."), ("tensors", b"K\0.")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_cksum();
        archive.append_data(&mut header, name, content).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_size(512);
    header.set_path("storages").unwrap();
    let gnu = header.as_gnu_mut().unwrap();
    octal(&mut gnu.sparse[0].offset, size - 512);
    octal(&mut gnu.sparse[0].numbytes, 512);
    octal(&mut gnu.realsize, size);
    header.set_cksum();
    archive.append(&header, [0u8; 512].as_slice()).unwrap();
    archive.into_inner().unwrap()
}

fn octal(field: &mut [u8; 12], value: u64) {
    field[..11].copy_from_slice(format!("{value:011o}").as_bytes());
}

/// A dictionary in a dictionary, each under a key of `length` letters, and `leaves` numbers in the innermost.
fn long_names(depth: usize, length: usize, leaves: usize) -> Vec<u8> {
    let key = text(&"k".repeat(length));
    let mut pickle = b"\x80\x02}".to_vec();
    (0..depth).for_each(|_| pickle.extend(joined(&[&key, b"}"])));
    (0..leaves).for_each(|leaf| pickle.extend(joined(&[&text(&leaf.to_string()), b"K\x01s"])));
    pickle.extend(vec![b's'; depth]);
    pickle.push(b'.');
    pickle
}

/// Name and content of each file; `mark` is where those that would run something leave a mark.
fn files(mark: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let f32s = |key: &str, count: i64, shape: &[i64], stride: &[i64]| tensor("FloatStorage", key, count, shape, stride);
    let one = |value: Vec<u8>| dictionary(&[("w", value)]);
    let touch = format!("touch {}", mark.display());
    let by_name = joined(&[b"\x80\x04", &text("builtins"), &text("eval"), b"\x93(", &text(&touch), b"tR."]);
    let popen = joined(&[b"csubprocess\nPopen\n((", &text("touch"), &text(&mark.display().to_string()), b"ltR"]);
    // Called, and what came of it is dropped before the weights.
    let popped = |call: &[u8]| joined(&[b"\x80\x02", call, &text(&touch), b"\x85R0}", &text("epoch"), b"K\x01s."]);
    let state =
        joined(&[b"\x80\x02ccollections\nOrderedDict\n)R}", &text("a"), b"cos\nsystem\n", &text(&touch), b"\x85Rsb."]);
    let by_stack = |module: &str, name: &str| joined(&[b"\x80\x04", &text(module), &text(name), b"\x93"]);
    let doubling = joined(&[b"\x80\x02]q\0", &b"(h\0h\0lq\0".repeat(60), b"."]);
    let nested =
        |depth: usize| joined(&[b"\x80\x02}", &text("w"), &b"]".repeat(depth), &b"a".repeat(depth - 1), b"s."]);
    let whole = stored(&one(f32s("0", 2, &[2], &[1])), &[("0", &[0; 8])]);
    let legacy = fs::read(reference("pth_formats/legacy.pth.tar")).unwrap();
    let zeros = vec![0u8; 300 << 20];
    let million = entry("a", "F32", "[1048576,1048576,1048576,16]", 0, 8);
    vec![
        ("a call of the system.pth", format!("cposix\nsystem\n(V{touch}\ntR.").into_bytes()),
        ("a call by a name that is put together.pth", joined(&[&by_name])),
        ("a call in the place of an encoder.pth", stored(&dictionary(&[("encoder", popen)]), &[])),
        ("a call whose result is dropped.pth", stored(&popped(b"cos\nsystem\n"), &[])),
        ("a call in the state of an object.pth", stored(&state, &[])),
        ("a call of a package that is known.pth", popped(b"cnumpy.testing._private.utils\nrunstring\n")),
        ("a call of torch itself.pth", popped(b"ctorch.utils.collect_env\nrun\n")),
        ("a call by a dotted name.pth", stored(&popped(&by_stack("torch", "serialization.os.system")), &[])),
        ("a call by a name that was remembered.pth", {
            let remembered = joined(&[&text("os"), b"q\x05", &text("system"), b"q\x0600h\x05h\x06\x93"]);
            popped(&remembered)
        }),
        ("a class with its arguments.pth", joined(&[b"(", &text(&touch), b"ios\nsystem\n."])),
        ("a call by a number.pth", popped(b"\x82\x01")),
        ("a memo bomb.pth", doubling),
        ("a zip bomb of values.pth", archive(&vec![b']'; 90 << 20], &[], CompressionMethod::Deflated)),
        (
            "a zip bomb of numbers.pth",
            archive(&one(f32s("0", 75 << 20, &[75 << 20], &[1])), &[("0", &zeros)], CompressionMethod::Deflated),
        ),
        ("one number a thousand million times.pth", stored(&one(f32s("0", 1, &[1 << 30], &[0])), &[("0", &[0; 4])])),
        ("a shape that overflows.pth", stored(&one(f32s("0", 2, &[1 << 62, 1 << 62], &[1, 1])), &[("0", &[0; 8])])),
        ("a negative shape.pth", stored(&one(f32s("0", 2, &[-2], &[1])), &[("0", &[0; 8])])),
        ("a tensor larger than its storage.pth", stored(&one(f32s("0", 2, &[1000], &[1])), &[("0", &[0; 8])])),
        ("a stride out of the storage.pth", stored(&one(f32s("0", 2, &[2], &[1 << 40])), &[("0", &[0; 8])])),
        ("a storage that is missing.pth", stored(&one(f32s("7", 2, &[2], &[1])), &[("0", &[0; 8])])),
        ("a storage that is shorter than it says.pth", stored(&one(f32s("0", 9, &[9], &[1])), &[("0", &[0; 8])])),
        ("a storage out of the archive.pth", stored(&one(f32s("../../etc/passwd", 2, &[2], &[1])), &[("0", &[0; 8])])),
        ("complex numbers.pth", stored(&one(tensor("ComplexFloatStorage", "0", 1, &[1], &[1])), &[("0", &[0; 8])])),
        (
            "two tensors of one name.pth",
            stored(
                &dictionary(&[
                    ("a.b", f32s("0", 1, &[1], &[1])),
                    ("a", joined(&[b"}", &text("b"), &f32s("0", 1, &[1], &[1]), b"s"])),
                ]),
                &[("0", &[0; 4])],
            ),
        ),
        ("two pickles of one name.pth", two_of_one_name(&popped(b"cos\nsystem\n"), &one(f32s("0", 1, &[1], &[1])))),
        ("nested a hundred thousand times.pth", nested(100_000)),
        ("names of gigabytes.pth", long_names(500, 10_000, 10_000)),
        ("no directory.pth", whole[..whole.len() - 30].to_vec()),
        ("half a directory.pth", whole[..whole.len() - 150].to_vec()),
        ("a hole of four gigabytes.pth", sparse_archive(1 << 32)),
        ("the oldest form of nothing but values.pth", {
            let mut archive = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_ustar();
            header.set_size(8 << 20);
            header.set_cksum();
            archive.append_data(&mut header, "pickle", vec![b']'; 8 << 20].as_slice()).unwrap();
            archive.into_inner().unwrap()
        }),
        ("storages beyond the end.pth", legacy[..legacy.len() - 200].to_vec()),
        ("a header of 2^63 bytes.safetensors", safetensors(1 << 63, b"{}", &[])),
        ("a header beyond the end.safetensors", safetensors(1000, b"{}", &[])),
        ("a header of 17 MiB.safetensors", with_header(&format!("{{{}}}", " ".repeat(17 << 20)), &[])),
        ("a header that is no text.safetensors", safetensors(4, b"{\xff\xfe}", &[])),
        ("a header that is no JSON.safetensors", with_header("{]", &[])),
        ("a header nested without end.safetensors", with_header(&format!("{{\"a\":{}", "[".repeat(100_000)), &[])),
        (
            "tensors that overlap.safetensors",
            with_header(
                &format!("{{{},{}}}", entry("a", "F32", "[2]", 0, 8), entry("b", "F32", "[2]", 4, 12)),
                &[0; 12],
            ),
        ),
        (
            "two tensors of one name.safetensors",
            with_header(&format!("{{{0},{0}}}", entry("a", "F32", "[1]", 0, 4)), &[0; 4]),
        ),
        (
            "a hole between tensors.safetensors",
            with_header(
                &format!("{{{},{}}}", entry("a", "F32", "[1]", 0, 4), entry("b", "F32", "[1]", 8, 12)),
                &[0; 12],
            ),
        ),
        ("a shape that overflows.safetensors", with_header(&format!("{{{million}}}"), &[0; 8])),
        ("a shape of millions.safetensors", {
            let shape = format!("[{}1]", "1,".repeat(8_000_000));
            with_header(&format!("{{{}}}", entry("a", "F32", &shape, 0, 4)), &[0; 4])
        }),
        ("a type that is none.safetensors", with_header(&format!("{{{}}}", entry("a", "F33", "[1]", 0, 4)), &[0; 4])),
        (
            "a type of another size.safetensors",
            with_header(&format!("{{{}}}", entry("a", "F64", "[1]", 0, 4)), &[0; 4]),
        ),
        (
            "a tensor that runs backwards.safetensors",
            with_header(&format!("{{{}}}", entry("a", "F32", "[1]", 8, 4)), &[0; 8]),
        ),
        (
            "a tensor beyond the end.safetensors",
            with_header(&format!("{{{}}}", entry("a", "F32", "[4]", 0, 16)), &[0; 8]),
        ),
        (
            "numbers that are none.safetensors",
            with_header(&format!("{{{}}}", entry("a", "F32", "[1]", 0, 4)), &f32::NAN.to_le_bytes()),
        ),
    ]
}

#[test]
fn each_is_refused_with_its_reason_and_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("it-ran");
    let (mut told, mut broken) = (String::new(), Vec::new());
    for (name, content) in files(&mark) {
        let path = folder.path().join(name);
        fs::write(&path, &content).unwrap();
        let inspected = watch(anyjepa(&["inspect", "--verify"]).arg(&path));
        if inspected.code != 4 || !inspected.said.contains("  help: ") {
            broken.push(format!("{name}: exit code {}, {}", inspected.code, inspected.said));
        }
        if inspected.peak.is_some_and(|bytes| bytes > MOST_MEMORY) {
            broken.push(format!("{name} took {:?} bytes", inspected.peak));
        }
        assert!(!mark.exists(), "{name} ran");
        assert!(fs::read(&path).unwrap() == content, "{name} was changed");
        let said = inspected.said.lines().next().unwrap_or_default();
        let said = said.replace(&format!("{}/", folder.path().display()), "");
        told += &format!("{}\n", said.replace(&format!("{}", folder.path().display()), "FOLDER"));
        // As weights to compute with, it is refused as well.
        assert_eq!(weights::open(&path, None).unwrap_err().kind(), Kind::Data, "{name}");
        fs::remove_file(&path).unwrap();
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    insta::assert_snapshot!(told);
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error_and_no_signal() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["pth_formats/zip.pth.tar", "pth_formats/legacy.pth.tar", "misc/utils.safetensors"] {
        let whole = fs::read(reference(name)).unwrap();
        let path = folder.path().join(Path::new(name).file_name().unwrap());
        fs::write(&path, &whole).unwrap();
        let store = Store::open(&path).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(300).unwrap();
        let filled = store.entries.values().filter(|entry| entry.elements() > 0);
        for error in filled.map(|entry| entry.bytes().unwrap_err()) {
            assert_eq!(error.kind(), Kind::Data, "{name}: {error}");
        }
    }
}

#[test]
fn a_file_that_shrinks_and_grows_in_the_middle_of_reading_is_whole_or_an_error() {
    const ROUNDS: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    for name in ["pth_formats/zip.pth.tar", "pth_formats/legacy.pth.tar", "misc/utils.safetensors"] {
        let whole = fs::read(reference(name)).unwrap();
        let path = folder.path().join(Path::new(name).file_name().unwrap());
        fs::write(&path, &whole).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
                for length in (0..whole.len() as u64).step_by(97).cycle() {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    file.set_len(length).unwrap();
                    file.set_len(whole.len() as u64).unwrap();
                }
            });
            for _ in 0..ROUNDS {
                let read =
                    Store::open(&path).and_then(|store| store.entries.values().try_for_each(|e| e.bytes().map(drop)));
                if let Err(error) = read {
                    assert_eq!(error.kind(), Kind::Data, "{name}: {error}");
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}

/// A file in the memory map whose end is cut off ends the process with a signal at the next read.
#[cfg(target_os = "linux")]
#[test]
fn weights_are_never_mapped_into_memory() {
    for name in ["pth_formats/zip.pth.tar", "pth_formats/legacy.pth.tar", "misc/utils.safetensors"] {
        let path = reference(name);
        let store = Store::open(&path).unwrap();
        let read: usize = store.entries.values().map(|entry| entry.bytes().unwrap().len()).sum();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(read > 0 && !maps.contains(path.file_name().unwrap().to_str().unwrap()), "{name}");
    }
}
