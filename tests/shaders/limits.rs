//! WebGPU's default limits, which any browser and any adapter has: every preset's encoder fits them at batch 1.

use std::sync::Arc;

use anyjepa::compile::{Buffer, Dtype, Kernel, Outputs, Plan, Take, compile, wgsl};
use anyjepa::config::{ModelConfig, PRESETS, Positions, Precision, Preset};
use anyjepa::device;
use anyjepa::error::Result;
use anyjepa::model::{Encoder, Init};
use anyjepa::parity::distance;
use anyjepa::runtime::check;
use anyjepa::runtime::cpu::CpuEngine;
use anyjepa::runtime::gpu::{Gpu, GpuEngine};
use anyjepa::weights::{self, Tensors, Values};
use wgpu::Limits;

use crate::device::{Operation, computed, gpu, normal};

const POOLED: Outputs = Outputs { layers: 1, take: Take::Mean };
/// Tokens of 16 frames of 224 and of 384 pixels, and the values of the heads of ViT-L/16 and ViT-H/16; of these one is
/// enough. The most tokens that are promised, by the smallest head of any encoder in use.
const LONG: [(usize, usize); 3] = [(1568, 64), (4608, 80), (8192, 24)];
/// The most tokens, by a head so small that the plain twin is done in a moment.
const LONGEST: (usize, usize) = (8192, 4);
/// Relative distance of the features of twelve blocks: sums of 32 bits in another order.
const FEATURES: f64 = 1e-5;
/// What a softmax over all tokens and the mean by it may be off, by sqrt(tokens): units of 32 bits.
const ATTENDED: f64 = 4.0 * 1.2e-7;

/// What of `plan` does not fit, in words.
fn beyond(plan: &Plan) -> Vec<String> {
    let limits = Limits::default();
    let bound = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
    let buffers = plan.buffers.iter().map(|buffer| (buffer.label.clone(), buffer.bytes()));
    let slots = plan.slots().into_iter().enumerate().map(|(slot, bytes)| (format!("slot {slot}"), bytes));
    let large = buffers.chain(slots).filter(|(_, bytes)| *bytes as u64 > bound);
    let mut found: Vec<String> = large.map(|(label, bytes)| format!("{label}: {bytes} bytes")).collect();
    for dispatch in &plan.dispatches {
        let stored: Vec<Dtype> = dispatch.operands.iter().map(|id| plan.buffer(*id).dtype).collect();
        let tiles = match dispatch.kernel {
            Kernel::Matmul { .. } => wgsl::MATMUL_TILES.map(Some).to_vec(),
            _ => vec![None],
        };
        for tile in tiles {
            let shader = wgsl::shader(&dispatch.kernel, &stored, tile).unwrap();
            let groups = shader.workgroups.into_iter().max().unwrap();
            for (what, taken, most) in [
                ("buffers", stored.len() as u32, limits.max_storage_buffers_per_shader_stage),
                ("bytes a workgroup", shader.workgroup_bytes, limits.max_compute_workgroup_storage_size),
                ("threads", shader.threads, limits.max_compute_invocations_per_workgroup),
                ("threads along x", shader.threads, limits.max_compute_workgroup_size_x),
                ("workgroups along an axis", groups, limits.max_compute_workgroups_per_dimension),
            ] {
                if taken > most {
                    found.push(format!("{}, {}: {taken} {what}", dispatch.label, shader.permutation));
                }
            }
        }
    }
    found
}

#[test]
fn the_limits_are_those_that_webgpu_promises() {
    let limits = Limits::default();
    assert_eq!(limits.max_storage_buffer_binding_size, 128 << 20);
    assert_eq!(limits.max_storage_buffers_per_shader_stage, 8);
    assert_eq!(limits.max_compute_workgroup_storage_size, 16 << 10);
    assert_eq!(limits.max_compute_invocations_per_workgroup, 256);
    assert_eq!(limits.max_compute_workgroups_per_dimension, 65_535);
}

#[test]
fn the_plan_of_every_preset_fits_at_batch_1() {
    for preset in PRESETS {
        let model = preset.config().model;
        for dtype in [Dtype::F32, Dtype::F16] {
            let plan = compile(&model, 1, POOLED, dtype).unwrap();
            check(&plan).unwrap();
            assert_eq!(beyond(&plan), Vec::<String>::new(), "{} in {dtype}", preset.name);
        }
    }
}

