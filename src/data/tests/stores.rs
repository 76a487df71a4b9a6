//! The stores of pictures: what is recognised, in which order, with which labels, and what mistakes say.

use std::io::Write;
use std::path::Path;

use flate2::{Compression, write::GzEncoder};

use super::{animals, png, put, tar};
use crate::data::{Dataset, ListEnd, Split};
use crate::error::{Kind, Result};

/// Names and labels, as `name=class`.
fn contents(dataset: &Dataset) -> Vec<String> {
    let class = |i| dataset.label(i).map_or("-", |label| dataset.classes()[label as usize].as_str());
    (0..dataset.len()).map(|i| format!("{}={}", dataset.name(i), class(i))).collect()
}

fn all_decode(dataset: &Dataset) -> bool {
    (0..dataset.len()).all(|i| dataset.picture(i).is_ok())
}

/// The cause and the remedy, without the folder's name.
fn mistake(result: Result<Dataset>, folder: &Path) -> String {
    let error = result.unwrap_err();
    let text = format!("{error}\n  {}", error.remedy().unwrap_or("-"));
    text.replace(&folder.display().to_string(), "DIR")
}

/// An IDX file of u8.
fn idx(sides: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sides.len() as u8];
    bytes.extend(sides.iter().flat_map(|side| side.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn sub_folders_are_classes_and_the_order_is_that_of_names() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["dog/2.png", "cat/z/b.PNG", "dog/10.png", "cat/a.png", "cat/.hidden.png", ".git/x.png", "cat/notes.md"]
    {
        put(folder, name, png(3, 2, 1));
    }
    std::fs::create_dir(folder.join("empty")).unwrap();
    let dataset = Dataset::open(folder).unwrap();
    assert_eq!(contents(&dataset), ["cat/a.png=cat", "cat/z/b.PNG=cat", "dog/10.png=dog", "dog/2.png=dog"]);
    assert_eq!((dataset.classes().len(), dataset.label(2)), (2, Some(1)));
    assert!(all_decode(&dataset));

    put(folder, "loose.png", png(1, 1, 1));
    let dataset = Dataset::open(folder).unwrap();
    assert_eq!((dataset.len(), dataset.classes().len(), dataset.label(0)), (5, 0, None));
}

#[test]
fn parts_of_a_folder_are_chosen_and_their_classes_agree() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["train/cat/1.png", "train/dog/1.png", "val/dog/2.png", "test/unknown.png"] {
        put(folder, name, png(1, 1, 1));
    }
    let open = |split| contents(&Dataset::open_split(folder, split).unwrap());
    assert_eq!(open(Split::Train), ["train/cat/1.png=cat", "train/dog/1.png=dog"]);
    assert_eq!(open(Split::Test), ["val/dog/2.png=dog"]);
    assert_eq!(open(Split::All).len(), 4);
    assert_eq!(contents(&Dataset::open(folder).unwrap()), open(Split::Train));
}

#[test]
fn lists_name_pictures_with_and_without_labels() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    put(folder, "pictures/a b.png", png(1, 1, 1));
    put(folder, "pictures/c.png", png(1, 1, 1));
    let open = |text: &str| Dataset::open(&put(folder, "list.txt", text)).unwrap();
    let named = open("pictures/c.png dog\n\npictures/a b.png cat\r\npictures/gone.png cat\n");
    assert_eq!(contents(&named), ["pictures/c.png=dog", "pictures/a b.png=cat", "pictures/gone.png=cat"]);
    assert_eq!(named.label(1), Some(0));
    assert_eq!(named.picture(2).unwrap_err().reason.code(), "unreadable");
    let numbered = open("pictures/c.png 7\npictures/a b.png\n");
    assert_eq!((numbered.label(0), numbered.label(1), numbered.classes().len()), (Some(7), None, 8));
    assert!(all_decode(&numbered));
}

#[test]
fn the_committed_silhouettes_open_as_parts_and_as_a_whole() {
    let train = Dataset::open(&animals()).unwrap();
    let test = Dataset::open_split(&animals(), Split::Test).unwrap();
    assert_eq!((train.len(), test.len(), train.classes().len()), (7716, 2000, 10));
    assert_eq!(train.name(12), "train-images-idx3-ubyte.gz#12");
    let picture = train.picture(7715).unwrap();
    assert_eq!((picture.width, picture.height, picture.channels), (28, 28, 1));
    assert!((0..train.len()).all(|i| train.label(i).is_some_and(|label| label < 10)));
    assert_eq!(Dataset::open_split(&animals(), Split::All).unwrap().len(), 9716);
    let file = Dataset::open(&animals().join("t10k-images-idx3-ubyte.gz")).unwrap();
    assert_eq!(file.fingerprint(), test.fingerprint());
    assert_ne!(train.fingerprint(), test.fingerprint());
}

