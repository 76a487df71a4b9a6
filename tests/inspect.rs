//! `anyjepa inspect` says what stands in every form of weights and finds damage; what is damaged or unclear is not used
//! without a word.

use std::fs;
use std::path::{Path, PathBuf};

use anyjepa::checkpoint::{Checkpoints, State};
use anyjepa::config::Preset;
use anyjepa::device::{self, Spec};
use anyjepa::model::Init;
use anyjepa::train::Networks;
use anyjepa::weights::Tensors;
use assert_cmd::Command;

/// A command that still runs after this waits for something.
#[cfg(unix)]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference").join(name)
}

/// Exit code, standard output and standard error of `anyjepa inspect`, without the folder `hidden`.
fn inspect(path: &Path, flags: &[&str], hidden: &Path) -> (i32, String) {
    let output = Command::cargo_bin("anyjepa").unwrap().arg("inspect").arg(path).args(flags).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap().replace(&format!("{}/", hidden.display()), "");
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    (output.status.code().unwrap(), lines.join("\n"))
}

/// A run of the preset `animals28` with one checkpoint.
fn run(folder: &Path) -> PathBuf {
    let config = Preset::find("animals28").unwrap().config();
    let device = device::open("cpu".parse::<Spec>().unwrap()).unwrap();
    let networks = Networks::new(&config, Init::Constant, &device);
    let all = networks.tensors().unwrap();
    let of = |prefix: &str| -> Tensors {
        all.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(n, t)| (n.clone(), t.clone())).collect()
    };
    let parts = [
        ("encoder", of("encoder.")),
        ("predictor", of("predictor.")),
        ("target_encoder", of("target_encoder.")),
        ("optimizer", Tensors::new()),
    ];
    let state = State {
        step: 300,
        epoch: 2,
        position: 50,
        steps_per_epoch: 125,
        updates: 300,
        nonfinite_steps: 0,
        nonfinite_in_a_row: 0,
        seed: 7,
        config: config.hash(),
        data: "data".into(),
        version: "0.0.0".into(),
    };
    Checkpoints::new(folder, 0).save(&state, &parts, &config).unwrap()
}

fn flip_last_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_official_checkpoint_is_shown() {
    let case = fixture("ijepa_p14");
    let (code, said) = inspect(&case.join("checkpoint_step1.pth.tar"), &["--verify"], &case);
    assert_eq!(code, 0);
    insta::assert_snapshot!(said, @"
    checkpoint_step1.pth.tar: pytorch, pytorch_zip
    context encoder: checkpoint_step1.pth.tar: this looks like a ViT of 2 blocks, 12 wide, with patches of 14x14 at 56 pixels, and shapes do not show the number of heads; name the model with --model, or give a run's or a Hugging Face folder, which say it
    target encoder: checkpoint_step1.pth.tar: this looks like a ViT of 2 blocks, 12 wide, with patches of 14x14 at 56 pixels, and shapes do not show the number of heads; name the model with --model, or give a run's or a Hugging Face folder, which say it
    batch_size: 2
    epoch: 1
    loss: 0.8761005997657776
    lr: 0.001
    world_size: 1
     tensors of      count  elements  type
     encoder         29     10452     f32
     opt             141    22511     f32
     predictor       20     1100      f32
     target_encoder  29     10452     f32
    verified: 219 tensors, 178060 bytes, all whole and finite
    ");
}

#[test]
fn the_model_that_weights_do_not_name_can_be_named() {
    let case = fixture("ijepa_p14");
    let (code, said) = inspect(&case.join("checkpoint_step1.pth.tar"), &["--model", "ijepa-vit-tiny16"], &case);
    assert_eq!(code, 0);
    let line = said.lines().nth(2).unwrap();
    assert!(line.starts_with("target encoder: ") && line.contains("the weights do not fit"), "{line}");
}

#[test]
fn what_stands_beside_a_file_of_features_stands_for_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/features/npy");
    let shown = |name: &str| inspect(&folder.join(name), &[], &folder);
    assert_eq!(shown("features-00000.npy").0, 0);
    assert_eq!(shown("features-00000.json"), shown("features-00000.npy"));
    assert_eq!(shown("index.json"), inspect(&folder, &[], &folder));
}

