//! Every engine agrees with the plain twins, and a planted fault is found where it was planted.

#[path = "support/gpu.rs"]
mod gpu;

use anyjepa::compile::{Buffer, Dispatch, Dtype, Kernel, Plan};
use anyjepa::config::{ModelConfig, Positions, Preset};
use anyjepa::error::Result;
use anyjepa::parity::{ONE_PASS, Outcome, Subject, Way, beside, compare, examine, survey, verdict};
use anyjepa::runtime::twin::TwinEngine;
use anyjepa::runtime::{self, Engine, TooLarge};

fn tiny() -> ModelConfig {
    let model = Preset::find("animals28").unwrap().config().model;
    ModelConfig { dim: 96, depth: 3, heads: 4, mlp: 192, ..model }
}

/// A small encoder of clips.
fn clips(positions: Positions) -> ModelConfig {
    ModelConfig { frames: 4, tubelet: 2, positions, ..tiny() }
}

fn vulkan() -> bool {
    gpu::wanted("no Vulkan adapter was compared with the twins")
}

fn agrees(way: Way) {
    let one_head = |model: ModelConfig| ModelConfig { heads: 1, ..model };
    let several = [tiny(), clips(Positions::UniformPower), clips(Positions::Rope)];
    for model in several.into_iter().chain([one_head(tiny()), one_head(clips(Positions::Rope))]) {
        let subject = Subject::untrained(&model, 2, 3).unwrap();
        let outcome = compare(&subject, &subject.measure().unwrap(), way).unwrap();
        for layer in &outcome.layers {
            assert!(layer.passed, "{way}, {model:?}: {layer:?}, {:?}", outcome.fault);
        }
        assert!(outcome.passed() && outcome.fault.is_none());
    }
}

#[test]
fn burn_and_the_compiled_plan_agree_on_the_cpu() {
    agrees(Way::Burn("cpu".parse().unwrap()));
    agrees(Way::Compiled("cpu".parse().unwrap(), Dtype::F32));
    agrees(Way::Compiled("cpu".parse().unwrap(), Dtype::Bf16));
}

#[test]
fn the_compiled_plan_agrees_on_a_vulkan_adapter_in_both_widths() {
    if vulkan() {
        agrees(Way::Compiled("vulkan".parse().unwrap(), Dtype::F32));
        agrees(Way::Compiled("vulkan".parse().unwrap(), Dtype::F16));
    }
}

/// The plain twins would take minutes: the measure is the processor's plan of f32, which the tests above compare with them.
#[test]
fn vit_b16_gives_the_same_layers_on_a_vulkan_adapter_in_both_widths() {
    if !vulkan() {
        return;
    }
    let model = Preset::find("ijepa-vit-b16").unwrap().config().model;
    assert_eq!((model.image_size, model.tokens()), (224, 196));
    let subject = Subject::untrained(&model, 1, 3).unwrap();
    let layers = |device: &str, dtype| subject.layers(Way::Compiled(device.parse().unwrap(), dtype)).unwrap();
    let measure = layers("cpu", Dtype::F32);
    for dtype in [Dtype::F32, Dtype::F16] {
        let layers = beside(&subject, &measure, &layers("vulkan", dtype), dtype).unwrap();
        assert_eq!(layers.len(), 7 * 12 + 4);
        for layer in &layers {
            assert!(layer.passed, "{dtype}: {layer:?}");
        }
    }
}

/// What is found of an engine of `model` on `device` with the plan `wrong` and weights that `bend` has seen.
fn outcome(
    model: &ModelConfig,
    device: &str,
    wrong: impl Fn(&mut Plan),
    bend: impl Fn(&Buffer, &mut Vec<f32>),
) -> Outcome {
    let subject = Subject::untrained(model, 1, 3).unwrap();
    let mut broken = subject.plan(Dtype::F32).unwrap();
    wrong(&mut broken);
    let bent = |buffer: &Buffer| -> Result<Vec<f32>> {
        let mut values = subject.constant(buffer)?;
        bend(buffer, &mut values);
        Ok(values)
    };
    let mut engine: Box<dyn Engine> = match device {
        "twins" => Box::new(TwinEngine::new(broken, &bent).unwrap()),
        device => runtime::open(device.parse().unwrap(), broken, TooLarge::Refuse, &bent).unwrap(),
    };
    let way = Way::Compiled("cpu".parse().unwrap(), Dtype::F32);
    examine(&subject, &subject.measure().unwrap(), way, engine.as_mut()).unwrap()
}