#[test]
fn idx_files_are_read_plain_and_gzipped_with_the_labels_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let images = idx(&[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let path = put(folder.path(), "my-images.idx3-ubyte", &images);
    assert_eq!(Dataset::open(&path).unwrap().classes().len(), 0);
    put(folder.path(), "my-labels.idx1-ubyte.gz", gzip(&idx(&[2], &[4, 0])));
    let dataset = Dataset::open(&path).unwrap();
    assert_eq!(contents(&dataset), ["my-images.idx3-ubyte#0=4", "my-images.idx3-ubyte#1=0"]);
    let picture = dataset.picture(1).unwrap();
    assert_eq!((picture.width, picture.height, picture.pixels), (3, 2, vec![7, 8, 9, 10, 11, 12]));
}

#[test]
fn cifar_records_become_rgb_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let plane = |level: u8| vec![level; 1024];
    let record = |labels: &[u8]| [labels.to_vec(), plane(10), plane(20), plane(30)].concat();
    put(folder, "ten/data_batch_2.bin", record(&[3]));
    put(folder, "ten/data_batch_1.bin", [record(&[9]), record(&[0])].concat());
    put(folder, "ten/test_batch.bin", record(&[1]));
    put(folder, "ten/batches.meta.txt", "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n");
    put(folder, "hundred/train.bin", record(&[1, 99]));
    let ten = Dataset::open(&folder.join("ten")).unwrap();
    assert_eq!(contents(&ten), ["data_batch_1.bin#0=truck", "data_batch_1.bin#1=airplane", "data_batch_2.bin#0=cat"]);
    assert_eq!(ten.picture(1).unwrap().pixels[..6], [10, 20, 30, 10, 20, 30]);
    assert_eq!(Dataset::open_split(&folder.join("ten"), Split::Test).unwrap().label(0), Some(1));
    let hundred = Dataset::open(&folder.join("hundred/train.bin")).unwrap();
    assert_eq!((hundred.label(0), hundred.classes().len()), (Some(99), 100));
}

#[test]
fn folders_in_a_tar_shard_without_labels_are_the_classes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let picture = png(1, 1, 1);
    let open = |names: &[&str]| {
        let entries: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, picture.as_slice())).collect();
        contents(&Dataset::open(&put(folder, "s.tar", tar(&entries))).unwrap())
    };
    assert_eq!(open(&["ant/1.png", "bee/x/2.png"]), ["s.tar/ant/1.png=ant", "s.tar/bee/x/2.png=bee"]);
    // What all have in common says nothing, but for a single class.
    assert_eq!(open(&["all/bee/1.png", "all/ant/2.png"]), ["s.tar/all/bee/1.png=bee", "s.tar/all/ant/2.png=ant"]);
    assert_eq!(open(&["all/ant/1.png", "all/ant/2.png"]), ["s.tar/all/ant/1.png=ant", "s.tar/all/ant/2.png=ant"]);
    // Numbers are names, as those of folders on the disk.
    assert_eq!(open(&["10/1.png", "2/2.png"]), ["s.tar/10/1.png=10", "s.tar/2/2.png=2"]);
    assert_eq!(Dataset::open(&folder.join("s.tar")).unwrap().classes(), ["10", "2"]);
    for loose in [&["ant/1.png", "2.png"][..], &["1.png", "2.png"], &["all/ant/1.png", "all/2.png"]] {
        assert!(open(loose).iter().all(|name| name.ends_with("=-")), "{loose:?}");
    }
    // Where one entry says its class, no folder does; each tar file is judged alone.
    put(folder, "t.tar", tar(&[("bee/1.png", &picture), ("bee/2.png", &picture), ("bee/2.cls", b"wasp")]));
    put(folder, "s.tar", tar(&[("ant/1.png", &picture), ("bee/2.png", &picture)]));
    let both = ["s.tar/ant/1.png=ant", "s.tar/bee/2.png=bee", "t.tar/bee/1.png=-", "t.tar/bee/2.png=wasp"];
    assert_eq!(contents(&Dataset::open(folder).unwrap()), both);
}