#[test]
fn a_hugging_face_folder_is_shown() {
    let (code, said) = inspect(&fixture("hf_export"), &["--verify"], fixture("hf_export").parent().unwrap());
    assert_eq!(code, 0);
    insta::assert_snapshot!(said, @"
    hf_export: hugging_face, safetensors
    target encoder: a ViT of 2 blocks, 12 wide, with patches of 14x14 at 56 pixels with 2 heads
    input: short side to 64 (bicubic), centre crop 56, mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225]
     tensors of  count  elements  type
     embeddings  3      7260      f32
     encoder     32     3168      f32
     layernorm   2      24        f32
    verified: 37 tensors, 41808 bytes, all whole and finite
    BLAKE3 of the target encoder: 33fcb52bb2d479fc890376b7f823e50334cbf49ba2ec93d684054a8cb45b2656
    ");
}

#[test]
fn a_run_is_shown_with_its_newest_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path());
    let (code, said) = inspect(folder.path(), &[], folder.path());
    assert_eq!(code, 0);
    insta::assert_snapshot!(said.replace(&folder.path().display().to_string(), "RUN"), @"
    RUN: a run of animals28
    checkpoints at steps 300
    step 300, epoch 2, seed 7, by version 0.0.0
    checkpoints/step-00000300/encoder.safetensors: run, safetensors
    context encoder: a ViT of 4 blocks, 384 wide, with patches of 7x7 at 28 pixels in grey with 8 heads
    input: short side to 28 (bicubic), centre crop 28, mean [0.35], std [0.1]
     tensors of  count  elements  type
     encoder     53     7123968   f32

    checkpoints/step-00000300/predictor.safetensors: run, safetensors
     tensors of  count  elements  type
     predictor   32     150784    f32

    checkpoints/step-00000300/target_encoder.safetensors: run, safetensors
    target encoder: a ViT of 4 blocks, 384 wide, with patches of 7x7 at 28 pixels in grey with 8 heads
    input: short side to 28 (bicubic), centre crop 28, mean [0.35], std [0.1]
     tensors of      count  elements  type
     target_encoder  53     7123968   f32

    checkpoints/step-00000300/optimizer.safetensors: run, safetensors
     tensors of  count  elements  type
    ");
}

#[test]
fn a_flipped_byte_in_a_checkpoint_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = run(folder.path());
    for path in [folder.path(), &checkpoint] {
        assert_eq!(inspect(path, &["--verify"], folder.path()).0, 0);
    }
    let file = checkpoint.join("encoder.safetensors");
    flip_last_byte(&file);
    for path in [folder.path(), &checkpoint] {
        let (code, said) = inspect(path, &["--verify"], folder.path());
        assert_eq!(code, 4);
        assert!(said.contains("the checkpoint is damaged: encoder.safetensors"), "{said}");
    }
}

#[test]
fn damaged_weights_of_a_checkpoint_are_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = run(folder.path());
    let file = checkpoint.join("target_encoder.safetensors");
    let whole = blake3::hash(&fs::read(&file).unwrap());
    flip_last_byte(&file);
    let damaged = blake3::hash(&fs::read(&file).unwrap());
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/photos").display().to_string();
    let list = folder.path().join("labelled.txt");
    fs::write(&list, format!("{pictures}/chelsea.png cat\n{pictures}/rocket.jpg rocket\n")).unwrap();
    let labelled = list.display().to_string();
    let out = folder.path().join("out").display().to_string();
    for path in [folder.path(), &checkpoint, &file] {
        let path = path.display().to_string();
        let commands: [&[&str]; 3] = [
            &["extract", &pictures, "--out", &out, "--weights", &path],
            &["probe", "knn", "--k", "1", "--train", &labelled, "--test", &labelled, "--weights", &path],
            &["export", &path, "--out", &out],
        ];
        for command in commands {
            let output = Command::cargo_bin("anyjepa").unwrap().args(command).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(4), "{command:?}: {said}");
            for part in ["target_encoder.safetensors has", whole.to_hex().as_str(), damaged.to_hex().as_str()] {
                assert!(said.contains(part), "{command:?}: {said}");
            }
        }
        assert!(!Path::new(&out).exists());
    }
}

