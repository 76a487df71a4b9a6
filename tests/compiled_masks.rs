//! Compiled encoders that see the tokens of a mask alone: each token keeps its position, by a table or by rotation.

#[path = "support/gpu.rs"]
mod gpu;

use std::path::Path;

use anyjepa::compile::{Dtype, Outputs, Take, compile};
use anyjepa::config::{ModelConfig, Positions, Precision, Preset};
use anyjepa::device::{self, read};
use anyjepa::masks::IndexMask;
use anyjepa::model::{Encoder, Gather, Init, rows_of};
use anyjepa::parity::{Permitted, distance};
use anyjepa::random::{Purpose, Stream};
use anyjepa::runtime::{self, Engine, TooLarge, twin::TwinEngine};
use anyjepa::weights::{self, Tensors, of_plan};
use burn::tensor::{Tensor, TensorData};

/// What PyTorch's own f32 loses, as docs/PARITY.md says of activations.
const ACTIVATION: f32 = 5e-5;

/// What runs a plan.
#[derive(Debug, Clone, Copy)]
enum Runner {
    Twins,
    Device(&'static str),
}

/// All runners, with how values are stored; without a GPU where the tests are to do without.
fn runners() -> Vec<(Runner, Dtype)> {
    let mut all =
        vec![(Runner::Twins, Dtype::F32), (Runner::Device("cpu"), Dtype::F32), (Runner::Device("cpu"), Dtype::Bf16)];
    if gpu::wanted("no Vulkan adapter was given masks") {
        all.extend([Dtype::F32, Dtype::F16].map(|dtype| (Runner::Device("vulkan"), dtype)));
    }
    all
}

/// The features of the tokens that `mask` keeps, `[B, K, D]`, and how far they may be off for the plan's size.
fn kept(
    runner: (Runner, Dtype),
    model: &ModelConfig,
    weights: &Tensors,
    images: &[f32],
    mask: &IndexMask,
) -> (Vec<f32>, f64) {
    let (runner, stored) = runner;
    let plan = compile(model, mask.batch, Outputs { layers: 1, take: Take::Kept(mask.keep) }, stored).unwrap();
    let sum = plan.dispatches.iter().map(|dispatch| dispatch.kernel.longest_sum()).max().unwrap();
    let permitted = Permitted { depth: plan.dispatches.len(), sum, stored }.distance();
    let values = |buffer: &_| of_plan(weights, buffer);
    let mut engine: Box<dyn Engine> = match runner {
        Runner::Twins => Box::new(TwinEngine::new(plan, &values).unwrap()),
        Runner::Device(name) => runtime::open(name.parse().unwrap(), plan, TooLarge::Refuse, &values).unwrap(),
    };
    engine.keep(&rows_of(mask, model.tokens()).map(|row| row as u32).collect::<Vec<_>>()).unwrap();
    (engine.run(images).unwrap(), permitted)
}

/// `keep` different tokens of each image, in no order.
fn mask(batch: usize, keep: usize, tokens: usize) -> IndexMask {
    let mut stream = Stream::new(5, 0, 0, Purpose::MaskPosition);
    let row = |_| {
        let mut all: Vec<u32> = (0..tokens as u32).collect();
        stream.shuffle(&mut all);
        all.truncate(keep);
        all
    };
    IndexMask { batch, keep, indices: (0..batch).flat_map(row).collect() }
}

#[test]
fn an_encoder_that_sees_some_tokens_alone_gives_what_burn_gives() {
    let cpu = device::open("cpu".parse().unwrap()).unwrap();
    let preset = Preset::find("animals28").unwrap().config().model;
    let small = ModelConfig { dim: 96, depth: 3, heads: 4, mlp: 192, frames: 4, tubelet: 2, ..preset };
    for positions in [Positions::UniformPower, Positions::Rope] {
        let model = ModelConfig { positions, ..small.clone() };
        let encoder = Encoder::new(&model, Precision::F32, Init::Seed(3), &cpu);
        let weights = weights::collect(&encoder, "", &weights::Values).unwrap();
        for batch in [1, 3] {
            let [planes, height, width] = model.input_shape();
            let mut noise = Stream::new(4, 0, 0, Purpose::Augment);
            let images: Vec<f32> = (0..batch * planes * height * width).map(|_| noise.normal() as f32).collect();
            let mask = mask(batch, 13, model.tokens());
            let gather = Gather::new(std::slice::from_ref(&mask), model.tokens(), &cpu);
            let tensor = Tensor::<4>::from_data(TensorData::new(images.clone(), [batch, planes, height, width]), &cpu);
            let expected = read::values(encoder.forward(tensor, Some(&gather))).unwrap();
            for runner in runners() {
                let (found, permitted) = kept(runner, &model, &weights, &images, &mask);
                let distance = distance(&expected, &found);
                assert!(distance < permitted, "{runner:?}, {positions:?}, {batch} images: off by {distance:e}");
            }
        }
    }
}

/// What an encoder says of a token does not depend on the order in which it is shown all tokens.
#[test]
fn tokens_in_any_order_keep_the_golden_values_of_v_jepa_2() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference/hf_vjepa2");
    let loaded = weights::open(&folder, None).unwrap();
    let tensor = |file: &str, name: &str| {
        weights::Store::safetensors(&folder.join(file)).unwrap().entries[name].numbers().unwrap()
    };
    let (model, clips) = (&loaded.model, tensor("inputs.safetensors", "pixel_values_videos"));
    let [batch, frames, channels, height, width] = clips.shape[..] else { panic!("{:?}", clips.shape) };
    let (area, mut images) = (height * width, Vec::new());
    for plane in 0..batch * channels * frames {
        let (clip, channel, frame) = (plane / (channels * frames), plane / frames % channels, plane % frames);
        images.extend_from_slice(&clips.values[((clip * frames + frame) * channels + channel) * area..][..area]);
    }
    let mask = mask(batch, model.tokens(), model.tokens());
    let golden = tensor("expected.safetensors", "last_hidden_state").values;
    let rows = rows_of(&mask, model.tokens());
    let expected: Vec<f32> = rows.flat_map(|row| &golden[row as usize * model.dim..][..model.dim]).copied().collect();
    assert_ne!(expected, golden);
    for runner in runners().into_iter().filter(|(_, stored)| *stored == Dtype::F32) {
        let (found, _) = kept(runner, model, &loaded.tensors, &images, &mask);
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!((found - expected).abs() < ACTIVATION, "{runner:?}, {i}: {found}, expected {expected}");
        }
    }
}
