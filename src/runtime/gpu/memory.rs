//! A plan's buffers on a device: weights and images each in their own, scratch memory by slots.

use std::sync::mpsc;

use half::f16;
use wgpu::{BufferDescriptor, BufferUsages};

use super::adapter::Gpu;
use super::faults::{SMALLER, caught, guarded, lost};
use crate::compile::{Buffer, BufferId, Dtype, Plan, Role};
use crate::error::{Error, Result};
use crate::runtime::Weights;
use crate::runtime::check::{self, IN_F32, count, halves};

/// Bytes of weights that wait in the host's memory before the device is given time to take them.
const IN_FLIGHT: usize = 64 << 20;

/// A plan's buffers, and one to read them through.
#[derive(Debug)]
pub struct Memory {
    buffers: Vec<wgpu::Buffer>,
    staging: wgpu::Buffer,
}

impl Memory {
    /// Makes all buffers and fills the weights.
    ///
    /// # Errors
    /// A device error that names the buffer which is too large; whatever `weights` reports.
    pub fn new(gpu: &Gpu, plan: &Plan, weights: Weights<'_>) -> Result<Self> {
        plan.buffers.iter().try_for_each(|buffer| fits(gpu, buffer))?;
        if gpu.adapter().software {
            check::memory(plan)?;
        }
        let slots = plan.slots().into_iter().enumerate();
        let slots = slots.map(|(slot, bytes)| make(gpu, &format!("slot {slot}"), bytes)).collect::<Result<Vec<_>>>()?;
        let mut buffers = Vec::new();
        let mut waiting = 0;
        for buffer in &plan.buffers {
            let made = match buffer.role {
                Role::Scratch { slot } => slots[slot].clone(),
                _ => make(gpu, &buffer.label, buffer.bytes())?,
            };
            if buffer.role.is_constant() {
                let values = weights(buffer)?;
                write(gpu, &made, buffer, &values)?;
                waiting += buffer.bytes();
                if waiting > IN_FLIGHT {
                    gpu.queue.submit([]);
                    wait(gpu, "bring the weights to the device")?;
                    waiting = 0;
                }
            }
            buffers.push(made);
        }
        let largest = plan.buffers.iter().filter(|buffer| buffer.role == Role::Output).map(Buffer::bytes).max();
        let staging = staging(gpu, largest.unwrap_or(4))?;
        Ok(Self { buffers, staging })
    }

    /// What a bind group binds for a buffer: as much as it holds, of a slot that may be larger.
    pub fn binding(&self, plan: &Plan, id: BufferId) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.buffers[id.0],
            offset: 0,
            size: std::num::NonZeroU64::new(padded(plan.buffer(id).bytes())),
        })
    }

    /// Writes all values of a buffer.
    pub fn write(&self, gpu: &Gpu, plan: &Plan, id: BufferId, values: &[f32]) -> Result<()> {
        write(gpu, &self.buffers[id.0], plan.buffer(id), values)
    }

    /// Writes the numbers of rows.
    pub fn write_rows(&self, gpu: &Gpu, plan: &Plan, id: BufferId, rows: &[u32]) -> Result<()> {
        let doing = format!("write {}", plan.buffer(id).label);
        guarded(&gpu.device, &doing, || gpu.queue.write_buffer(&self.buffers[id.0], 0, bytemuck::cast_slice(rows)))
    }

    /// Adds to `commands` what makes a buffer's values readable after it.
    pub fn fetch(&mut self, gpu: &Gpu, plan: &Plan, id: BufferId, commands: &mut wgpu::CommandEncoder) -> Result<()> {
        let bytes = padded(plan.buffer(id).bytes());
        if self.staging.size() < bytes {
            self.staging = staging(gpu, plan.buffer(id).bytes())?;
        }
        commands.copy_buffer_to_buffer(&self.buffers[id.0], 0, &self.staging, 0, bytes);
        Ok(())
    }

    /// The values that the last commands made readable.
    pub fn fetched(&self, gpu: &Gpu, buffer: &Buffer) -> Result<Vec<f32>> {
        let bytes = map(gpu, &self.staging, buffer.bytes(), &format!("read {}", buffer.label))?;
        Ok(match buffer.dtype {
            Dtype::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            _ => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        })
    }
}

