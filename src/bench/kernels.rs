//! How long each kind of dispatch of a compiled encoder takes.

use serde::Serialize;

use super::clock::median;
use crate::data::Batch;
use crate::error::Result;
use crate::extract::{CompiledEngine, Timed};

/// The dispatches of a plan that do the same on values of the same shapes.
#[derive(Debug, Clone, Serialize)]
pub struct KernelTime {
    /// What they do, with shapes: `matmul 196x768x2304`.
    pub kernel: String,
    /// By which variant of a shader, which says the tile of a product; none on the processor.
    pub shader: Option<String>,
    /// How many.
    pub dispatches: usize,
    /// Seconds of all of them, one after the other, each the median of its repetitions.
    pub seconds: f64,
    /// Thousand millions of additions and multiplications a second; none where the clock is too coarse to show them.
    pub gflops: Option<f64>,
    /// Thousand millions of bytes that they read and write a second, if nothing is cached; likewise.
    pub gigabytes_per_second: Option<f64>,
}

/// Times each dispatch of `engine` on `batch` by the device's own clock, `repetitions` times; kinds in the order of the
/// plan, and none where the device shows no clock or no repetition is asked for.
///
/// # Errors
/// A device error where the device fails.
pub fn measure(engine: &CompiledEngine, batch: &Batch, repetitions: usize) -> Result<Vec<KernelTime>> {
    let mut runs: Vec<Vec<Timed>> = Vec::new();
    for _ in 0..repetitions {
        runs.extend(engine.time(batch)?);
    }
    let Some(first) = runs.first() else {
        if repetitions > 0 {
            tracing::warn!("the device shows no clock: its dispatches are not timed");
        }
        return Ok(Vec::new());
    };
    let mut kinds: Vec<(KernelTime, [f64; 2])> = Vec::new();
    for (i, Timed { kernel, shader, bytes, .. }) in first.iter().enumerate() {
        let mut seconds: Vec<f64> = runs.iter().map(|run| run[i].time.as_secs_f64()).collect();
        seconds.sort_unstable_by(f64::total_cmp);
        let name = kernel.to_string();
        let at =
            kinds.iter().position(|(kind, _)| kind.kernel == name && kind.shader == *shader).unwrap_or_else(|| {
                let (shader, none) = (shader.clone(), None);
                let kind = KernelTime {
                    kernel: name,
                    shader,
                    dispatches: 0,
                    seconds: 0.0,
                    gflops: none,
                    gigabytes_per_second: none,
                };
                kinds.push((kind, [0.0; 2]));
                kinds.len() - 1
            });
        let (kind, [flops, moved]) = &mut kinds[at];
        kind.dispatches += 1;
        kind.seconds += median(&seconds).unwrap_or(f64::NAN);
        *flops += kernel.flops() as f64;
        *moved += *bytes as f64;
    }
    let rated = |(kind, [flops, moved]): (KernelTime, [f64; 2])| {
        let rate = |count: f64| (kind.seconds > 0.0).then(|| count / kind.seconds / 1e9);
        KernelTime { gflops: rate(flops), gigabytes_per_second: rate(moved), ..kind }
    };
    Ok(kinds.into_iter().map(rated).collect())
}
