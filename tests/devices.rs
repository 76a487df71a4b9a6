//! Forward, gradients, a loss curve and attentive probes are the same on a GPU's API as on the CPU.
#![cfg(feature = "wgpu-unfused")]

#[path = "support/gpu.rs"]
mod gpu;

use anyjepa::config::{Preset, RunConfig};
use anyjepa::device::{self, Spec, read};
use anyjepa::eval::{AttentiveSweep, LabelledTokens, Rates, SweepData, SweepOutcome, TokenSet};
use anyjepa::masks::MaskSampler;
use anyjepa::model::Init;
use anyjepa::parity::distance;
use anyjepa::random::{Purpose, Stream};
use anyjepa::stop::Stop;
use anyjepa::train::{AdamW, Networks, Schedule, upload};
use anyjepa::weights::Tensors;
use burn::tensor::Device;

/// Relative L2 distance of the predictions: f32 sums in another order, through three networks.
const FORWARD: f64 = 1e-5;
/// Relative L2 distance of a gradient tensor; summation order weighs more where terms cancel. Key biases, whose true
/// gradient is zero, are left out.
const GRADIENT: f64 = 1e-3;
/// Relative L2 distance of a parameter tensor after the first update, which turns what is noise in a gradient into whole
/// steps of AdamW.
const UPDATE: f64 = 1e-3;
/// Relative distance of a loss after up to 20 steps.
const CURVE: f64 = 1e-4;
const STEPS: usize = 20;
const BATCH: usize = 8;

fn tiny() -> RunConfig {
    let mut config = Preset::find("animals28").unwrap().config();
    (config.model.dim, config.model.depth, config.model.heads, config.model.mlp) = (48, 2, 3, 96);
    let predictor = &mut config.model.predictor;
    (predictor.dim, predictor.depth, predictor.heads, predictor.mlp) = (24, 1, 3, 48);
    config
}

struct Found {
    prediction: Vec<f32>,
    gradients: Tensors,
    updated: Tensors,
    losses: Vec<f32>,
}

fn compute(device: &Device) -> Found {
    let config = tiny();
    let side = config.model.image_size;
    let mut stream = Stream::new(1, 0, 0, Purpose::Augment);
    let pixels: Vec<f32> = (0..BATCH * side * side).map(|_| stream.normal() as f32).collect();
    let samples: Vec<u64> = (0..BATCH as u64).collect();
    let masks = MaskSampler::new(&config.mask, config.model.grid()).unwrap().sample(3, 0, &samples);
    let images = upload(pixels, [BATCH, 1, side, side], device);
    let schedule = Schedule::new(&config.optim, STEPS);

    let mut networks = Networks::new(&config, Init::Seed(5), device);
    let mut optimizer = AdamW::default();
    let mut found =
        Found { prediction: Vec::new(), gradients: Tensors::new(), updated: Tensors::new(), losses: Vec::new() };
    for step in 0..STEPS {
        let forward = networks.forward(&config.loss, images.clone(), &masks);
        found.losses.push(read::scalar(forward.loss.clone().inner()).unwrap() as f32);
        if step == 0 {
            found.prediction = read::values(forward.passes[0].prediction.clone().inner()).unwrap();
        }
        let grads = networks.backward(forward.loss);
        if step == 0 {
            found.gradients = networks.named(&grads.encoder, &grads.predictor).unwrap();
        }
        networks = networks.update(&mut optimizer, grads, &config, schedule.at(step));
        if step == 0 {
            found.updated = networks.tensors().unwrap();
        }
    }
    found
}

/// A Vulkan adapter; none where the tests are told to do without.
fn vulkan() -> Option<Device> {
    if !gpu::wanted("no Vulkan adapter was compared with the CPU") {
        return None;
    }
    Some(device::open("vulkan".parse::<Spec>().unwrap()).unwrap_or_else(|error| {
        panic!("{error}; scripts/test installs a software adapter, ANYJEPA_TEST_GPU=skip does without")
    }))
}

fn cpu() -> Device {
    device::open("cpu".parse::<Spec>().unwrap()).unwrap()
}

/// A sweep of two attentive probes over noise in which a class stands out.
fn sweep(device: &Device) -> SweepOutcome {
    const SHAPE: [usize; 3] = [24, 6, 16];
    let mut stream = Stream::new(2, 0, 0, Purpose::Augment);
    let labels: Vec<u32> = (0..SHAPE[0] as u32).map(|sample| sample % 2).collect();
    let value = |at: usize, noise: f64| (noise + f64::from(labels[at / 96]) * f64::from(at % 16 == 3)) as f32;
    let values = (0..SHAPE.iter().product()).map(|at| value(at, stream.normal())).collect();
    let tokens = TokenSet::new(SHAPE, values).unwrap();
    let labelled = LabelledTokens { tokens: &tokens, labels: &labels };
    let rates = Rates::grid(&[1e-3, 1e-4], &[0.1]);
    let sweep = AttentiveSweep { rates, epochs: 3, ..AttentiveSweep::published(2) };
    let data = SweepData { train: labelled, test: labelled, classes: 2 };
    sweep.fit(&data, device, &Stop::default(), &mut |_, _| ()).unwrap()
}

#[test]
fn a_vulkan_adapter_fits_the_attentive_probes_that_the_cpu_fits() {
    let Some(vulkan) = vulkan() else { return };
    let (expected, found) = (sweep(&cpu()), sweep(&vulkan));
    for (found, expected) in found.probes.iter().zip(&expected.probes) {
        assert_eq!((found.losses.len(), found.rates), (3, expected.rates));
        for (found, expected) in found.losses.iter().zip(&expected.losses) {
            assert!((found - expected).abs() <= CURVE * expected, "{found}, expected {expected}");
        }
    }
}

#[test]
fn a_vulkan_adapter_computes_what_the_cpu_computes() {
    let Some(vulkan) = vulkan() else { return };
    let (cpu, gpu) = (compute(&cpu()), compute(&vulkan));

    // Key biases, whose true gradient is zero, are left out.
    let worst = |expected: &Tensors, found: &Tensors| {
        let distances = expected.iter().map(|(name, expected)| {
            let third = expected.values.len() / 3;
            let keep = |i: &usize| !name.ends_with("attn.qkv.bias") || !(third..2 * third).contains(i);
            let kept = |values: &[f32]| (0..values.len()).filter(keep).map(|i| values[i]).collect::<Vec<f32>>();
            distance(&kept(&expected.values), &kept(&found[name].values)).abs()
        });
        // A NaN is the largest of all.
        distances.max_by(f64::total_cmp).unwrap()
    };
    let worst_loss = gpu
        .losses
        .iter()
        .zip(&cpu.losses)
        .map(|(found, expected)| f64::from((found - expected).abs() / expected))
        .map(f64::abs)
        // A NaN is the largest of all.
        .max_by(f64::total_cmp)
        .unwrap();
    let rows = [
        ("forward", distance(&cpu.prediction, &gpu.prediction), FORWARD),
        ("gradients", worst(&cpu.gradients, &gpu.gradients), GRADIENT),
        ("update", worst(&cpu.updated, &gpu.updated), UPDATE),
        ("20 steps", worst_loss, CURVE),
    ];
    let table: Vec<String> = rows
        .iter()
        .map(|(what, found, bound)| format!("vulkan  {what:10} {}", if found <= bound { "pass" } else { "FAIL" }))
        .collect();
    eprintln!("{rows:?}");
    insta::assert_snapshot!(table.join("\n"), @r"
    vulkan  forward    pass
    vulkan  gradients  pass
    vulkan  update     pass
    vulkan  20 steps   pass
    ");
}