#[test]
fn a_file_of_a_checkpoint_on_its_own_tells_that_it_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = run(folder.path());
    for name in ["encoder", "target_encoder", "predictor"] {
        let alone = folder.path().join(format!("{name}.safetensors"));
        fs::copy(checkpoint.join(alone.file_name().unwrap()), &alone).unwrap();
        assert_eq!(inspect(&alone, &["--verify"], folder.path()).0, 0, "{name}");
        flip_last_byte(&alone);
        let (code, said) = inspect(&alone, &["--verify"], folder.path());
        assert_eq!(code, 4, "{name}: {said}");
        assert!(said.contains(&format!("{name}.safetensors: the weights are damaged: their sum is ")), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/photos").display().to_string();
    let out = folder.path().join("out").display().to_string();
    for name in ["pipe", "pipe.safetensors", "pipe.npy"] {
        let pipe = folder.path().join(name).display().to_string();
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let commands: [&[&str]; 4] = [
            &["inspect", &pipe],
            &["export", &pipe, "--out", &out],
            &["extract", &pictures, "--out", &out, "--weights", &pipe],
            &["probe", "knn", "--train", &pipe, "--test", &pipe],
        ];
        for command in commands {
            let output = Command::cargo_bin("anyjepa").unwrap().args(command).timeout(PATIENCE).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(4), "{command:?}: {said}");
            assert!(command[0] == "probe" || said.contains("neither a file nor a folder"), "{command:?}: {said}");
        }
    }
}

/// What `anyjepa export` says on standard error.
fn export(weights: &Path, out: &Path, flags: &[&str]) -> (i32, String) {
    let output =
        Command::cargo_bin("anyjepa").unwrap().arg("export").arg(weights).arg("--out").arg(out).args(flags).output();
    let output = output.unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn an_encoder_that_is_asked_for_is_not_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let refused = folder.path().join("refused");
    let (code, said) = export(&fixture("hf_export"), &refused, &["--encoder", "context"]);
    assert_eq!(code, 4);
    assert!(said.contains("holds the target encoder, not the context encoder"), "{said}");
    assert!(!refused.exists());
    for (i, flags) in [&[][..], &["--encoder", "target"]].iter().enumerate() {
        assert_eq!(export(&fixture("hf_export"), &folder.path().join(i.to_string()), flags), (0, String::new()));
    }
    // Nobody asked for the target encoder here, so another one is no more than a surprise.
    let (code, said) = export(&fixture("hf_ijepa"), &folder.path().join("context"), &[]);
    assert_eq!(code, 0);
    assert!(said.contains("holds the context encoder"), "{said}");
}

#[test]
fn weights_without_a_word_on_normalisation_are_not_said_to_ask_for_any() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = run(folder.path());
    let whole = folder.path().join("whole");
    assert_eq!(export(&checkpoint, &whole, &[]).0, 0);
    let alone = folder.path().join("model.safetensors");
    fs::copy(whole.join("model.safetensors"), &alone).unwrap();
    let (code, said) = export(&alone, &folder.path().join("out"), &[]);
    assert_eq!(code, 0, "{said}");
    let said = said.replace(&format!("{}/", folder.path().display()), "");
    insta::assert_snapshot!(said, @"
    WARN model.safetensors does not say which encoder it holds; it is taken for the target encoder
    WARN nothing says how pictures were normalised for model.safetensors; used is short side to 32 (bicubic), centre crop 28, mean [0.5], std [0.5]
    ");
}

