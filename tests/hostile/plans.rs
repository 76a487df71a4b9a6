//! Plans that cannot be run, as a package may hold them: each engine refuses each of them with exit code 4.

use std::path::Path;
use std::sync::Arc;

use anyjepa::compile::{Buffer, BufferId, Dispatch, Dtype, Epilogue, Kernel, Outputs, Plan, Role, Take, compile};
use anyjepa::config::Layers;
use anyjepa::device::require_memory;
use anyjepa::error::{Error, Result};
use anyjepa::extract::package::{self, Contents};
use anyjepa::extract::{self, FeatureDtype, Provenance, Tokens, Views};
use anyjepa::runtime::cpu::CpuEngine;
use anyjepa::runtime::gpu::{Bounds, Checks, Gpu, GpuEngine};
use anyjepa::runtime::twin::TwinEngine;
use anyjepa::runtime::{self, Engine, TooLarge};
use anyjepa::weights::{self, FileEntry, Manifest, Which, Whole};
use serde_json::Value;

use super::child::{anyjepa, watch};
use super::vit::{Positions, Vit, draw, in_bf16, values, vit};

const SHAPE: Vit = Vit {
    batch: 2,
    dim: 24,
    depth: 1,
    heads: 3,
    frames: 1,
    side: 20,
    tubelet: 1,
    patch: 4,
    positions: Positions::Table,
};

fn role<'a>(plan: &'a mut Plan, name: &str) -> &'a mut Role {
    &mut buffer(plan, name).role
}

fn buffer<'a>(plan: &'a mut Plan, name: &str) -> &'a mut Buffer {
    plan.buffers.iter_mut().find(|buffer| buffer.label == name).unwrap()
}

fn kernel<'a>(plan: &'a mut Plan, name: &str) -> &'a mut Kernel {
    &mut plan.dispatches.iter_mut().find(|dispatch| dispatch.label == name).unwrap().kernel
}

/// Another buffer of a role, which nothing reads or writes.
fn add(plan: &mut Plan, name: &str, role: Role, shape: Vec<usize>) {
    plan.buffers.push(Buffer { label: name.into(), role, shape, dtype: Dtype::F32 });
}

/// The cut of pictures of the plan's size into tubelets of these spans.
fn patchify(tubelet: usize, patch: usize) -> Kernel {
    Kernel::Patchify { batch: 2, channels: 3, frames: 1, height: 20, width: 20, tubelet, patch }
}

/// The plan's packed product, whose queries and keys are turned in heads of `size` values.
fn turned(size: usize, table: usize) -> Kernel {
    Kernel::Matmul { m: 50, k: 24, n: 72, epilogue: Epilogue::Rotation { size }, table }
}

