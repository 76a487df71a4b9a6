//! Compiles a plan's shaders: each variant once, with each set of constants once, on all processors.

use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;

use rayon::prelude::*;
use wgpu::{BindGroupLayout, BindGroupLayoutEntry, BindingType, BufferBindingType, ShaderStages};

use super::adapter::{Checks, Gpu};
use super::faults::guarded;
use super::trusted;
use crate::compile::wgsl::{self, Shader, Tile};
use crate::compile::{Dtype, Kernel, Plan};
use crate::error::{Error, Result};
use crate::runtime::check::FEWER;

/// A dispatch, ready to be launched but for its bind group.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The shader's variant.
    pub shader: String,
    pub layout: Arc<BindGroupLayout>,
    pipeline: Arc<wgpu::ComputePipeline>,
    workgroups: [u32; 3],
}

/// The tile that a matrix product takes, whose operands are stored as given; where it names none, a rule decides.
pub type TileChoice<'a> = &'a dyn Fn(&Kernel, &[Dtype]) -> Option<Tile>;

impl Launch {
    /// Adds it to a pass.
    pub fn add_to(&self, pass: &mut wgpu::ComputePass<'_>, group: &wgpu::BindGroup) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, group, &[]);
        let [x, y, z] = self.workgroups;
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Compiles what a plan launches.
///
/// # Errors
/// A usage error where no shader serves a dispatch; a device error where the driver refuses one.
pub fn compile(gpu: &Gpu, plan: &Plan, tile: TileChoice<'_>) -> Result<Vec<Launch>> {
    let mut shaders = Vec::new();
    for dispatch in &plan.dispatches {
        let stored: Vec<_> = dispatch.operands.iter().map(|id| plan.buffer(*id).dtype).collect();
        let shader = wgsl::shader(&dispatch.kernel, &stored, tile(&dispatch.kernel, &stored))?;
        fits(gpu, &dispatch.label, &shader)?;
        shaders.push(shader);
    }
    let mut layouts: BTreeMap<usize, Arc<BindGroupLayout>> = BTreeMap::new();
    let mut variants: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, (shader, dispatch)) in shaders.iter().zip(&plan.dispatches).enumerate() {
        let bindings = dispatch.operands.len();
        if let Entry::Vacant(missing) = layouts.entry(bindings) {
            missing.insert(Arc::new(layout(gpu, bindings)?));
        }
        let wanted = variants.entry(&shader.permutation).or_default();
        if !wanted.iter().any(|other| shaders[*other].constants == shader.constants) {
            wanted.push(i);
        }
    }
    let variants: Vec<Vec<usize>> = variants.into_values().collect();
    let compiled = variants.into_par_iter().map(|places| {
        let shader = &shaders[places[0]];
        let module = module(gpu, shader)?;
        let pipelines = places.into_par_iter().map(|i| {
            let layout = &layouts[&plan.dispatches[i].operands.len()];
            pipeline(gpu, &module, &shaders[i], &plan.dispatches[i].label, layout).map(|made| (i, Arc::new(made)))
        });
        pipelines.collect::<Result<Vec<_>>>()
    });
    let compiled: Vec<(usize, Arc<wgpu::ComputePipeline>)> =
        compiled.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    let launches = shaders.iter().zip(&plan.dispatches).map(|(shader, dispatch)| {
        let same = |other: &Shader| other.permutation == shader.permutation && other.constants == shader.constants;
        let (_, pipeline) = compiled
            .iter()
            .find(|(i, _)| same(&shaders[*i]))
            .ok_or_else(|| Error::device(format!("{} was not compiled", dispatch.label)))?;
        let layout = layouts[&dispatch.operands.len()].clone();
        Ok(Launch {
            shader: shader.permutation.clone(),
            pipeline: pipeline.clone(),
            layout,
            workgroups: shader.workgroups,
        })
    });
    launches.collect()
}

fn module(gpu: &Gpu, shader: &Shader) -> Result<wgpu::ShaderModule> {
    let description = wgpu::ShaderModuleDescriptor {
        label: Some(&shader.permutation),
        source: wgpu::ShaderSource::Wgsl(shader.source.as_str().into()),
    };
    guarded(&gpu.device, &format!("compile {}", shader.permutation), || match gpu.checks {
        Checks::On => gpu.device.create_shader_module(description),
        Checks::Off => trusted::module(&gpu.device, description),
    })
}

fn pipeline(
    gpu: &Gpu,
    module: &wgpu::ShaderModule,
    shader: &Shader,
    label: &str,
    layout: &BindGroupLayout,
) -> Result<wgpu::ComputePipeline> {
    let doing = format!("compile {} for {label}", shader.permutation);
    guarded(&gpu.device, &doing, || {
        let layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(label),
            bind_group_layouts: &[Some(layout)],
            ..Default::default()
        });
        gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(label),
            layout: Some(&layout),
            module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &shader.constants,
                // Every shader writes its memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        })
    })
}

fn layout(gpu: &Gpu, bindings: usize) -> Result<BindGroupLayout> {
    let entry = |binding: usize| BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: ShaderStages::COMPUTE,
        ty: BindingType::Buffer {
            ty: BufferBindingType::Storage { read_only: binding + 1 < bindings },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    };
    let entries: Vec<_> = (0..bindings).map(entry).collect();
    let label = format!("{bindings} operands");
    let description = wgpu::BindGroupLayoutDescriptor { label: Some(&label), entries: &entries };
    guarded(&gpu.device, "lay out bindings", || gpu.device.create_bind_group_layout(&description))
}

/// # Errors
/// A device error that says what of `shader` is more than the device has.
pub fn fits(gpu: &Gpu, label: &str, shader: &Shader) -> Result<()> {
    let limits = gpu.device.limits();
    let axis = shader.workgroups.into_iter().max().unwrap_or_default();
    let bounds = [
        ("bytes of workgroup memory", shader.workgroup_bytes, limits.max_compute_workgroup_storage_size),
        ("threads a workgroup", shader.threads, limits.max_compute_invocations_per_workgroup),
        ("workgroups along an axis", axis, limits.max_compute_workgroups_per_dimension),
    ];
    match bounds.into_iter().find(|(_, needed, most)| needed > most) {
        None => Ok(()),
        Some((what, needed, most)) => {
            let device = &gpu.adapter().device;
            let message = format!("{label} ({}) takes {needed} {what}, and {device} has {most}", shader.permutation);
            Err(Error::device(message).with_remedy(format!("take {FEWER}, or another device of `anyjepa devices`")))
        }
    }
}
