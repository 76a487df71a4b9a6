//! What `shaders/attention.wgsl` computes, as plain loops.

use rayon::prelude::*;

/// Sizes of self-attention over packed queries, keys and values.
pub struct Attention {
    /// N
    pub tokens: usize,
    /// H
    pub heads: usize,
    /// K
    pub size: usize,
    /// Of the scores.
    pub scale: f32,
}

/// Writes y, `[B, N, H K]`, from `qkv`, `[B, N, 3, H, K]`.
pub fn attention(sizes: &Attention, qkv: &[f32], y: &mut [f32]) {
    let Attention { tokens, heads, size, scale } = *sizes;
    let width = heads * size;
    let at = |token: usize, which: usize, head: usize| (token * 3 + which) * width + head * size;
    y.par_chunks_mut(width).enumerate().for_each(|(query, y)| {
        let keys = query / tokens * tokens..(query / tokens + 1) * tokens;
        for head in 0..heads {
            let q = &qkv[at(query, 0, head)..][..size];
            let scores: Vec<f64> =
                keys.clone().map(|key| dot(q, &qkv[at(key, 1, head)..]) * f64::from(scale)).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
            let total: f64 = weights.iter().sum();
            for (column, y) in y[head * size..][..size].iter_mut().enumerate() {
                let values = keys.clone().map(|key| f64::from(qkv[at(key, 2, head) + column]));
                *y = (values.zip(&weights).map(|(value, weight)| value * weight).sum::<f64>() / total) as f32;
            }
        }
    });
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