/// The engines that faults are planted in.
fn engines() -> &'static [&'static str] {
    if vulkan() { &["twins", "cpu", "vulkan"] } else { &["twins", "cpu"] }
}

/// That what is wrong with an engine shows at `place` first, is named, and fails the whole with exit code 4.
fn located(outcome: Outcome, place: &str) {
    let first = outcome.layers.iter().find(|layer| !layer.passed).map(|layer| layer.label.as_str());
    assert_eq!(first, Some(place), "the first row that failed");
    let fault = outcome.fault.as_ref().expect("a fault is found");
    assert_eq!(fault.label, place);
    assert_ne!(fault.expected, fault.found);
    assert!(!outcome.passed());
    assert_eq!(verdict(&[outcome]).unwrap_err().exit_code(), 4);
}

#[test]
fn an_engine_without_a_fault_passes() {
    for engine in engines() {
        let sound = outcome(&tiny(), engine, |_| {}, |_, _| {});
        assert_eq!(sound.fault, None, "{engine}");
        assert!(sound.passed() && sound.layers.last().unwrap().label == ONE_PASS, "{engine}: {sound:?}");
        verdict(&[sound]).unwrap();
    }
}

/// Of a narrow encoder, and of one block of the width of ViT-B/16: rows of ordinary variance, which hide it most.
#[test]
fn a_wrong_eps_is_found_in_its_norm() {
    let wide = Preset::find("ijepa-vit-b16").unwrap().config().model;
    let wide = ModelConfig { image_size: 64, depth: 1, ..wide };
    for (model, norm, before) in
        [(tiny(), "blocks.1.norm2", "blocks.1.attn.proj"), (wide, "blocks.0.norm2", "blocks.0.attn.proj")]
    {
        let measure = Subject::untrained(&model, 1, 3).unwrap().measure().unwrap();
        let rows = &measure.iter().find(|layer| layer.label == before).unwrap().values;
        let variance = rows.iter().map(|value| value * value).sum::<f32>() / rows.len() as f32;
        assert!((0.3..3.0).contains(&variance), "{variance}");
        let wrong = |plan: &mut Plan| {
            for dispatch in plan.dispatches.iter_mut().filter(|dispatch| dispatch.label == norm) {
                if let Kernel::Norm { eps, .. } = &mut dispatch.kernel {
                    *eps = 1e-5;
                }
            }
        };
        for engine in engines() {
            located(outcome(&model, engine, wrong, |_, _| {}), norm);
        }
    }
}

#[test]
fn a_transposed_weight_is_found_in_its_product() {
    let bend = |buffer: &Buffer, values: &mut Vec<f32>| {
        if buffer.label == "blocks.2.attn.proj.weight" {
            let side = buffer.shape[0];
            *values = (0..side * side).map(|i| values[i % side * side + i / side]).collect();
        }
    };
    for engine in engines() {
        located(outcome(&tiny(), engine, |_| {}, bend), "blocks.2.attn.proj");
    }
}

#[test]
fn angles_of_the_wrong_sign_are_found_in_the_product_that_turns() {
    let bend = |buffer: &Buffer, values: &mut Vec<f32>| {
        if buffer.label == "angles" {
            values.iter_mut().for_each(|value| *value = value.abs());
        }
    };
    for engine in engines() {
        located(outcome(&clips(Positions::Rope), engine, |_| {}, bend), "blocks.0.attn.qkv");
    }
}

/// An engine whose dispatches do not wait for each other where they run in one pass.
struct Hasty(Box<dyn Engine>);

