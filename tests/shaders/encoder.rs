//! A whole encoder as a plan made by hand: two blocks over shared memory, in f32 and in f16, against the twins.

use std::sync::Arc;

use anyjepa::compile::{Buffer, BufferId, Dispatch, Dtype, Epilogue, Kernel, Plan, Role};
use anyjepa::error::Result;
use anyjepa::parity::distance;
use anyjepa::runtime::Engine as _;
use anyjepa::runtime::gpu::{Bounds, Checks, Gpu, GpuEngine, Square, Tiles, candidates, fastest};
use anyjepa::runtime::twin::TwinEngine;

use crate::device::{dtypes, gpu, normal};

const BATCH: usize = 2;
const CHANNELS: usize = 3;
const SIDE: usize = 40;
const PATCH: usize = 8;
const TOKENS: usize = 25;
const DIM: usize = 48;
const HEADS: usize = 2;
const MLP: usize = 100;

/// Relative distance of the features: sums of 32 bits in another order, through two blocks.
const FEATURES: f64 = 2e-6;
/// Of a plan of f16: roundings to 11 bits, the same on both sides but for ties that fall the other way.
pub const HALF_FEATURES: f64 = 1e-3;

/// A plan under construction.
struct Draft {
    plan: Plan,
    half: bool,
}

impl Draft {
    fn buffer(&mut self, label: &str, role: Role, len: usize, dtype: Dtype) -> BufferId {
        let shape = match role {
            Role::Input | Role::Output => vec![BATCH, len / BATCH],
            _ => vec![len],
        };
        self.plan.buffers.push(Buffer { label: label.into(), role, shape, dtype });
        BufferId(self.plan.buffers.len() - 1)
    }

    /// Adds a dispatch that reads `x`, writes `y`, and reads weights in between.
    fn dispatch(&mut self, label: &str, kernel: Kernel, x: BufferId, y: BufferId) {
        let (lengths, stored) = (kernel.lengths(), dtypes(&kernel, self.half));
        let mut operands = vec![x];
        for place in 1..lengths.len() - 1 {
            let parameter = format!("{label}.{place}");
            let role = Role::Weight { parameter: parameter.clone(), transposed: false };
            operands.push(self.buffer(&parameter, role, lengths[place], stored[place]));
        }
        operands.push(y);
        self.plan.dispatches.push(Dispatch { label: label.into(), kernel, operands });
    }

    fn matmul(&mut self, label: &str, [k, n]: [usize; 2], epilogue: Epilogue, [x, y]: [BufferId; 2]) {
        let table = if epilogue == Epilogue::Position { TOKENS } else { 0 };
        self.dispatch(label, Kernel::Matmul { m: BATCH * TOKENS, k, n, epilogue, table }, x, y);
    }

    fn norm(&mut self, label: &str, [x, y]: [BufferId; 2]) {
        let kernel = Kernel::Norm { rows: BATCH * TOKENS, dim: DIM, eps: 1e-6, stride: DIM, column: 0 };
        self.dispatch(label, kernel, x, y);
    }
}

pub fn encoder(half: bool) -> Plan {
    let narrow = if half { Dtype::F16 } else { Dtype::F32 };
    let mut draft = Draft { plan: Plan { batch: BATCH, dtype: narrow, buffers: vec![], dispatches: vec![] }, half };
    let rows = BATCH * TOKENS;
    let scratch = |slot| Role::Scratch { slot };
    let depth = CHANNELS * PATCH * PATCH;
    let images = draft.buffer("images", Role::Input, BATCH * CHANNELS * SIDE * SIDE, Dtype::F32);
    let stream = draft.buffer("stream", scratch(0), rows * DIM, Dtype::F32);
    let patches = draft.buffer("patches", scratch(1), rows * depth, narrow);
    let (channels, height, width) = (CHANNELS, SIDE, SIDE);
    let kernel = Kernel::Patchify { batch: BATCH, channels, frames: 1, height, width, tubelet: 1, patch: PATCH };
    draft.dispatch("patchify", kernel, images, patches);
    draft.matmul("patch_embed", [depth, DIM], Epilogue::Position, [patches, stream]);
    for block in 0..2 {
        let name = |part: &str| format!("blocks.{block}.{part}");
        let normed = draft.buffer(&name("norm1"), scratch(1), rows * DIM, narrow);
        let qkv = draft.buffer(&name("qkv"), scratch(2), rows * 3 * DIM, narrow);
        let attended = draft.buffer(&name("attended"), scratch(1), rows * DIM, narrow);
        draft.norm(&name("norm1"), [stream, normed]);
        draft.matmul(&name("attn.qkv"), [DIM, 3 * DIM], Epilogue::Bias, [normed, qkv]);
        let size = DIM / HEADS;
        let scale = 1.0 / (size as f32).sqrt();
        let kernel = Kernel::Attention { batch: BATCH, tokens: TOKENS, heads: HEADS, size, scale };
        draft.dispatch(&name("attn"), kernel, qkv, attended);
        draft.matmul(&name("attn.proj"), [DIM, DIM], Epilogue::Residual, [attended, stream]);
        let normed = draft.buffer(&name("norm2"), scratch(1), rows * DIM, narrow);
        let hidden = draft.buffer(&name("hidden"), scratch(2), rows * MLP, narrow);
        draft.norm(&name("norm2"), [stream, normed]);
        draft.matmul(&name("mlp.fc1"), [DIM, MLP], Epilogue::Gelu, [normed, hidden]);
        draft.matmul(&name("mlp.fc2"), [MLP, DIM], Epilogue::Residual, [hidden, stream]);
    }
    let tokens = draft.buffer("tokens", scratch(1), rows * DIM, Dtype::F32);
    let features = draft.buffer("features", Role::Output, BATCH * DIM, Dtype::F32);
    draft.half = false;
    draft.norm("norm", [stream, tokens]);
    draft.dispatch("pool", Kernel::Pool { batch: BATCH, tokens: TOKENS, dim: DIM }, tokens, features);
    draft.plan
}