/// What is done to a sound plan.
const DAMAGES: &[fn(&mut Plan)] = &[
    |plan| plan.batch = 0,
    |plan| plan.batch = 3,
    |plan| plan.batch = usize::MAX,
    |plan| buffer(plan, "images").shape = vec![2400],
    |plan| buffer(plan, "features").shape = vec![1, 48],
    |plan| buffer(plan, "features").shape = vec![],
    |plan| plan.buffers.clear(),
    |plan| *role(plan, "features") = Role::Scratch { slot: 9 },
    |plan| *role(plan, "images") = Role::Scratch { slot: 9 },
    |plan| add(plan, "more", Role::Input, vec![2, 5]),
    |plan| add(plan, "more", Role::Output, vec![2, 5]),
    |plan| add(plan, "kept", Role::Kept, vec![4]),
    |plan| buffer(plan, "h").dtype = Dtype::U32,
    |plan| *role(plan, "x") = Role::Kept,
    |plan| add(plan, "endless", Role::Scratch { slot: usize::MAX }, vec![1]),
    |plan| add(plan, "empty", Role::Scratch { slot: 0 }, vec![3, 0]),
    |plan| buffer(plan, "h").shape = vec![usize::MAX, 2],
    |plan| buffer(plan, "h").shape = vec![1 << 32, 1 << 32, 1 << 32],
    |plan| buffer(plan, "h").shape = vec![1 << 60],
    |plan| buffer(plan, "h").shape = vec![7],
    |plan| plan.dispatches[0].operands[1] = BufferId(usize::MAX),
    |plan| plan.dispatches[0].operands = vec![BufferId(0)],
    |plan| plan.dispatches[0].operands.clear(),
    |plan| plan.dispatches[1].operands[1] = plan.dispatches[1].operands[0],
    |plan| *role(plan, "x") = Role::Weight { parameter: "x".into(), transposed: false },
    |plan| *role(plan, "x") = role(plan, "patches").clone(),
    |plan| *kernel(plan, "patchify") = patchify(1, 0),
    |plan| *kernel(plan, "patchify") = patchify(1, 3),
    |plan| *kernel(plan, "patchify") = patchify(0, 4),
    |plan| *kernel(plan, "patchify") = patchify(2, 4),
    |plan| {
        *kernel(plan, "qkv") = Kernel::Matmul { m: usize::MAX, k: 2, n: 3, epilogue: Epilogue::Bias, table: 0 };
    },
    |plan| *kernel(plan, "qkv") = Kernel::Matmul { m: 50, k: 24, n: 72, epilogue: Epilogue::Position, table: 0 },
    |plan| *kernel(plan, "patch") = Kernel::Matmul { m: 50, k: 48, n: 24, epilogue: Epilogue::Bias, table: 25 },
    |plan| {
        *plan = vit(Vit { positions: Positions::Rotation, ..SHAPE });
        buffer(plan, "angles").shape = vec![1, 24, 16];
    },
    |plan| *kernel(plan, "qkv") = turned(0, 0),
    |plan| *kernel(plan, "qkv") = turned(0, 25),
    |plan| *kernel(plan, "qkv") = turned(3, 25),
    |plan| *kernel(plan, "qkv") = turned(10, 25),
    |plan| *kernel(plan, "qkv") = turned(8, 25),
    |plan| *kernel(plan, "qkv") = turned(usize::MAX - 1, 25),
    |plan| *kernel(plan, "norm1") = Kernel::Norm { rows: 50, dim: 24, eps: 1e-6, stride: 24, column: 1 },
    |plan| *kernel(plan, "norm1") = Kernel::Norm { rows: 50, dim: 24, eps: 1e-6, stride: 24, column: usize::MAX },
    |plan| *kernel(plan, "norm1") = Kernel::Norm { rows: 50, dim: 24, eps: f32::INFINITY, stride: 24, column: 0 },
    |plan| *kernel(plan, "attention") = Kernel::Attention { batch: 2, tokens: 25, heads: 0, size: 8, scale: 1.0 },
    |plan| {
        let [tokens, size] = [1 << 62, 1 << 62];
        *kernel(plan, "attention") = Kernel::Attention { batch: 2, tokens, heads: 3, size, scale: 1.0 };
    },
    |plan| {
        *kernel(plan, "attention") =
            Kernel::Attention { batch: 2, tokens: 25, heads: 3, size: 8, scale: f32::INFINITY };
    },
    |plan| *kernel(plan, "pool") = Kernel::Pool { batch: 2, tokens: 0, dim: 24 },
];

/// A sound plan with a fault in it.
fn damaged(damage: fn(&mut Plan)) -> Plan {
    let mut plan = vit(SHAPE);
    damage(&mut plan);
    plan
}

/// No engine may get as far as its weights.
fn unread(buffer: &Buffer) -> Result<Vec<f32>> {
    panic!("{} is asked for", buffer.label)
}

fn said(error: &Error) -> String {
    assert_eq!(error.exit_code(), 4, "{error}");
    assert!(error.remedy().is_some(), "{error}");
    error.to_string()
}

