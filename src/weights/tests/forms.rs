//! The same weights in each form.

use std::fs;

use super::super::*;
use super::{encoder, fixture, p16, told};
use crate::config::{ModelConfig, Preset};
use crate::error::Kind;

fn prefixed(prefix: &str, tensors: &Tensors) -> Tensors {
    tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect()
}

#[test]
fn an_official_checkpoint_gives_the_encoder_that_is_asked_for() {
    let all = read(&fixture("ijepa_p16/weights.safetensors")).unwrap().0;
    let path = fixture("ijepa_p16/checkpoint.pth.tar");
    for (which, prefix) in [(Which::Target, "target_encoder."), (Which::Context, "encoder.")] {
        let loaded = open_as(&path, Some(which), &p16()).unwrap();
        assert_eq!(prefixed(prefix, &loaded.tensors).into_iter().collect::<Vec<_>>(), {
            let inside = all.iter().filter(|(name, _)| name.starts_with(prefix));
            inside.map(|(name, tensor)| (name.clone(), tensor.clone())).collect::<Vec<_>>()
        });
        assert_eq!(loaded.provenance.encoder, Some(which));
        assert_eq!(loaded.provenance.format, Format::Pytorch);
    }
}

#[test]
fn the_same_weights_have_the_same_sum_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let pth = open_as(&fixture("ijepa_p16/checkpoint.pth.tar"), Some(Which::Target), &p16()).unwrap();
    let plain = open_as(&fixture("ijepa_p16/weights.safetensors"), Some(Which::Target), &p16()).unwrap();
    export_hf(&folder.path().join("hf"), &pth).unwrap();
    let hf = open(&folder.path().join("hf"), Some(Which::Target)).unwrap();
    assert_eq!(pth.tensors, hf.tensors);
    assert_eq!(pth.provenance.weights_blake3, plain.provenance.weights_blake3);
    assert_eq!(pth.provenance.weights_blake3, hf.provenance.weights_blake3);
    assert_eq!((hf.provenance.encoder, hf.provenance.format), (Some(Which::Target), Format::HuggingFace));
    assert_eq!(hf.provenance.preprocessing, pth.provenance.preprocessing);
    assert_eq!(ModelConfig { predictor: p16().predictor, ..hf.model }, p16());
}

#[test]
fn a_hugging_face_folder_of_the_other_encoder_is_refused_only_where_one_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    export_hf(&target, &open_as(&fixture("ijepa_p16/checkpoint.pth.tar"), None, &p16()).unwrap()).unwrap();
    let context = fixture("hf_ijepa");
    for (path, stated, other) in [(&target, Which::Target, Which::Context), (&context, Which::Context, Which::Target)] {
        for asked in [None, Some(stated)] {
            assert_eq!(open(path, asked).unwrap().provenance.encoder, Some(stated));
        }
        for path in [path.clone(), path.join("model.safetensors")] {
            let error = open(&path, Some(other)).unwrap_err();
            assert_eq!(error.exit_code(), 4);
            assert!(error.to_string().contains(&format!("holds the {stated} encoder, not the {other}")), "{error}");
        }
    }
}

#[test]
fn a_hugging_face_folder_in_shards_with_prefixed_names_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let source = fixture("hf_ijepa");
    let (tensors, metadata) = read(&source.join("model.safetensors")).unwrap();
    fs::copy(source.join("config.json"), folder.path().join("config.json")).unwrap();
    let mut map = serde_json::Map::new();
    let (first, second): (Vec<_>, Vec<_>) =
        prefixed("ijepa.", &tensors).into_iter().partition(|(n, _)| n.contains("layer.0"));
    for (file, part) in [("model-00001-of-00002.safetensors", first), ("model-00002-of-00002.safetensors", second)] {
        let part: Tensors = part.into_iter().collect();
        write(&folder.path().join(file), &part, &metadata).unwrap();
        map.extend(part.keys().map(|name| (name.clone(), file.into())));
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": map });
    fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    let (whole, sharded) =
        (open(&source, Some(Which::Context)).unwrap(), open(folder.path(), Some(Which::Context)).unwrap());
    assert_eq!(whole.tensors, sharded.tensors);
    assert_eq!(whole.provenance, sharded.provenance);
    assert_eq!(whole.tensors["blocks.1.attn.qkv.weight"].shape, [72, 24]);
    assert_eq!(whole.provenance.encoder, Some(Which::Context));
}

