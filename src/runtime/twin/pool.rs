//! What `shaders/pool.wgsl` computes, as plain loops.

/// Writes y, `[B, D]`: the mean over the tokens of x, `[B, N, D]`.
pub fn pool(tokens: usize, dim: usize, x: &[f32], y: &mut [f32]) {
    for (x, y) in x.chunks(tokens * dim).zip(y.chunks_mut(dim)) {
        for (column, y) in y.iter_mut().enumerate() {
            let sum: f64 = x.chunks(dim).map(|row| f64::from(row[column])).sum();
            *y = (sum / tokens as f64) as f32;
        }
    }
}
