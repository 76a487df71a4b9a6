//! `anyjepa compile` keeps the command line's contract: what is asked for is printed and written, and nothing is clipped.

use std::path::Path;

use anyjepa::compile::Dtype;
use anyjepa::config::Preset;
use anyjepa::device::{self, Spec};
use anyjepa::extract::FeatureSet;
use anyjepa::model::Init;
use anyjepa::train::Networks;
use assert_cmd::Command;
use safetensors::tensor::TensorView;
use serde_json::Value;

const WEIGHTS: &str = "tests/fixtures/reference/hf_ijepa";

/// Exit code, standard output and standard error.
fn anyjepa(words: &str) -> (i32, String, String) {
    let mut command = Command::cargo_bin("anyjepa").unwrap();
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("ANYJEPA_DEVICE").env("NO_COLOR", "1");
    let output = command.args(words.split_whitespace()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The tensors of an encoder of `preset` under the names that official checkpoints give them, and nothing else.
fn bare_weights(preset: &str, path: &Path) {
    let device = device::open("cpu".parse::<Spec>().unwrap()).unwrap();
    let tensors = Networks::new(&Preset::find(preset).unwrap().config(), Init::Seed(1), &device).tensors().unwrap();
    let stored: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .filter_map(|(name, tensor)| {
            let bytes = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            Some((name.strip_prefix("encoder.")?.to_owned(), tensor.shape.clone(), bytes))
        })
        .collect();
    let views = stored.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

#[test]
fn whatever_is_printed_a_package_is_written_and_inspect_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    for (print, begins) in
        [("graph", "%0 = parameter"), ("plan", "batch 2, f32"), ("wgsl", "// patchify_f32, first for patchify")]
    {
        let out = folder.path().join(print);
        let (code, said, error) =
            anyjepa(&format!("compile {WEIGHTS} --batch 2 --print {print} --out {}", out.display()));
        assert_eq!(code, 0, "{print}: {error}");
        assert!(said.trim_start().starts_with(begins), "{print}: {said}");
        assert!(out.join("manifest.json").is_file(), "{print}: no package");
    }
    let out = folder.path().join("graph");
    let (code, said, error) = anyjepa(&format!("inspect {} --verify", out.display()));
    assert_eq!(code, 0, "{error}");
    insta::assert_snapshot!(said.replace(&format!("{}/", folder.path().display()), ""));
    let (_, said, _) = anyjepa(&format!("inspect {} --json", out.display()));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["kind"], &said["batch"], &said["verified"]), (&"package".into(), &2.into(), &false.into()));

    let weights = out.join("weights-00001.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let (code, _, error) = anyjepa(&format!("inspect {}", out.display()));
    assert_eq!((code, error.contains("weights-00001.safetensors")), (4, true), "{error}");
}

#[test]
fn a_package_is_told_from_weights_and_how_it_runs_on_a_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("package").display().to_string();
    assert_eq!(anyjepa(&format!("compile {WEIGHTS} --out {package}")).0, 0);
    let extract = "extract examples/data/photos --out features";
    let commands = ["compile P", &format!("{extract} --weights P"), &format!("{extract} --device cuda --package P")];
    let refused = commands.map(|words| {
        let (code, _, error) = anyjepa(&words.replace('P', &package));
        format!("{words}: {code}\n{}", error.replace(&package, "P").trim_end())
    });
    insta::assert_snapshot!(refused.join("\n\n"), @"
    compile P: 4
    error: P: a package of a compiled encoder, not weights
      help: `anyjepa extract` takes it as --package; elsewhere name the weights it was compiled from

    extract examples/data/photos --out features --weights P: 4
    error: P: a package of a compiled encoder, not weights
      help: `anyjepa extract` takes it as --package; elsewhere name the weights it was compiled from

    extract examples/data/photos --out features --device cuda --package P: 6
    error: compiled encoders do not run through CUDA
      help: take `--device vulkan`, which reaches the same GPU; weights run with `--engine burn` too, packages do not
    ");
}

#[test]
fn blocks_that_are_not_there_and_weights_of_no_model_are_mistakes() {
    let cases = [
        "compile ijepa-vit-b16 --layers -13..",
        "compile ijepa-vit-b16 --layers -65535.. --print graph",
        "compile ijepa-vit-b16 --layers 4",
        "compile ijepa-vit-b16 --model ijepa-vit-b16",
        "compile ijepa-vit-b16 --out package",
        "compile ijepa-vit-b16 --dtype bf16 --print wgsl",
        "compile vjepa-vit-l16 --tokens time",
    ];
    let said = cases.map(|words| {
        let (code, _, error) = anyjepa(words);
        format!("{words}: {code}\n{}", error.split("\n\nFor more").next().unwrap().trim_end())
    });
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn weights_are_compiled_as_the_preset_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("weights.safetensors");
    bare_weights("animals28", &weights);
    let compile = format!("compile {} --layers -2..", weights.display());
    let (code, _, error) = anyjepa(&format!("{compile} --model ijepa-vit-s16"));
    assert_eq!((code, error.contains("do not fit ViT-S/16")), (4, true), "{error}");
    let (code, said, error) = anyjepa(&format!("{compile} --model animals28"));
    assert_eq!(code, 0, "{error}");
    assert_eq!(said, anyjepa("compile animals28 --layers -2..").1);
}

#[test]
fn a_package_of_f16_says_on_the_processor_how_to_compile_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    assert_eq!(anyjepa(&format!("compile {WEIGHTS} --dtype f16 --out {}", at("package"))).0, 0);
    let extract = "extract examples/data/animals28 --device cpu";
    let (code, _, error) = anyjepa(&format!("{extract} --package {} --out {}", at("package"), at("features")));
    assert_eq!(code, 4);
    insta::assert_snapshot!(error.lines().skip_while(|line| !line.starts_with("error")).collect::<Vec<_>>().join("\n"));
}