pub fn weights(buffer: &Buffer) -> Result<Vec<f32>> {
    let seed = buffer.label.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
    Ok(normal(seed, buffer.len(), 0.1))
}

pub fn images() -> Vec<f32> {
    normal(1, BATCH * CHANNELS * SIDE * SIDE, 1.0)
}

fn engine(gpu: &Arc<Gpu>, plan: Plan) -> Result<GpuEngine> {
    GpuEngine::new(gpu.clone(), plan, &weights, &|_, _| None)
}

#[test]
fn a_plan_gives_the_features_that_its_twins_give() {
    let Some(gpu) = gpu() else { return };
    for (half, tolerance) in [(false, FEATURES), (true, HALF_FEATURES)] {
        let mut engine = engine(&gpu, encoder(half)).unwrap();
        let mut seen: Vec<(String, Vec<f32>)> = Vec::new();
        let mut twin = TwinEngine::new(engine.plan().clone(), &weights).unwrap();
        let noted = twin.trace(&images(), &mut |dispatch, values| {
            seen.push((dispatch.label.clone(), values.to_vec()));
            Ok(())
        });
        noted.unwrap();
        let expected = twin.values(engine.plan().output().unwrap()).to_vec();
        let found = engine.run(&images()).unwrap();
        assert!(distance(&expected, &found) < tolerance, "off by {:e}", distance(&expected, &found));
        assert_eq!(engine.run(&images()).unwrap(), found, "a second run gives something else");

        let mut seen = seen.into_iter();
        let traced = engine.trace(&images(), &mut |dispatch, values| {
            let (label, expected) = seen.next().unwrap();
            assert_eq!(label, dispatch.label);
            assert!(distance(&expected, values) < tolerance, "{label} is off by {:e}", distance(&expected, values));
            Ok(())
        });
        traced.unwrap();
        assert_eq!(seen.next(), None);
    }
}

#[test]
fn shaders_without_checks_give_the_same_features() {
    let Some(checked) = gpu() else { return };
    let trusted = Gpu::open("vulkan".parse().unwrap(), Bounds::Adapter, Checks::Off).unwrap();
    let features = |gpu: &Arc<Gpu>| engine(gpu, encoder(false)).unwrap().run(&images()).unwrap();
    let distance = distance(&features(&checked), &features(&Arc::new(trusted)));
    assert!(distance < FEATURES, "off by {distance:e}");
}

#[test]
fn a_plan_that_cannot_be_run_is_an_error_that_names_what_is_wrong() {
    let Some(gpu) = gpu() else { return };
    let broken: [(&str, &dyn Fn(&mut Plan)); 3] = [
        ("broken", &|plan| plan.dispatches[0].operands[1] = BufferId(999)),
        ("bf16", &|plan| plan.buffers[3].dtype = Dtype::Bf16),
        ("too large", &|plan| {
            let role = Role::Weight { parameter: "huge".into(), transposed: false };
            plan.buffers.push(Buffer { label: "huge".into(), role, shape: vec![1 << 26], dtype: Dtype::F32 });
        }),
    ];
    let mut said = Vec::new();
    for (what, breaks) in broken {
        let mut plan = encoder(false);
        breaks(&mut plan);
        let error = engine(&gpu, plan).unwrap_err();
        let remedy = error.remedy().unwrap_or("-");
        said.push(format!("{what}, exit code {}: {error} ({remedy})", error.exit_code()));
    }
    let error = engine(&gpu, encoder(false)).unwrap().run(&[0.0]).unwrap_err();
    said.push(format!("too few values, exit code {}: {error}", error.exit_code()));
    insta::assert_snapshot!(said.join("\n").replace(&gpu.adapter().device, "[device]"));
}

#[test]
fn an_adapter_that_is_missing_is_an_error_with_a_remedy() {
    let open = |name: &str| Gpu::open(name.parse().unwrap(), Bounds::WebGpu, Checks::On).unwrap_err();
    let errors = [open("vulkan:99"), open("cuda"), open("cpu")];
    assert_eq!(errors.each_ref().map(|error| error.exit_code()), [6; 3]);
    assert!(errors[0].to_string().contains("`vulkan:99`: this machine has"), "{}", errors[0]);
    assert!(errors.iter().all(|error| error.remedy().is_some()));
}