#[test]
fn a_run_its_checkpoint_and_its_files_are_opened_with_their_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Preset::find("animals28").unwrap().config();
    run.data.mean = vec![0.25];
    let checkpoint = folder.path().join("checkpoints/step-00000007");
    fs::create_dir_all(&checkpoint).unwrap();
    fs::write(folder.path().join("latest"), "step-00000007").unwrap();
    let files = ["encoder", "target_encoder"].map(|part| {
        let tensors = prefixed(&format!("{part}."), &encoder(&run.model));
        let metadata = Header::of(&run, &tensors).metadata().unwrap();
        write(&checkpoint.join(format!("{part}.safetensors")), &tensors, &metadata).unwrap()
    });
    Manifest::new(files.to_vec()).write(&checkpoint).unwrap();
    for (path, which) in [
        (folder.path().to_path_buf(), Which::Target),
        (checkpoint.clone(), Which::Context),
        (checkpoint.join("encoder.safetensors"), Which::Context),
    ] {
        let loaded = open(&path, Some(which)).unwrap();
        assert_eq!((loaded.model, loaded.provenance.encoder), (run.model.clone(), Some(which)));
        assert_eq!(loaded.provenance.preprocessing.mean, [0.25]);
        assert_eq!(loaded.provenance.format, Format::Run);
    }
    let error = open(&checkpoint.join("encoder.safetensors"), Some(Which::Target)).unwrap_err();
    insta::assert_snapshot!(told(&error, &checkpoint), @"
    encoder.safetensors: no target encoder: there is only encoder
    help: take that one with --encoder context
    ");
    Manifest::new(files[..1].to_vec()).write(&checkpoint).unwrap();
    insta::assert_snapshot!(told(&open(folder.path(), None).unwrap_err(), &checkpoint), @"
    FOLDER: the checkpoint is damaged: manifest.json does not list target_encoder.safetensors
    help: restore it from a copy, or take another checkpoint of the run
    ");
}

#[test]
fn a_file_of_a_run_on_its_own_carries_the_provenance_and_the_sum_of_its_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let run = Preset::find("animals28").unwrap().config();
    let path = folder.path().join("weights.safetensors");
    for (which, prefix) in [(Which::Target, "target_encoder."), (Which::Context, "encoder.")] {
        let mut tensors = prefixed(prefix, &encoder(&run.model));
        let header = Header::of(&run, &tensors);
        let metadata = header.metadata().unwrap();
        write(&path, &tensors, &metadata).unwrap();
        let loaded = open(&path, Some(which)).unwrap();
        assert_eq!(header.provenance, Some(loaded.provenance));
        tensors.get_mut(&format!("{prefix}norm.bias")).unwrap().values[0] += 1.0;
        write(&path, &tensors, &metadata).unwrap();
        let error = open(&path, Some(which)).unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains("the weights are damaged: their sum is "), "{error}");
    }
    let encoder = encoder(&run.model);
    let moments: Tensors = ["first.encoder.", "second.encoder."].iter().flat_map(|m| prefixed(m, &encoder)).collect();
    assert_eq!(Header::of(&run, &moments).provenance, None);
}

#[test]
fn shapes_of_a_preset_need_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bare.safetensors");
    let model = Preset::find("animals28").unwrap().config().model;
    write(&path, &encoder(&model), &Metadata::new()).unwrap();
    let loaded = open(&path, Some(Which::Target)).unwrap();
    assert_eq!((loaded.model, loaded.provenance.encoder), (model, None));
    insta::assert_snapshot!(loaded.provenance.model, @"
    a ViT of 4 blocks, 384 wide, with patches of 7x7 at 28 pixels in grey with 8 heads
    ");
}

#[test]
fn shapes_of_no_preset_leave_the_heads_unknown() {
    let error = open(&fixture("ijepa_p16/checkpoint.pth.tar"), Some(Which::Target)).unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    insta::assert_snapshot!(told(&error, &fixture("ijepa_p16")), @"
    checkpoint.pth.tar: this looks like a ViT of 3 blocks, 24 wide, with patches of 16x16 at 64 pixels, and shapes do not show the number of heads
    help: name the model with --model, or give a run's or a Hugging Face folder, which say it
    ");
}

#[test]
fn weights_of_another_model_are_refused_with_a_list_and_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let small = Preset::find("animals28").unwrap().config().model;
    let mut tensors = encoder(&small);
    tensors.remove("norm.bias");
    tensors.insert("head.weight".into(), HostTensor { shape: vec![2], values: vec![0.0; 2] });
    write(&path, &tensors, &Metadata::new()).unwrap();
    let wanted = ModelConfig { mlp: 64, patch_size: 4, depth: 3, ..small };
    let error = open_as(&path, Some(Which::Target), &wanted).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    insta::assert_snapshot!(told(&error, folder.path()), @"
    w.safetensors: the weights do not fit a ViT of 3 blocks, 384 wide, with patches of 4x4 at 28 pixels in grey with 8 heads: 1 missing (norm.bias), 11 of another shape (blocks.0.mlp.fc1.bias [1536] instead of [64], blocks.0.mlp.fc1.weight [1536, 384] instead of [64, 384], blocks.0.mlp.fc2.weight [384, 1536] instead of [384, 64], blocks.1.mlp.fc1.bias [1536] instead of [64], blocks.1.mlp.fc1.weight [1536, 384] instead of [64, 384], blocks.1.mlp.fc2.weight [384, 1536] instead of [384, 64], blocks.2.mlp.fc1.bias [1536] instead of [64], blocks.2.mlp.fc1.weight [1536, 384] instead of [64, 384] and 3 more), 13 not expected (blocks.3.attn.proj.bias, blocks.3.attn.proj.weight, blocks.3.attn.qkv.bias, blocks.3.attn.qkv.weight, blocks.3.mlp.fc1.bias, blocks.3.mlp.fc1.weight, blocks.3.mlp.fc2.bias, blocks.3.mlp.fc2.weight and 5 more)
    help: this looks like a ViT of 4 blocks, 384 wide, with patches of 7x7 at 28 pixels in grey; try --model animals28
    ");
}

#[test]
fn a_value_that_is_no_number_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = Preset::find("animals28").unwrap().config().model;
    for bad in [f32::NAN, f32::INFINITY] {
        let path = folder.path().join("w.safetensors");
        let mut tensors = encoder(&model);
        tensors.get_mut("blocks.1.norm2.bias").unwrap().values[5] = bad;
        write(&path, &tensors, &Metadata::new()).unwrap();
        let error = open(&path, Some(Which::Target)).unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains("blocks.1.norm2.bias: value 5 is"), "{error}");
    }
}