/// Of weights and tokens rounded to 8 bits in each product of two blocks; over the largest value.
const BF16: f32 = 2e-2;

#[test]
fn a_package_of_bf16_is_half_as_large_and_runs_on_the_processor() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let features = |dtype: &str| {
        let (package, out) = (at(&format!("package-{dtype}")), at(&format!("features-{dtype}")));
        let compile = format!("compile {WEIGHTS} --dtype {dtype} --batch 3 --out {}", package.display());
        assert_eq!(anyjepa(&compile).0, 0);
        let (code, _, error) =
            anyjepa(&format!("extract examples/data/photos --package {} --out {}", package.display(), out.display()));
        assert_eq!(code, 0, "{error}");
        let set = FeatureSet::open(&out).unwrap();
        assert_eq!(set.provenance.precision.to_string(), dtype);
        let bytes = std::fs::metadata(package.join("weights-00001.safetensors")).unwrap().len();
        (set.features.values, bytes, package)
    };
    let ((wide, wide_bytes, _), (narrow, narrow_bytes, package)) = (features("f32"), features("bf16"));
    assert!(narrow_bytes * 10 < wide_bytes * 6, "{narrow_bytes} and {wide_bytes} bytes");
    assert!(!package.join("shaders").exists() && !package.join("launches.json").exists());
    let largest = wide.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let apart = wide.iter().zip(&narrow).fold(0f32, |apart, (a, b)| apart.max((a - b).abs()));
    assert!(apart > 0.0 && apart < BF16 * largest, "{apart} of {largest}");

    // Weights that are rounded while they are compiled on the spot are the same.
    let out = at("direct");
    let direct = format!("extract examples/data/photos --weights {WEIGHTS} --precision bf16 --out {}", out.display());
    assert_eq!(anyjepa(&direct).0, 0);
    let direct = FeatureSet::open(&out).unwrap();
    assert_eq!((direct.features.values, direct.provenance.precision), (narrow, Dtype::Bf16));
}