#[test]
fn tar_shards_are_read_in_place_with_their_labels() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let picture = png(3, 2, 1);
    let long = format!("{}/deep.png", "long".repeat(40));
    let first: [(&str, &[u8]); 5] =
        [("b.cls", b"1"), ("b.png", &picture), ("notes.txt", b"x"), ("a/c.seg.png", &picture), ("a/c.cls", b"0\n")];
    put(folder, "s-001.tar", tar(&first));
    put(folder, "s-002.tar", tar(&[(long.as_str(), &picture), ("bad.jpg", b"<html>")]));
    let dataset = Dataset::open(folder).unwrap();
    let expected =
        ["s-001.tar/b.png=1", "s-001.tar/a/c.seg.png=0", &format!("s-002.tar/{long}=-"), "s-002.tar/bad.jpg=-"];
    assert_eq!(contents(&dataset), expected);
    let outcomes: Vec<_> = (0..4).map(|i| dataset.picture(i).map(|picture| picture.width)).collect();
    assert_eq!(outcomes[..3], [Ok(3), Ok(3), Ok(3)]);
    assert_eq!(outcomes[3].as_ref().unwrap_err().reason.code(), "not_an_image");
}

#[test]
fn several_inputs_follow_each_other_and_share_classes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["one/dog/1.png", "two/cat/1.png", "two/dog/1.png", "z.png", "y.png", "notes.txt"] {
        put(folder, name, png(1, 1, 1));
    }
    let open = |inputs: &[&str]| {
        let inputs: Vec<_> = inputs.iter().map(|input| folder.join(input)).collect();
        let dataset = Dataset::open_many(&inputs, Split::All).unwrap();
        let prefix = format!("{}/", folder.display());
        contents(&dataset).into_iter().map(|name| name.replace(&prefix, "")).collect::<Vec<_>>()
    };
    assert_eq!(
        open(&["z.png", "one", "two", "y.png"]),
        ["z.png=-", "one/dog/1.png=dog", "two/cat/1.png=cat", "two/dog/1.png=dog", "y.png=-"]
    );
    assert_eq!(open(&["two"]), ["cat/1.png=cat", "dog/1.png=dog"]);
    // The text file matches as well, but a glob takes pictures only.
    assert_eq!(open(&["*.*", "one"]), ["y.png=-", "z.png=-", "one/dog/1.png=dog"]);
}

#[test]
fn files_given_one_by_one_may_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "a.png", png(1, 1, 1));
    let list = format!("{}\0{}", folder.path().join("gone.png").display(), path.display());
    let dataset = Dataset::open_list(list.as_bytes(), ListEnd::Nul, Split::All).unwrap();
    assert_eq!(dataset.picture(0).unwrap_err().reason.code(), "unreadable");
    assert_eq!((dataset.name(1), dataset.picture(1).is_ok()), (path.display().to_string(), true));
}

#[test]
fn a_list_that_is_piped_in_names_what_a_list_and_the_command_line_name() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["a b.png", "c.png", "tree/cat/1.png", "tree/dog/2.png", "frames/1.png"] {
        put(folder, name, png(1, 1, 1));
    }
    put(folder, "s.tar", tar(&[("dog/3.png", &png(1, 1, 1)), ("cat/4.png", &png(1, 1, 1))]));
    put(folder, "unnamed", png(1, 1, 1));
    let here = folder.display().to_string();
    let open = |list: &str, end| {
        let list = list.replace("T/", &format!("{here}/"));
        contents(&Dataset::open_list(list.as_bytes(), end, Split::All).unwrap())
            .into_iter()
            .map(|name| name.replace(&here, "T"))
            .collect::<Vec<_>>()
    };
    let lines = "T/a b.png dog\r\n\nT/c.png\nT/tree\nT/frames\tcat\nT/s.tar\nT/unnamed\nT/gone.png cat\n";
    let expected = [
        "T/a b.png=dog",
        "T/c.png=-",
        "T/tree/cat/1.png=cat",
        "T/tree/dog/2.png=dog",
        "T/frames=cat",
        "T/s.tar/dog/3.png=dog",
        "T/s.tar/cat/4.png=cat",
        "T/unnamed=-",
        "T/gone.png=cat",
    ];
    assert_eq!(open(lines, ListEnd::LineFeed), expected);
    assert_eq!(
        open("T/a b.png\0T/tree\0", ListEnd::Nul),
        ["T/a b.png=-", "T/tree/cat/1.png=cat", "T/tree/dog/2.png=dog"]
    );
}

