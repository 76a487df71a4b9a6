//! Packages on a GPU: run by what `launches.json` says, as a browser would, and for fewer images at once than it takes.

#[path = "support/gpu.rs"]
mod gpu;

use std::path::Path;

use anyjepa::compile::{Dtype, Outputs, Plan, Take, compile};
use anyjepa::config::Layers;
use anyjepa::data::Batch;
use anyjepa::extract::package::{self, Contents, Package};
use anyjepa::extract::{self, FeatureDtype, Provenance, Tokens, Views};
use anyjepa::runtime::cpu::CpuEngine;
use anyjepa::runtime::gpu::{Bounds, Checks, Gpu};
use anyjepa::weights::{self, Loaded, Which, of_plan};
use safetensors::SafeTensors;
use serde_json::Value;
use wgpu::util::{BufferInitDescriptor, DeviceExt as _};
use wgpu::{BufferUsages, Device, Queue};

/// Of two blocks in f32, by the sums of two devices.
const FEATURES: f32 = 1e-4;

fn vulkan() -> bool {
    gpu::wanted("no package was run on a GPU")
}

/// Writes a package of the reference's encoder for so many images.
fn written(folder: &Path, images: usize) -> (Loaded, Plan) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference/hf_ijepa");
    let loaded = weights::open(&fixture, None).unwrap();
    let plan = compile(&loaded.model, images, Outputs { layers: 1, take: Take::Mean }, Dtype::F32).unwrap();
    let read_out = extract::ReadOut { layers: Layers::Last, tokens: Tokens::Pooled, views: Views::One };
    let provenance = Provenance::of(&loaded, Which::Target, read_out, FeatureDtype::F32).unwrap();
    package::write(folder, &Contents { loaded: &loaded, plan: &plan, provenance: &provenance }).unwrap();
    (loaded, plan)
}

fn pixels(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect()
}

fn assert_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < FEATURES, "{found}, {expected}");
    }
}

/// A Vulkan adapter with what WebGPU promises everywhere.
fn device() -> (Device, Queue) {
    let mut description = wgpu::InstanceDescriptor::new_without_display_handle();
    description.backends = wgpu::Backends::VULKAN;
    let instance = wgpu::Instance::new(description);
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()));
    let adapter = adapter.expect("scripts/test installs a software adapter, ANYJEPA_TEST_GPU=skip does without");
    let limits = wgpu::Limits::default();
    let description = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
    pollster::block_on(adapter.request_device(&description)).unwrap()
}

/// The features of `images` by the package in `folder`: this knows WebGPU, JSON and safetensors, and no type of ours.
fn launched((device, queue): (Device, Queue), folder: &Path, images: &[f32]) -> Vec<f32> {
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let json = |name: &str| -> Value { serde_json::from_slice(&read(name)).unwrap() };
    let stored = read("weights-00001.safetensors");
    let weights = SafeTensors::deserialize(&stored).unwrap();

    let (mut buffers, mut features) = (Vec::new(), 0);
    for (place, buffer) in json("plan.json")["buffers"].as_array().unwrap().iter().enumerate() {
        let values: u64 = buffer["shape"].as_array().unwrap().iter().map(|axis| axis.as_u64().unwrap()).product();
        let zeros = vec![0u8; 4 * values as usize];
        let contents = match (&buffer["role"], buffer["label"].as_str().unwrap()) {
            (Value::String(role), _) if role == "input" => bytemuck::cast_slice(images),
            (Value::String(role), _) if role == "output" => {
                features = place;
                &zeros
            }
            (role, _) if role.get("scratch").is_some() => &zeros,
            (_, label) => weights.tensor(label).unwrap().data(),
        };
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
        buffers.push(device.create_buffer_init(&BufferInitDescriptor { label: None, contents, usage }));
    }

    let mut commands = device.create_command_encoder(&Default::default());
    for launch in json("launches.json").as_array().unwrap() {
        let source = String::from_utf8(read(launch["shader"].as_str().unwrap())).unwrap();
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: launch["label"].as_str(),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let constants = launch["constants"].as_object().unwrap().iter();
        let constants: Vec<(&str, f64)> = constants.map(|(name, value)| (&**name, value.as_f64().unwrap())).collect();
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: launch["label"].as_str(),
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions { constants: &constants, ..Default::default() },
            cache: None,
        });
        let operands = launch["operands"].as_array().unwrap().iter().map(|place| place.as_u64().unwrap() as usize);
        let entries: Vec<_> = (0u32..)
            .zip(operands)
            .map(|(binding, place)| wgpu::BindGroupEntry { binding, resource: buffers[place].as_entire_binding() })
            .collect();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: launch["label"].as_str(),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let workgroups: [u32; 3] = serde_json::from_value(launch["workgroups"].clone()).unwrap();
        let mut pass = commands.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(workgroups[0], workgroups[1], workgroups[2]);
    }

    let size = buffers[features].size();
    let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
    let readable = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
    let readable = device.create_buffer(&readable);
    commands.copy_buffer_to_buffer(&buffers[features], 0, &readable, 0, size);
    queue.submit([commands.finish()]);
    readable.map_async(wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let view = readable.get_mapped_range(..).unwrap();
    bytemuck::cast_slice(&view).to_vec()
}

#[test]
fn a_package_runs_by_what_its_launches_say() {
    if !vulkan() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("package");
    let (loaded, plan) = written(&folder, 2);
    let images = pixels(plan.buffer(plan.input().unwrap()).len());
    let mut engine = CpuEngine::new(plan, &mut |buffer| of_plan(&loaded.tensors, buffer)).unwrap();
    assert_near(&launched(device(), &folder, &images), engine.run(&images).unwrap());
}

#[test]
fn a_package_for_more_images_than_a_gpu_takes_at_once_is_run_for_fewer() {
    if !vulkan() {
        return;
    }
    let gpu = Gpu::open("vulkan".parse().unwrap(), Bounds::Adapter, Checks::Off).unwrap();
    let shape = [3, 3, 64, 64];
    let pixels = pixels(shape.iter().product());
    let image = size_of_val(&pixels[..]) / shape[0];
    let too_many = gpu.adapter().max_binding_bytes as usize / image + 1;

    let place = tempfile::tempdir().unwrap();
    let features = |device: &str, images: usize| {
        let folder = place.path().join(device);
        written(&folder, images);
        let frozen = Package::open(&folder).unwrap().load(device.parse().unwrap(), FeatureDtype::F32).unwrap();
        let batch = Batch { pixels: pixels.clone(), shape, samples: vec![0, 1, 2], ..Batch::default() };
        frozen.engine.encode(&batch).unwrap().values
    };
    assert_near(&features("vulkan", too_many), &features("cpu", 2));
}