#[test]
fn the_device_tells_how_long_each_dispatch_takes() {
    let Some(gpu) = gpu() else { return };
    let mut engine = engine(&gpu, encoder(false)).unwrap();
    let times = engine.time(&images()).unwrap().expect("lavapipe and every GPU in use have a clock");
    assert_eq!(times.len(), engine.plan().dispatches.len());
    assert!(times.iter().all(|time| time.as_secs() < 10) && times.iter().any(|time| !time.is_zero()), "{times:?}");
}

#[test]
fn the_product_that_is_a_yardstick_is_that_of_its_matrices() {
    let Some(gpu) = gpu() else { return };
    let side = 52;
    let [x, w] = [1, 2].map(|seed| normal(seed, side * side, 1.0));
    let term = |i: usize, k: usize| f64::from(x[i / side * side + k]) * f64::from(w[k * side + i % side]);
    let expected: Vec<f32> = (0..side * side).map(|i| (0..side).map(|k| term(i, k)).sum::<f64>() as f32).collect();
    for (stored, tolerance) in [(Dtype::F32, FEATURES), (Dtype::F16, HALF_FEATURES)] {
        let tile = Square::tile(&gpu, stored).unwrap();
        let mut square = Square::new(&gpu, side, stored, [&x, &w], tile).unwrap();
        square.run().unwrap();
        let distance = distance(&expected, &square.values().unwrap());
        assert!(distance < tolerance, "{stored} is off by {distance:e}");
        assert!(Square::new(&gpu, side + 1, stored, [&x, &w], tile).is_err());
    }
}

#[test]
fn the_fastest_tile_is_measured_and_kept_for_this_device_only() {
    let Some(gpu) = gpu() else { return };
    let kernel = Kernel::Matmul { m: 8, k: 8, n: 8, epilogue: Epilogue::Residual, table: 0 };
    let tiles = candidates(&gpu, &kernel, &dtypes(&kernel, false));
    assert!(tiles.len() > 1, "{tiles:?}");
    assert!(tiles.contains(&fastest(&gpu, &kernel, &dtypes(&kernel, false)).unwrap()));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache/tiles.json");
    let unknown = Tiles::read(&path, &gpu);
    unknown.write(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let (plan, mut tiles) = (encoder(false), unknown.clone());
    tiles.measure(&gpu, &plan).unwrap();
    tiles.write(&path).unwrap();
    assert_eq!(Tiles::read(&path, &gpu), tiles);
    let products = plan.dispatches.iter().filter(|dispatch| matches!(dispatch.kernel, Kernel::Matmul { .. }));
    for Dispatch { label, kernel, .. } in products {
        let [known, before] = [&tiles, &unknown].map(|tiles| tiles.get(&gpu, kernel, &dtypes(kernel, false)));
        assert!(known.is_some() && before.is_none(), "{label}: {known:?}, {before:?}");
    }

    let of_another = text.replacen(&gpu.adapter().driver, "another driver", 1);
    let of_others = text.replacen(r#""shaders": ""#, r#""shaders": "0"#, 1);
    let with = |text: &str, tile: &str| {
        let known = format!(r#""fastest": {{"8x8x8 Residual F32 F32": {tile}}}"#);
        text.replacen(r#""fastest": {}"#, &known, 1)
    };
    // Of matrix units that no GPU has, and of some that this one does not list.
    let units = |subgroup| format!(r#"{{"cooperative 64x64": {{"side": "Eight", "subgroup": {subgroup}}}}}"#);
    let plain = r#""64x64""#;
    for (text, found) in [
        (with(&text, plain), true),
        (with(&of_another, plain), false),
        (with(&of_others, plain), false),
        ("{".into(), false),
        (with(&text, &units(0)), false),
        (with(&text, &units(8)), false),
        (with(&text, r#""scalar""#), false),
    ] {
        std::fs::write(&path, &text).unwrap();
        let tiles = Tiles::read(&path, &gpu);
        assert_eq!(tiles.get(&gpu, &kernel, &dtypes(&kernel, false)).is_some(), found, "{text}");
    }

    // More rows of tiles of 32 than a device launches along an axis.
    let tall = Kernel::Matmul { m: 32 * 65_536, k: 8, n: 8, epilogue: Epilogue::Residual, table: 0 };
    let gpu = Gpu::open("vulkan".parse().unwrap(), Bounds::WebGpu, Checks::Off).unwrap();
    for (tile, found) in [("32x32", false), ("64x64", true)] {
        let known = format!(r#""fastest": {{"2097152x8x8 Residual F32 F32": "{tile}"}}"#);
        std::fs::write(&path, text.replacen(r#""fastest": {}"#, &known, 1)).unwrap();
        let tiles = Tiles::read(&path, &gpu);
        assert_eq!(tiles.get(&gpu, &tall, &dtypes(&tall, false)).is_some(), found, "{tile}");
    }
}