#[test]
fn each_is_refused_by_every_engine_with_the_same_words() {
    let gpu = crate::gpu::wanted("no GPU was given a broken plan")
        .then(|| Arc::new(Gpu::open("vulkan".parse().unwrap(), Bounds::Adapter, Checks::Off).unwrap()));
    let (plan, images) = (vit(SHAPE), draw(1, 2 * 3 * 20 * 20));
    let mut engines: Vec<Box<dyn Engine>> = vec![
        Box::new(CpuEngine::new(plan.clone(), &mut |buffer| Ok(values(buffer))).unwrap()),
        Box::new(TwinEngine::new(plan.clone(), &|buffer| Ok(values(buffer))).unwrap()),
    ];
    if let Some(gpu) = &gpu {
        let engine = GpuEngine::new(Arc::clone(gpu), plan, &|buffer| Ok(values(buffer)), &|_, _| None);
        engines.push(Box::new(engine.unwrap()));
    }
    for engine in &mut engines {
        assert_eq!(engine.run(&images).unwrap().len(), 2 * 24, "the plan was not sound before");
    }

    let mut messages = Vec::new();
    for damage in DAMAGES {
        let plan = || damaged(*damage);
        let message = said(&CpuEngine::new(plan(), &mut unread).unwrap_err());
        assert_eq!(said(&TwinEngine::new(plan(), &unread).unwrap_err()), message);
        if let Some(gpu) = &gpu {
            let refused = GpuEngine::new(Arc::clone(gpu), plan(), &unread, &|_, _| panic!("a tile is asked for"));
            assert_eq!(said(&refused.unwrap_err()), message);
        }
        messages.push(message);
    }
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn a_plan_larger_than_the_machine_is_refused_before_memory_is_taken() {
    let mut plan = vit(SHAPE);
    (0..4).for_each(|slot| add(&mut plan, "large", Role::Scratch { slot: 10 + slot }, vec![1 << 40]));
    let errors = [CpuEngine::new(plan.clone(), &mut unread).unwrap_err(), TwinEngine::new(plan, &unread).unwrap_err()];
    for error in errors {
        assert_eq!(error.exit_code(), 6);
        assert!(error.to_string().contains("of memory are needed"), "{error}");
    }
}

/// The most things of so many bytes each that the machine's memory holds, as a power of two.
fn most(bytes: usize) -> usize {
    let cpu = "cpu".parse().unwrap();
    let fits = |count: &usize| require_memory(cpu, 0.0, bytes as f64 * *count as f64).is_ok();
    (0..40).map(|bits| 1 << bits).take_while(fits).last().unwrap()
}

/// Adds a dispatch of `kernel` with buffers of its own.
fn dispatch(plan: &mut Plan, kernel: Kernel, roles: &[&Role]) {
    let first = plan.buffers.len();
    roles.iter().zip(kernel.lengths()).for_each(|(role, len)| add(plan, "large", (*role).clone(), vec![len]));
    let operands = (first..plan.buffers.len()).map(BufferId).collect();
    plan.dispatches.push(Dispatch { label: "large".into(), kernel, operands });
}

#[test]
fn what_the_processor_takes_beside_the_buffers_is_known_before_it_is_taken() {
    let [read, written] = &[10, 11].map(|slot| Role::Scratch { slot });
    let weight = &Role::Weight { parameter: "w".into(), transposed: false };
    let (mut long, mut narrow) = (vit(SHAPE), vit(SHAPE));
    // Buffers have four values of a token, and each thread's workspace has some hundred.
    let attention = Kernel::Attention { batch: 1, tokens: most(64), heads: 1, size: 1, scale: 1.0 };
    dispatch(&mut long, attention, &[read, written]);
    // A weight of one column is packed as one of 32.
    let product = Kernel::Matmul { m: 1, k: most(1 << 16), n: 1, epilogue: Epilogue::Bias, table: 0 };
    (0..1024).for_each(|_| dispatch(&mut narrow, product, &[read, weight, weight, written]));
    for plan in [long, narrow] {
        runtime::check(&plan).unwrap();
        let error = CpuEngine::new(plan, &mut unread).unwrap_err();
        assert_eq!((error.exit_code(), error.remedy().is_some()), (6, true), "{error}");
        assert!(error.to_string().contains("of memory are needed"), "{error}");
    }
}

#[test]
fn what_the_processor_packs_is_read_as_a_weight_alone() {
    // 108 tokens, so that a table of angles has as many values as the weight.
    let mut plan = vit(Vit { batch: 1, frames: 3, side: 24, ..SHAPE });
    let qkv = plan.dispatches.iter_mut().find(|dispatch| dispatch.label == "qkv").unwrap();
    qkv.kernel = Kernel::Matmul { m: 108, k: 24, n: 72, epilogue: Epilogue::Rotation { size: 8 }, table: 108 };
    qkv.operands.insert(3, qkv.operands[1]);
    assert!(TwinEngine::new(plan.clone(), &|buffer| Ok(values(buffer))).is_ok(), "the sizes fit");
    let message = said(&CpuEngine::new(plan, &mut unread).unwrap_err());
    assert!(message.contains("cannot be its operand 3"), "{message}");
}

#[test]
fn weights_of_bf16_are_for_products_and_for_the_processor() {
    let plan = in_bf16(vit(SHAPE));
    for name in ["h", "patch.b", "pos"] {
        let mut plan = plan.clone();
        buffer(&mut plan, name).dtype = Dtype::Bf16;
        let message = said(&CpuEngine::new(plan, &mut unread).unwrap_err());
        assert!(message.contains(&format!("{name}: only the weights of products")), "{message}");
    }
    assert!(CpuEngine::new(plan.clone(), &mut |buffer| Ok(values(buffer))).is_ok());
    if !crate::gpu::wanted("no GPU was given weights of bf16") {
        return;
    }
    let message = said(&runtime::open("vulkan".parse().unwrap(), plan, TooLarge::Refuse, &unread).err().unwrap());
    assert!(message.contains("a GPU knows no values of bf16"), "{message}");
}

/// Writes a package of the reference's encoder, with `damage` done to its plan and sums that fit.
fn damaged_package(folder: &Path, damage: fn(&mut Plan)) {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference/hf_ijepa");
    let loaded = weights::open(&reference, None).unwrap();
    let read_out = extract::ReadOut { layers: Layers::Last, tokens: Tokens::Pooled, views: Views::One };
    let provenance = Provenance::of(&loaded, Which::Target, read_out, FeatureDtype::F32).unwrap();
    let plan = compile(&loaded.model, 2, Outputs { layers: 1, take: Take::Mean }, Dtype::F32).unwrap();
    package::write(folder, &Contents { loaded: &loaded, plan: &plan, provenance: &provenance }).unwrap();
    let mut plan = plan;
    damage(&mut plan);
    replace(folder, &plan);
}

/// Puts another plan into a package, and sums that fit.
fn replace(folder: &Path, plan: &impl serde::Serialize) {
    std::fs::write(folder.join("plan.json"), serde_json::to_vec(plan).unwrap()).unwrap();
    let manifest = Manifest::read(folder, Whole::Package).unwrap();
    let files = manifest.names().map(|name| FileEntry::of(name, &std::fs::read(folder.join(name)).unwrap()));
    Manifest::new(files.collect()).write(folder).unwrap();
}

#[test]
fn a_package_whose_sums_fit_its_broken_plan_is_refused() {
    let photos = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/photos");
    let breaks: [fn(&mut Plan); 4] = [
        |plan| plan.dispatches[3].operands[0] = BufferId(9999),
        |plan| plan.batch = 1 << 50,
        |plan| buffer(plan, "images").shape = vec![2, 3 * 224 * 224],
        |plan| buffer(plan, "images").shape.swap(1, 3),
    ];
    let mut messages = Vec::new();
    for damage in breaks {
        let place = tempfile::tempdir().unwrap();
        let (package, out) = (place.path().join("package"), place.path().join("features"));
        damaged_package(&package, damage);
        let [package, out] = [&package, &out].map(|path| path.to_str().unwrap());
        let ended = watch(&mut anyjepa(&["extract", photos, "--package", package, "--out", out]));
        assert_eq!(ended.code, 4, "{}", ended.said);
        messages.push(ended.said);
    }
    insta::assert_snapshot!(messages.concat());
}

#[test]
fn a_package_with_any_of_the_plans_is_refused_where_it_is_only_shown() {
    let place = tempfile::tempdir().unwrap();
    let package = place.path().join("package");
    damaged_package(&package, |_| {});
    let inspect = || watch(&mut anyjepa(&["inspect", package.to_str().unwrap()]));
    assert_eq!(inspect().code, 0, "the package was not sound before");
    for (i, damage) in DAMAGES.iter().enumerate() {
        let plan = damaged(*damage);
        replace(&package, &plan);
        let ended = inspect();
        // What no number of JSON can be is none when it is read.
        let message = serde_json::from_slice::<Plan>(&serde_json::to_vec(&plan).unwrap()).ok();
        let message =
            message.map(|plan| said(&runtime::check(&plan).unwrap_err())).unwrap_or_else(|| "plan.json".into());
        assert_eq!(ended.code, 4, "{i}: {}", ended.said);
        assert!(ended.said.contains(&message), "{i}: {}", ended.said);
    }
}

#[test]
fn a_key_that_a_plan_does_not_know_is_refused_wherever_it_stands() {
    /// `value` with a key more in each of its objects, one after the other; a name of a variant is no key.
    fn more(value: &Value) -> Vec<Value> {
        let mut all = Vec::new();
        match value {
            Value::Object(fields) => {
                let mut with = fields.clone();
                with.insert("more".into(), Value::Null);
                all.push(Value::Object(with));
                for (key, field) in fields {
                    all.extend(more(field).into_iter().map(|field| {
                        let mut with = fields.clone();
                        with.insert(key.clone(), field);
                        Value::Object(with)
                    }));
                }
            }
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    all.extend(more(item).into_iter().map(|item| {
                        let mut with = items.clone();
                        with[i] = item;
                        Value::Array(with)
                    }));
                }
            }
            _ => {}
        }
        all
    }
    let plan = serde_json::to_value(vit(Vit { positions: Positions::Rotation, ..SHAPE })).unwrap();
    assert!(serde_json::from_value::<Plan>(plan.clone()).is_ok());
    let longer = more(&plan);
    assert!(longer.len() > 30, "{}", longer.len());
    for plan in longer {
        assert!(serde_json::from_value::<Plan>(plan.clone()).is_err(), "{plan}");
    }
    let place = tempfile::tempdir().unwrap();
    let package = place.path().join("package");
    damaged_package(&package, |_| {});
    replace(&package, &more(&plan)[0]);
    let ended = watch(&mut anyjepa(&["inspect", package.to_str().unwrap()]));
    assert_eq!(ended.code, 4, "{}", ended.said);
    assert!(ended.said.contains("unknown field `more`") && ended.said.contains("compile it again"), "{}", ended.said);
}