#[test]
fn other_things_are_called_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let features = folder.path().join("features");
    fs::create_dir(&features).unwrap();
    fs::write(features.join("index.json"), "{}").unwrap();
    let stranger = folder.path().join("stranger");
    fs::create_dir(&stranger).unwrap();
    fs::write(stranger.join("notes.txt"), "hello").unwrap();
    let video = folder.path().join("video");
    fs::create_dir(&video).unwrap();
    fs::write(video.join("config.json"), r#"{"model_type": "videomae"}"#).unwrap();
    fs::copy(fixture("hf_ijepa/model.safetensors"), video.join("model.safetensors")).unwrap();
    let mut said = String::new();
    for (name, bytes) in [
        ("picture.pth", b"\x89PNG\r\n\x1a\n".as_slice()),
        ("page.safetensors", b"<!DOCTYPE html>"),
        ("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
        ("empty.pth", b""),
        ("text.pth", b"hello"),
        ("short.safetensors", b"\x10\x00"),
    ] {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    for name in [
        "picture.pth",
        "page.safetensors",
        "pointer.safetensors",
        "empty.pth",
        "text.pth",
        "short.safetensors",
        "features",
        "stranger",
        "video",
    ] {
        let error = open(&folder.path().join(name), Some(Which::Target)).unwrap_err();
        assert_eq!(error.exit_code(), 4, "{error}");
        said += &format!("{error}\n").replace(&format!("{}/", folder.path().display()), "");
    }
    insta::assert_snapshot!(said, @"
    picture.pth: no weights: this looks like a PNG picture
    page.safetensors: no weights: this looks like an HTML or XML page, such as an error page in place of a download
    pointer.safetensors: no weights: this looks like a Git LFS pointer; fetch the file itself with `git lfs pull`
    empty.pth: no weights: this looks like an empty file
    text.pth: cannot be read as weights: not a PyTorch checkpoint: no ZIP, TAR, legacy or pickle header found
    short.safetensors: not a valid safetensors file: it has 2 bytes
    features: a folder of features, not of weights
    stranger: neither a run nor a Hugging Face folder; it holds notes.txt
    video/config.json: the model type is `videomae`, expected `ijepa` or `vjepa2`
    ");
}

/// The fixture was loaded by transformers 5.23.0, whose features stand beside it as a reference case.
#[test]
fn an_export_stays_as_transformers_loaded_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let model = ModelConfig { image_size: 56, patch_size: 14, dim: 12, depth: 2, heads: 2, mlp: 36, ..p16() };
    let loaded = open_as(&fixture("ijepa_p14/checkpoint_step1.pth.tar"), Some(Which::Target), &model).unwrap();
    export_hf(&out, &loaded).unwrap();
    for name in ["config.json", "preprocessor_config.json", "model.safetensors"] {
        let (found, kept) = (out.join(name), fixture("hf_export").join(name));
        assert!(fs::read(found).unwrap() == fs::read(kept).unwrap(), "{name} is another");
    }
}

#[test]
fn an_export_that_was_killed_is_no_model_and_the_next_one_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (new, empty) = (folder.path().join("new"), folder.path().join("empty"));
    fs::create_dir(&empty).unwrap();
    let loaded = open(&fixture("hf_ijepa"), None).unwrap();
    for (out, aside) in [(&new, folder.path().join("new.partial")), (&empty, empty.join(".partial"))] {
        // What a killed export leaves.
        fs::create_dir(&aside).unwrap();
        fs::write(aside.join("model.safetensors"), "half").unwrap();
        assert!(open(out, None).is_err());
        export_hf(&out.join(""), &loaded).unwrap();
        assert_eq!(open(out, None).unwrap().tensors, loaded.tensors);
        assert_eq!((fs::read_dir(out).unwrap().count(), aside.exists()), (3, false));
        assert_eq!(export_hf(out, &loaded).unwrap_err().exit_code(), 2);
    }
    // What others left there stays.
    let notes = folder.path().join("other.partial/notes.txt");
    fs::create_dir(notes.parent().unwrap()).unwrap();
    fs::write(&notes, "mine").unwrap();
    assert_eq!(export_hf(&folder.path().join("other"), &loaded).unwrap_err().exit_code(), 2);
    assert_eq!(fs::read_to_string(&notes).unwrap(), "mine");
    assert!(!folder.path().join("other").exists());
}