#[test]
fn what_does_not_fit_is_found() {
    let model = Preset::find("ijepa-vit-h16-448").unwrap().config().model;
    let found = beyond(&compile(&model, 16, POOLED, Dtype::F32).unwrap());
    assert!(found.iter().any(|found| found.starts_with("blocks.0.mlp.fc1: ")), "{found:?}");
}

#[test]
fn an_encoder_runs_on_a_device_that_has_no_more() {
    let Some(gpu) = gpu() else { return };
    // Of 196, 1,568 and 512 tokens.
    for (preset, frames, depth) in [("ijepa-vit-tiny16", 1, 12), ("vjepa-vit-tiny16", 16, 1), ("vjepa2-vit-tiny", 4, 1)]
    {
        let off = off(&gpu, &ModelConfig { frames, depth, ..Preset::find(preset).unwrap().config().model });
        assert!(off < FEATURES, "{preset} is off by {off:e}");
    }
}

#[test]
fn a_block_runs_over_the_tokens_of_the_longest_clip() {
    let Some(gpu) = gpu() else { return };
    let longest = Preset::find("vjepa-vit-h16-384").unwrap().config().model;
    // As many tokens and heads of the same size, but two of them.
    let narrow = ModelConfig { dim: 160, heads: 2, mlp: 640, depth: 1, ..longest.clone() };
    assert_eq!((narrow.tokens(), narrow.dim / narrow.heads), (4608, longest.dim / longest.heads));
    for positions in [longest.positions, Positions::Rope] {
        let off = off(&gpu, &ModelConfig { positions, ..narrow.clone() });
        assert!(off < FEATURES, "{positions:?} is off by {off:e}");
    }
}

/// How far an encoder's features on the GPU are from those on the processor.
fn off(gpu: &Arc<Gpu>, model: &ModelConfig) -> f64 {
    let encoder = Encoder::new(model, Precision::F32, Init::Seed(1), &device::open("cpu".parse().unwrap()).unwrap());
    let tensors: Tensors = weights::collect(&encoder, "", &Values).unwrap();
    let weights = |buffer: &Buffer| -> Result<Vec<f32>> { weights::of_plan(&tensors, buffer) };
    let plan = compile(model, 1, POOLED, Dtype::F32).unwrap();
    let images = normal(1, plan.buffer(plan.input().unwrap()).len(), 1.0);
    let expected = CpuEngine::new(plan.clone(), &mut |buffer| weights(buffer)).unwrap().run(&images).unwrap().to_vec();
    let found = GpuEngine::new(gpu.clone(), plan, &weights, &|_, _| None).unwrap().run(&images).unwrap();
    distance(&expected, &found)
}

#[test]
fn attention_runs_over_the_tokens_of_a_long_clip() {
    let Some(gpu) = gpu() else { return };
    for (tokens, size) in LONG.into_iter().chain([LONGEST]) {
        let operation = over(tokens, size);
        attends(&operation, &computed(&gpu, std::slice::from_ref(&operation), None).remove(0));
    }
}

#[test]
fn the_twin_attends_to_as_many_tokens() {
    let operation = over(LONGEST.0, LONGEST.1);
    attends(&operation, &operation.expected());
}

/// Attention of one head over so many tokens.
fn over(tokens: usize, size: usize) -> Operation {
    let scale = 1.0 / (size as f32).sqrt();
    Operation::new(Kernel::Attention { batch: 1, tokens, heads: 1, size, scale }, false)
}

/// That `found` is the result of an attention of one head: of some queries, in 64 bits.
fn attends(operation: &Operation, found: &[f32]) {
    let Kernel::Attention { tokens, size, scale, .. } = operation.kernel else { panic!("{}", operation.label) };
    assert!(found.iter().all(|value| value.is_finite()));
    // `[N, 3, K]`
    let packed = &operation.operands[0].1;
    let value = |token: usize, part: usize, k: usize| f64::from(packed[(token * 3 + part) * size + k]);
    for token in [0, 31, tokens / 2 - 1, tokens - 33, tokens - 1] {
        let score =
            |key: usize| f64::from(scale) * (0..size).map(|k| value(token, 0, k) * value(key, 1, k)).sum::<f64>();
        let weights: Vec<f64> = (0..tokens).map(|key| score(key).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for k in 0..size {
            let expected = (0..tokens).map(|key| weights[key] * value(key, 2, k)).sum::<f64>() / sum;
            let found = f64::from(found[token * size + k]);
            assert!(
                (found - expected).abs() < ATTENDED * (tokens as f64).sqrt(),
                "{}, query {token}, {k}: {found}, {expected}",
                operation.label
            );
        }
    }
}
