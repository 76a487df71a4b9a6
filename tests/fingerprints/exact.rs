//! A plan by plain loops in 64 bits: what an engine would give that rounds nothing but what the plan stores in 16 bits.

use anyjepa::compile::{Buffer, Dtype, Epilogue, Kernel, Plan};
use half::{bf16, f16};
use rayon::prelude::*;

/// The result of a dispatch.
pub struct Layer {
    pub label: String,
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

/// Runs `plan` over `images`; `constant` gives the values of its weights, `gelu` is what follows some products.
pub fn run(plan: &Plan, constant: &dyn Fn(&Buffer) -> Vec<f32>, images: &[f32], gelu: fn(f64) -> f64) -> Vec<Layer> {
    let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
    let held = plan.buffers.iter().map(|buffer| match buffer.role.is_constant() {
        true => stored(wide(&constant(buffer)), buffer.dtype),
        false => vec![0.0; buffer.len()],
    });
    let mut memory: Vec<Vec<f64>> = held.collect();
    memory[plan.input().unwrap().0] = wide(images);
    let mut layers = Vec::new();
    for dispatch in &plan.dispatches {
        let [read @ .., write] = &dispatch.operands[..] else { panic!("{} writes nothing", dispatch.label) };
        let mut y = std::mem::take(&mut memory[write.0]);
        let mut x: Vec<&[f64]> = read.iter().map(|read| memory[read.0].as_slice()).collect();
        // What weights of bfloat16 are multiplied with is rounded to it.
        let narrow = read.get(1).is_some_and(|weight| plan.buffer(*weight).dtype == Dtype::Bf16);
        let rounded = narrow.then(|| stored(x[0].to_vec(), Dtype::Bf16));
        if let Some(rounded) = &rounded {
            x[0] = rounded;
        }
        compute(&dispatch.kernel, &x, &mut y, gelu);
        let buffer = plan.buffer(*write);
        memory[write.0] = stored(y, buffer.dtype);
        let (label, shape) = (dispatch.label.clone(), buffer.shape.clone());
        layers.push(Layer { label, shape, values: memory[write.0].clone() });
    }
    layers
}

fn stored(mut values: Vec<f64>, dtype: Dtype) -> Vec<f64> {
    match dtype {
        Dtype::F32 | Dtype::U32 => {}
        Dtype::F16 => values.iter_mut().for_each(|value| *value = f16::from_f64(*value).to_f64()),
        Dtype::Bf16 => values.iter_mut().for_each(|value| *value = bf16::from_f64(*value).to_f64()),
    }
    values
}

fn compute(kernel: &Kernel, read: &[&[f64]], y: &mut [f64], gelu: fn(f64) -> f64) {
    match *kernel {
        Kernel::Patchify { channels, frames, height, width, tubelet, patch, .. } => {
            let (down, across) = (height / patch, width / patch);
            let depth = channels * tubelet * patch * patch;
            for (i, y) in y.iter_mut().enumerate() {
                let (token, part) = (i / depth, i % depth);
                let time = token / (down * across);
                let clip = time / (frames / tubelet);
                let frame = time % (frames / tubelet) * tubelet + part / (patch * patch) % tubelet;
                let channel = part / (tubelet * patch * patch);
                let row = token / across % down * patch + part / patch % patch;
                let column = token % across * patch + part % patch;
                *y = read[0][(((clip * channels + channel) * frames + frame) * height + row) * width + column];
            }
        }
        Kernel::Matmul { k, n, epilogue, .. } => product(k, n, epilogue, read, y, gelu),
        Kernel::Norm { dim, eps, stride, column, .. } => {
            for (x, y) in read[0].chunks(dim).zip(y.chunks_mut(stride)) {
                let mean = x.iter().sum::<f64>() / dim as f64;
                let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / dim as f64;
                for i in 0..dim {
                    y[column + i] = (x[i] - mean) / (variance + f64::from(eps)).sqrt() * read[1][i] + read[2][i];
                }
            }
        }
        Kernel::Attention { tokens, heads, size, scale, .. } => {
            let width = heads * size;
            y.par_chunks_mut(size).enumerate().for_each(|(i, y)| {
                let (query, head) = (i / heads, i % heads);
                let at = |token: usize, part: usize| &read[0][(token * 3 + part) * width + head * size..][..size];
                let keys = query / tokens * tokens..(query / tokens + 1) * tokens;
                let dot = |key: usize| at(query, 0).iter().zip(at(key, 1)).map(|(q, k)| q * k).sum::<f64>();
                let scores: Vec<f64> = keys.clone().map(|key| dot(key) * f64::from(scale)).collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let shares: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
                let total: f64 = shares.iter().sum();
                y.fill(0.0);
                for (key, share) in keys.zip(shares) {
                    y.iter_mut().zip(at(key, 2)).for_each(|(y, value)| *y += share / total * value);
                }
            });
        }
        Kernel::Pool { tokens, dim, .. } => {
            for (x, y) in read[0].chunks(tokens * dim).zip(y.chunks_mut(dim)) {
                y.fill(0.0);
                x.iter().enumerate().for_each(|(i, x)| y[i % dim] += x / tokens as f64);
            }
        }
        Kernel::Gather { .. } => panic!("no token is left out here"),
    }
}

fn product(k: usize, n: usize, epilogue: Epilogue, read: &[&[f64]], y: &mut [f64], gelu: fn(f64) -> f64) {
    let [x, w, bias, table @ ..] = read else { panic!("a product of {} operands", read.len()) };
    y.par_chunks_mut(n).zip(x.par_chunks(k)).enumerate().for_each(|(row, (y, x))| {
        let mut sums = bias.to_vec();
        for (x, w) in x.iter().zip(w.chunks(n)) {
            sums.iter_mut().zip(w).for_each(|(sum, w)| *sum += x * w);
        }
        for (column, y) in y.iter_mut().enumerate() {
            *y = match epilogue {
                Epilogue::Bias => sums[column],
                Epilogue::Gelu => gelu(sums[column]),
                Epilogue::Residual => *y + sums[column],
                Epilogue::Position => sums[column] + table[0][(row * n + column) % table[0].len()],
                Epilogue::Rotation { size } if column < n / 3 * 2 => {
                    let angles = &table[0][row * 2 * size % table[0].len()..][..2 * size];
                    sums[column] * angles[column % size] + sums[column ^ 1] * angles[size + column % size]
                }
                Epilogue::Rotation { .. } => sums[column],
            };
        }
    });
}