#[test]
fn presets_are_listed_and_shown_in_full() {
    let listed = Command::cargo_bin("anyjepa").unwrap().args(["inspect", "--json"]).output().unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["kind"], "presets");
    let presets = listed["presets"].as_array().unwrap();
    assert!(presets.len() > 1);
    for preset in presets {
        let name = preset["name"].as_str().unwrap();
        let (code, text) = inspect(Path::new(name), &[], Path::new("/"));
        assert_eq!((code, text.trim()), (0, Preset::find(name).unwrap().text.trim()));
    }
}

#[test]
fn what_is_neither_path_nor_preset_is_a_mistake_of_the_command_line() {
    let (code, said) = inspect(Path::new("ijepa-vit-h41"), &[], Path::new("/"));
    assert_eq!(code, 2);
    assert!(said.contains("neither a path nor a preset") && said.contains("did you mean `ijepa-vit-h14`"), "{said}");
}

#[test]
fn features_are_shown_and_verified_as_a_folder_and_as_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/features/safetensors");
    for entry in fs::read_dir(&fixtures).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let shard = folder.path().join("features-00001.safetensors");
    let show = |path: &Path| inspect(path, &["--verify"], folder.path());
    let (code, said) = show(folder.path());
    assert_eq!(code, 0);
    insta::assert_snapshot!(said.replace(&folder.path().display().to_string(), "F"), @"
    F: 3 rows of 1 x 3 values in 2 shards of safetensors
    target encoder: tiny
    input: short side to 36 (bicubic), centre crop 32, mean [0.5], std [0.25]
    blocks [3], pooled tokens, f32, by version 0.1.0
    BLAKE3 of the encoder: 0123abcd
    verified: 2 shards, all whole
    ");
    let (code, said) = show(&shard);
    assert_eq!(code, 0);
    assert!(said.starts_with("features-00001.safetensors: 1 rows of 1 x 3 values"), "{said}");

    flip_last_byte(&shard);
    assert_eq!(inspect(folder.path(), &[], folder.path()).0, 0);
    for path in [folder.path(), &shard] {
        let (code, said) = show(path);
        assert_eq!(code, 4);
        assert!(said.contains("was changed or damaged"), "{said}");
    }
    fs::remove_file(folder.path().join("index.json")).unwrap();
    fs::copy(fixtures.join("features-00001.safetensors"), &shard).unwrap();
    assert_eq!(inspect(&shard, &[], folder.path()).0, 0);
    let (code, said) = show(&shard);
    assert_eq!(code, 4);
    assert!(said.contains("no index.json beside it"), "{said}");
}

#[test]
fn a_tensor_name_does_not_reach_the_terminal_with_its_escapes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let header = br#"{"\u001b[2Jnorm\r":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat()).unwrap();
    let (_, said) = inspect(&path, &[], folder.path());
    assert!(said.contains("\u{fffd}[2Jnorm"), "{said}");
    assert!(!said.contains(['\u{1b}', '\r']), "{said}");
}

#[test]
fn features_of_which_a_file_is_missing_are_not_called_whole() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/features/npy");
    let names: Vec<_> = fs::read_dir(&fixtures).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.len() >= 3, "{names:?}");
    for missing in names.iter().filter(|name| *name != "index.json") {
        let folder = tempfile::tempdir().unwrap();
        for name in &names {
            fs::copy(fixtures.join(name), folder.path().join(name)).unwrap();
        }
        assert_eq!(inspect(folder.path(), &[], folder.path()).0, 0);
        fs::remove_file(folder.path().join(missing)).unwrap();
        let (code, said) = inspect(folder.path(), &[], folder.path());
        let missing = missing.to_str().unwrap();
        assert_eq!(code, 4, "{missing}: {said}");
        assert!(said.contains(&format!("{missing}: is missing, but index.json names it")), "{said}");
    }
}