impl Engine for Hasty {
    fn plan(&self) -> &Plan {
        self.0.plan()
    }

    fn keep(&mut self, rows: &[u32]) -> Result<()> {
        self.0.keep(rows)
    }

    fn run(&mut self, images: &[f32]) -> Result<Vec<f32>> {
        let mut features = self.0.run(images)?;
        features[0] += 1e-6;
        Ok(features)
    }

    fn trace(&mut self, images: &[f32], see: &mut dyn FnMut(&Dispatch, &[f32]) -> Result<()>) -> Result<()> {
        self.0.trace(images, see)
    }
}

#[test]
fn what_burn_computes_wrong_is_found_at_the_first_layer_behind_it() {
    let subject = Subject::untrained(&tiny(), 1, 3).unwrap();
    let (measure, way) = (subject.measure().unwrap(), Way::Burn("cpu".parse().unwrap()));
    let mut found = subject.layers(way).unwrap();
    assert!(survey(&subject, &measure, way, &found).unwrap().passed());
    // From the second block on, as a wrong operation would have it.
    let place = found[2].label.clone();
    for layer in &mut found[2..] {
        layer.values[5] += 1.0;
    }
    let outcome = survey(&subject, &measure, way, &found).unwrap();
    let fault = outcome.fault.as_ref().unwrap();
    assert_eq!((fault.index, fault.shapes.last().unwrap().iter().product()), (5, found[2].values.len()));
    located(outcome, &place);
}

#[test]
fn features_that_differ_in_one_pass_fail_though_every_dispatch_agrees() {
    let subject = Subject::untrained(&tiny(), 1, 3).unwrap();
    let way = Way::Compiled("cpu".parse().unwrap(), Dtype::F32);
    let mut engine = Hasty(subject.engine("cpu".parse().unwrap(), Dtype::F32).unwrap());
    let outcome = examine(&subject, &subject.measure().unwrap(), way, &mut engine).unwrap();
    let failed: Vec<&str> =
        outcome.layers.iter().filter(|layer| !layer.passed).map(|layer| layer.label.as_str()).collect();
    assert_eq!((failed, &outcome.fault), (vec![ONE_PASS], &None));
    assert_eq!(verdict(&[outcome]).unwrap_err().exit_code(), 4);
}

/// What `parity` says of a small encoder on `devices`, and its exit code.
fn command(devices: &str) -> (serde_json::Value, Option<i32>, String) {
    let words = ["parity", "animals28", "--set", "model.depth=1", "--json", "-q", "--devices", devices];
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_anyjepa")).args(words).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (serde_json::from_slice(&output.stdout).unwrap(), output.status.code(), said)
}

#[test]
fn a_device_that_fails_leaves_the_others_their_results() {
    let (result, code, said) = command("vulkan:99,cpu");
    assert_eq!((code, &result["passed"]), (Some(6), &false.into()));
    let missing = "`vulkan:99`: this machine has";
    assert!(said.contains(missing) && said.contains("anyjepa devices"), "{said}");
    let ways = result["ways"].as_array().unwrap();
    let (failed, sound): (Vec<_>, Vec<_>) = ways.iter().partition(|way| way["way"].to_string().contains("vulkan:99"));
    for way in &failed {
        assert!(way["error"].to_string().contains(missing) && way["layers"] == serde_json::json!([]), "{way}");
    }
    assert!(!failed.is_empty() && sound.len() == 3);
    assert!(sound.iter().all(|way| way["error"].is_null() && !way["layers"].as_array().unwrap().is_empty()));
}

#[test]
fn wgpu_is_compared_in_f16_where_the_adapter_that_it_opens_knows_it() {
    if vulkan() {
        let (result, code, said) = command("wgpu");
        assert_eq!(code, Some(0), "{said}");
        let ways = result["ways"].as_array().unwrap();
        assert!(ways.iter().any(|way| way["way"] == "compiled on wgpu, f16"), "{ways:?}");
    }
}
