//! Every engine agrees with the plain twins, and a planted fault is found where it was planted.

use anyjepa::compile::{Buffer, Dispatch, Dtype, Kernel, Plan, ReadOut, Take, compile};
use anyjepa::config::{ModelConfig, Positions, Preset};
use anyjepa::error::Result;
use anyjepa::parity::{Found, Subject, Way, compare, find};
use anyjepa::runtime;
use anyjepa::weights::of_plan;

fn tiny() -> ModelConfig {
    let model = Preset::find("animals28").unwrap().config().model;
    ModelConfig { dim: 96, depth: 3, heads: 4, mlp: 192, ..model }
}

/// A small encoder of clips.
fn clips(positions: Positions) -> ModelConfig {
    ModelConfig { frames: 4, tubelet: 2, positions, ..tiny() }
}

fn gpu() -> bool {
    let skip = std::env::var("ANYJEPA_TEST_GPU").is_ok_and(|value| value == "skip");
    if skip {
        eprintln!("SKIPPED: ANYJEPA_TEST_GPU=skip, so no Vulkan adapter was compared with the twins");
    }
    !skip
}

fn agrees(way: Way) {
    let one_head = |model: ModelConfig| ModelConfig { heads: 1, ..model };
    let several = [tiny(), clips(Positions::UniformPower), clips(Positions::Rope)];
    for model in several.into_iter().chain([one_head(tiny()), one_head(clips(Positions::Rope))]) {
        let subject = Subject::untrained(&model, 2, 3).unwrap();
        let outcome = compare(&subject, &subject.measure().unwrap(), &way).unwrap();
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
    if gpu() {
        agrees(Way::Compiled("vulkan".parse().unwrap(), Dtype::F32));
        agrees(Way::Compiled("vulkan".parse().unwrap(), Dtype::F16));
    }
}

/// The plain twins would take minutes: the measure is the processor's plan of f32, which the tests above compare with them.
#[test]
fn vit_b16_gives_the_same_layers_on_a_vulkan_adapter_in_both_widths() {
    if !gpu() {
        return;
    }
    let model = Preset::find("ijepa-vit-b16").unwrap().config().model;
    assert_eq!((model.image_size, model.tokens()), (224, 196));
    let subject = Subject::untrained(&model, 1, 3).unwrap();
    let plan = |_| compile(&model, 1, ReadOut { layers: 1, take: Take::Mean }, Dtype::F32);
    let weights = |buffer: &Buffer| of_plan(&subject.weights, buffer);
    let mut measure = Vec::new();
    let note = &mut |dispatch: &Dispatch, values: &[f32]| {
        measure.push(Found { label: dispatch.label.clone(), values: values.to_vec() });
        Ok(())
    };
    runtime::open("cpu".parse().unwrap(), plan, &weights).unwrap().trace(&subject.images, note).unwrap();
    for dtype in [Dtype::F32, Dtype::F16] {
        let outcome = compare(&subject, &measure, &Way::Compiled("vulkan".parse().unwrap(), dtype)).unwrap();
        assert_eq!(outcome.layers.len(), 7 * 12 + 4);
        for layer in &outcome.layers {
            assert!(layer.passed, "{dtype}: {layer:?}, {:?}", outcome.fault);
        }
    }
}

/// Where the search finds a fault in an engine of the small encoder of pictures.
fn found(device: &str, wrong: impl Fn(&mut Plan), bend: impl Fn(&Buffer, &mut Vec<f32>)) -> Option<String> {
    found_in(&tiny(), device, wrong, bend)
}

/// Where the search finds a fault in an engine of `model` with the plan `wrong` and weights that `bend` has seen.
fn found_in(
    model: &ModelConfig,
    device: &str,
    wrong: impl Fn(&mut Plan),
    bend: impl Fn(&Buffer, &mut Vec<f32>),
) -> Option<String> {
    let subject = Subject::untrained(model, 1, 3).unwrap();
    let plan = compile(&subject.model, 1, ReadOut { layers: 1, take: Take::Mean }, Dtype::F32).unwrap();
    let mut broken = plan.clone();
    wrong(&mut broken);
    let weights = |buffer: &Buffer| -> Result<Vec<f32>> { of_plan(&subject.weights, buffer) };
    let bent = |buffer: &Buffer| -> Result<Vec<f32>> {
        let mut values = weights(buffer)?;
        bend(buffer, &mut values);
        Ok(values)
    };
    let mut engine = runtime::open(device.parse().unwrap(), |_| Ok(broken), &bent).unwrap();
    find(engine.as_mut(), &plan, &weights, &subject.images).unwrap().map(|fault| fault.label)
}

#[test]
fn a_planted_fault_is_found_where_it_was_planted() {
    let devices: &[&str] = if gpu() { &["cpu", "vulkan"] } else { &["cpu"] };
    for device in devices {
        let sound = found(device, |_| {}, |_, _| {});
        assert_eq!(sound, None, "{device}");
        let eps = found(
            device,
            |plan| {
                for dispatch in plan.dispatches.iter_mut().filter(|dispatch| dispatch.label == "blocks.1.norm2") {
                    if let Kernel::Norm { eps, .. } = &mut dispatch.kernel {
                        *eps = 1e-5;
                    }
                }
            },
            |_, _| {},
        );
        assert_eq!(eps.as_deref(), Some("blocks.1.norm2"), "{device}");
        let transposed = found(
            device,
            |_| {},
            |buffer, values| {
                if buffer.label == "blocks.2.attn.proj.weight" {
                    let side = buffer.shape[0];
                    *values = (0..side * side).map(|i| values[i % side * side + i / side]).collect();
                }
            },
        );
        assert_eq!(transposed.as_deref(), Some("blocks.2.attn.proj"), "{device}");
        let still = found_in(
            &clips(Positions::Rope),
            device,
            |_| {},
            |buffer, values| {
                if buffer.label == "angles" {
                    values.iter_mut().for_each(|value| *value = value.abs());
                }
            },
        );
        assert_eq!(still.as_deref(), Some("blocks.0.attn.qkv"), "{device}");
    }
}
