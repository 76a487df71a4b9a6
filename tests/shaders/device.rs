//! The device that tests compute on, and operations on it.

use std::sync::{Arc, OnceLock};

use anyjepa::compile::wgsl::Tile;
use anyjepa::compile::{Buffer, BufferId, Dispatch, Dtype, Epilogue, Kernel, Plan, Role};
use anyjepa::random::{Purpose, Stream};
use anyjepa::runtime::gpu::{Bounds, Checks, Gpu, GpuEngine};
use anyjepa::runtime::twin;
use half::f16;

/// The adapter with WebGPU's default limits and with checks of bounds; none where the tests are to do without.
pub fn gpu() -> Option<Arc<Gpu>> {
    static GPU: OnceLock<Option<Arc<Gpu>>> = OnceLock::new();
    GPU.get_or_init(|| {
        if !crate::gpu::wanted("no shader was run") {
            return None;
        }
        let opened = Gpu::open("vulkan".parse().unwrap(), Bounds::WebGpu, Checks::On);
        let opened = opened.unwrap_or_else(|error| {
            panic!("{error}; scripts/test installs a software adapter, ANYJEPA_TEST_GPU=skip does without")
        });
        Some(Arc::new(opened))
    })
    .clone()
}

/// Normal values, of a seed.
pub fn normal(seed: u64, count: usize, scale: f32) -> Vec<f32> {
    let mut stream = Stream::new(seed, 0, 0, Purpose::Augment);
    (0..count).map(|_| stream.normal() as f32 * scale).collect()
}

/// As they are stored.
pub fn stored(values: &[f32], dtype: Dtype) -> Vec<f32> {
    match dtype {
        Dtype::F16 => values.iter().map(|value| f16::from_f32(*value).to_f32()).collect(),
        _ => values.to_vec(),
    }
}

/// A kernel with the values of its operands; the last are what its result holds before it runs.
pub struct Operation {
    pub label: String,
    pub kernel: Kernel,
    pub operands: Vec<(Dtype, Vec<f32>)>,
}

impl Operation {
    /// `kernel` on normal values, over a poisoned result; `half` stores in 16 bits what a plan of f16 does.
    pub fn new(kernel: Kernel, half: bool) -> Self {
        let lengths = kernel.lengths();
        let operands = lengths.iter().zip(dtypes(&kernel, half)).enumerate().map(|(place, (length, dtype))| {
            let scale = match (kernel, place) {
                // So that sums are of the size of their terms.
                (Kernel::Matmul { k, .. }, 1) => 1.0 / (k as f32).sqrt(),
                _ => 1.0,
            };
            let is_result = place + 1 == lengths.len();
            let adds = matches!(kernel, Kernel::Matmul { epilogue: Epilogue::Residual, .. });
            let values = match is_result && !adds {
                true => vec![f32::NAN; *length],
                // In no order, and some more than once.
                false if dtype == Dtype::U32 => {
                    let Kernel::Gather { from, .. } = kernel else { panic!("{kernel:?} takes no numbers of rows") };
                    (0..*length).map(|row| ((row * 7919 + 3) % from) as f32).collect()
                }
                false => stored(&normal(place as u64 + 1, *length, scale), dtype),
            };
            (dtype, values)
        });
        let operands = operands.collect();
        Self { label: format!("{kernel:?}{}", if half { " in f16" } else { "" }), kernel, operands }
    }

    /// The same with other values of the operand at `place`, `made` from its number of values; `what` is said of them.
    pub fn on(mut self, what: &str, place: usize, made: impl FnOnce(usize) -> Vec<f32>) -> Self {
        let (dtype, values) = &mut self.operands[place];
        *values = stored(&made(values.len()), *dtype);
        self.label += what;
        self
    }

    /// What the twin computes.
    pub fn expected(&self) -> Vec<f32> {
        let (result, read) = self.operands.split_last().unwrap();
        let read: Vec<&[f32]> = read.iter().map(|(_, values)| values.as_slice()).collect();
        let mut y = result.1.clone();
        twin::run(&self.kernel, &read, &mut y).unwrap();
        y
    }
}

/// How the operands of `kernel` are stored in a plan of f32, or of f16.
pub fn dtypes(kernel: &Kernel, half: bool) -> Vec<Dtype> {
    let count = kernel.lengths().len();
    let narrow = |place: usize| match kernel {
        Kernel::Gather { .. } | Kernel::Pool { .. } => false,
        Kernel::Matmul { epilogue: Epilogue::Residual | Epilogue::Position, .. } => place < 2,
        Kernel::Matmul { .. } => place < 2 || place + 1 == count,
        Kernel::Attention { .. } => true,
        Kernel::Norm { .. } | Kernel::Patchify { .. } => place + 1 == count,
    };
    let stored = |place: usize| match kernel {
        Kernel::Gather { .. } if place == 1 => Dtype::U32,
        _ if half && narrow(place) => Dtype::F16,
        _ => Dtype::F32,
    };
    (0..count).map(stored).collect()
}

/// One plan of many operations that do not know each other, and the buffer of each result; where several gather, all of
/// them gather the same rows.
pub fn plan(operations: &[Operation]) -> (Plan, Vec<BufferId>) {
    let one = |label: &str, role| Buffer { label: label.into(), role, shape: vec![1], dtype: Dtype::F32 };
    let mut buffers = vec![one("images", Role::Input), one("features", Role::Output)];
    let (mut dispatches, mut results, mut kept) = (Vec::new(), Vec::new(), None);
    for (number, operation) in operations.iter().enumerate() {
        let mut operands = Vec::new();
        for (place, (dtype, values)) in operation.operands.iter().enumerate() {
            let is_result = place + 1 == operation.operands.len();
            if let (Dtype::U32, Some(kept)) = (dtype, kept) {
                operands.push(kept);
                continue;
            }
            let parameter = format!("{number} {place}");
            let role = match is_result {
                true => Role::Scratch { slot: number },
                false if *dtype == Dtype::U32 => {
                    kept = Some(BufferId(buffers.len()));
                    Role::Kept
                }
                false => Role::Weight { parameter: parameter.clone(), transposed: false },
            };
            operands.push(BufferId(buffers.len()));
            buffers.push(Buffer { label: parameter, role, shape: vec![values.len()], dtype: *dtype });
        }
        results.push(*operands.last().unwrap());
        dispatches.push(Dispatch { label: operation.label.clone(), kernel: operation.kernel, operands });
    }
    (Plan { batch: 1, dtype: Dtype::F32, buffers, dispatches }, results)
}

/// What the device computes, operation by operation.
pub fn computed(gpu: &Arc<Gpu>, operations: &[Operation], tile: Option<Tile>) -> Vec<Vec<f32>> {
    let (plan, results) = plan(operations);
    let weights = |buffer: &Buffer| {
        let (number, place) = buffer.label.split_once(' ').unwrap();
        Ok(operations[number.parse::<usize>().unwrap()].operands[place.parse::<usize>().unwrap()].1.clone())
    };
    let mut engine = GpuEngine::new(gpu.clone(), plan, &weights, &|_, _| tile).unwrap();
    for (_, rows) in
        operations.iter().flat_map(|operation| &operation.operands).filter(|(dtype, _)| *dtype == Dtype::U32)
    {
        engine.keep(&rows.iter().map(|row| *row as u32).collect::<Vec<_>>()).unwrap();
    }
    for (operation, result) in operations.iter().zip(&results) {
        engine.write(*result, &operation.operands.last().unwrap().1).unwrap();
    }
    engine.run(&[0.0]).unwrap();
    results.iter().map(|result| engine.read(*result).unwrap()).collect()
}
