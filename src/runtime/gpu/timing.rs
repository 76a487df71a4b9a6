//! How long each dispatch takes on the device, by its own clock.

use std::time::Duration;

use wgpu::{BufferUsages, ComputePassDescriptor, ComputePassTimestampWrites};

use super::adapter::Gpu;
use super::faults::guarded;
use super::memory::map;
use super::pipeline::Launch;
use crate::error::Result;

/// Launches all, each in a pass of its own between two readings of the clock; nothing where the device shows none.
///
/// # Errors
/// A device error where the device fails.
pub fn time(gpu: &Gpu, launches: &[(Launch, wgpu::BindGroup)]) -> Result<Option<Vec<Duration>>> {
    let count = 2 * launches.len() as u32;
    let readable = gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
    if !readable || !(1..=wgpu::QUERY_SET_MAX_QUERIES).contains(&count) {
        return Ok(None);
    }
    let bytes = u64::from(count) * 8;
    let buffer = |label, usage| {
        let description = wgpu::BufferDescriptor { label: Some(label), size: bytes, usage, mapped_at_creation: false };
        gpu.device.create_buffer(&description)
    };
    let readings = guarded(&gpu.device, "time the plan", || {
        let clock = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("clock"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let resolved = buffer("clock", BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC);
        let readings = buffer("clock readings", BufferUsages::MAP_READ | BufferUsages::COPY_DST);
        let mut commands = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("time") });
        for (i, (launch, group)) in (0_u32..).zip(launches) {
            let mut pass = commands.begin_compute_pass(&ComputePassDescriptor {
                label: Some("time"),
                timestamp_writes: Some(ComputePassTimestampWrites {
                    query_set: &clock,
                    beginning_of_pass_write_index: Some(2 * i),
                    end_of_pass_write_index: Some(2 * i + 1),
                }),
            });
            launch.add_to(&mut pass, group);
        }
        commands.resolve_query_set(&clock, 0..count, &resolved, 0);
        commands.copy_buffer_to_buffer(&resolved, 0, &readings, 0, bytes);
        gpu.queue.submit([commands.finish()]);
        readings
    })?;
    let readings = map(gpu, &readings, bytes as usize, "read the device's clock")?;
    let period = f64::from(gpu.queue.get_timestamp_period());
    let ticks: Vec<u64> = readings
        .chunks_exact(8)
        .map(|b| u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
        .collect();
    // A clock may step back between two readings.
    let times = ticks.chunks_exact(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 * period);
    Ok(Some(times.map(|nanoseconds| Duration::from_nanos(nanoseconds as u64)).collect()))
}