#[test]
fn the_fingerprint_tells_content_and_not_place() {
    let fingerprint = |names: &[(&str, Vec<u8>)]| {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in names {
            put(folder.path(), name, content);
        }
        Dataset::open(folder.path()).unwrap().fingerprint()
    };
    let base = fingerprint(&[("a/1.png", png(1, 1, 1)), ("b/1.png", png(1, 1, 1))]);
    assert_eq!(base, fingerprint(&[("a/1.png", png(1, 1, 1)), ("b/1.png", png(1, 1, 1))]));
    assert_ne!(base, fingerprint(&[("a/1.png", png(1, 1, 1)), ("c/1.png", png(1, 1, 1))]));
    assert_ne!(base, fingerprint(&[("a/1.png", png(1, 1, 1)), ("b/1.png", png(90, 90, 1))]));
}

#[test]
fn mistakes_say_what_was_looked_for_and_how_to_mend_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut mistakes = Vec::new();
    let mut tried = |path: &str, content: &[u8]| {
        let path = put(folder, path, content);
        mistakes.push(mistake(Dataset::open(&path), folder));
    };
    tried("list.txt", b"no/such.png 1\n");
    tried("empty.txt", b"\n");
    tried("binary.txt", b"\xff\xfe");
    tried("unknown.xyz", b"what is this");
    tried("packed.gz", &gzip(b"text"));
    tried("data_batch_1.bin", &[0; 100]);
    tried("test_batch.bin", &[77; 3073]);
    tried("cut.tar", &tar(&[("a.png", &[0; 5000])])[..2000]);
    tried("text.tar", &[b'x'; 2000]);
    tried("a-images-idx3-ubyte", &idx(&[2, 2, 2], &[0; 7]));
    tried("b-images-idx3-ubyte", &idx(&[2, 2, 2], &[0; 9]));
    tried("c-images-idx3-ubyte", &idx(&[u32::MAX, u32::MAX, 2], &[0; 9]));
    tried("d-images-idx3-ubyte", &idx(&[2], &[0; 2]));
    tried("e-images-idx3-ubyte", &[0, 0, 13, 3, 0, 0]);
    tried("f-images-idx3-ubyte", &[0, 0, 8, 3, 0, 0]);
    put(folder, "g-labels-idx1-ubyte", idx(&[3], &[0; 3]));
    tried("g-images-idx3-ubyte", &idx(&[1, 2, 2], &[0; 4]));

    std::fs::create_dir(folder.join("empty")).unwrap();
    put(folder, "only/t10k-images-idx3-ubyte", idx(&[1, 1, 1], &[0]));
    mistakes.push(mistake(Dataset::open(&folder.join("empty")), folder));
    mistakes.push(mistake(Dataset::open(&folder.join("only")), folder));
    mistakes.push(mistake(Dataset::open(&folder.join("nowhere")), folder));
    mistakes.push(mistake(Dataset::open_many(&[folder.join("*.nothing")], Split::All), folder));
    insta::assert_snapshot!(mistakes.join("\n"));
}

#[test]
fn a_path_that_is_missing_is_a_usage_error_and_bad_data_a_data_error() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Dataset::open(&folder.path().join("nowhere")).unwrap_err().kind(), Kind::Usage);
    assert_eq!(Dataset::open(folder.path()).unwrap_err().kind(), Kind::Data);
}

#[test]
fn the_fingerprint_knows_every_size_and_the_beginnings_of_some_files() {
    /// More than are opened.
    const FILES: usize = 600;
    let folder = tempfile::tempdir().unwrap();
    let fingerprint = || Dataset::open(folder.path()).unwrap().fingerprint();
    let name = |i: usize| format!("{i:04}.png");
    (0..FILES).for_each(|i| drop(put(folder.path(), &name(i), b"same")));
    let first = fingerprint();
    assert_eq!(fingerprint(), first);
    for i in [1, 299, 599] {
        put(folder.path(), &name(i), b"longer");
        assert_ne!(fingerprint(), first, "the size of {i}");
        put(folder.path(), &name(i), b"same");
    }
    put(folder.path(), &name(0), b"else");
    assert_ne!(fingerprint(), first);
}

#[test]
fn a_label_as_high_as_allowed_is_found_among_its_classes_and_higher_ones_make_no_more() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "a.png", png(2, 2, 0));
    let opened = |text| {
        let dataset = Dataset::open(&put(folder.path(), "list.txt", text)).unwrap();
        (dataset.label(0), dataset.label(1), dataset.classes().len())
    };
    assert_eq!(opened("a.png 65535\na.png 7"), (Some(65_535), Some(7), 65_536));
    assert_eq!(opened("a.png 65536\na.png 7"), (Some(0), Some(1), 2));
}