/// Waits for the device, and copies the first bytes of a buffer that the host can read.
pub fn map(gpu: &Gpu, buffer: &wgpu::Buffer, bytes: usize, doing: &str) -> Result<Vec<u8>> {
    let failed = |why: &dyn std::fmt::Display| lost(doing, &why.to_string());
    let (send, receive) = mpsc::channel();
    let slice = buffer.slice(..padded(bytes));
    slice.map_async(wgpu::MapMode::Read, move |mapped| {
        // Nobody listens any more where the wait has failed.
        let _ = send.send(mapped);
    });
    wait(gpu, doing)?;
    receive.recv().map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    let view = slice.get_mapped_range().map_err(|error| failed(&error))?;
    let values = view[..bytes].to_vec();
    drop(view);
    buffer.unmap();
    Ok(values)
}

/// Waits until the device has done all it was given.
pub fn wait(gpu: &Gpu, doing: &str) -> Result<()> {
    let waited = caught(doing, || gpu.device.poll(wgpu::PollType::wait_indefinitely()));
    gpu.faults.check(doing)?;
    waited?.map(|_| ()).map_err(|error| lost(doing, &error.to_string()))
}

/// Copies are of whole words.
fn padded(bytes: usize) -> u64 {
    bytes.next_multiple_of(4) as u64
}

fn make(gpu: &Gpu, label: &str, bytes: usize) -> Result<wgpu::Buffer> {
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
    let description = BufferDescriptor { label: Some(label), size: padded(bytes), usage, mapped_at_creation: false };
    let doing = format!("make the buffer {label} of {bytes} bytes");
    guarded(&gpu.device, &doing, || gpu.device.create_buffer(&description))
}

fn staging(gpu: &Gpu, bytes: usize) -> Result<wgpu::Buffer> {
    let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
    let description =
        BufferDescriptor { label: Some("staging"), size: padded(bytes), usage, mapped_at_creation: false };
    guarded(&gpu.device, "make the buffer that results are read through", || gpu.device.create_buffer(&description))
}

fn write(gpu: &Gpu, to: &wgpu::Buffer, buffer: &Buffer, values: &[f32]) -> Result<()> {
    count(buffer, values)?;
    let doing = format!("write {}", buffer.label);
    let bytes: std::borrow::Cow<'_, [u8]> = match buffer.dtype {
        Dtype::F16 => {
            let mut bytes = halves(buffer, values)?;
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.into()
        }
        _ => bytemuck::cast_slice(values).into(),
    };
    guarded(&gpu.device, &doing, || gpu.queue.write_buffer(to, 0, &bytes))
}

/// # Errors
/// A device error that names the buffer, where it is larger than the device binds or of values it cannot compute with.
fn fits(gpu: &Gpu, buffer: &Buffer) -> Result<()> {
    let limits = gpu.device.limits();
    let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
    if padded(buffer.bytes()) > most {
        return Err(Error::device(format!(
            "the buffer {} takes {} bytes, and {} binds at most {most}",
            buffer.label,
            buffer.bytes(),
            gpu.adapter().device
        ))
        .with_remedy(SMALLER));
    }
    let serves = match buffer.dtype {
        Dtype::F32 | Dtype::U32 => true,
        Dtype::F16 => gpu.device.features().contains(wgpu::Features::SHADER_F16),
        Dtype::Bf16 => false,
    };
    if !serves {
        let what = if buffer.dtype == Dtype::F16 { "f16" } else { "bf16" };
        let message = format!("{} cannot compute with {what}, as {} asks", gpu.adapter().device, buffer.label);
        return Err(Error::device(message).with_remedy(IN_F32));
    }
    Ok(())
}
