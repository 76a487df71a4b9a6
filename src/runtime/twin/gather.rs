//! What `shaders/gather.wgsl` computes, as plain loops.

/// Writes y, `[R, D]`: the rows of x, `[F, D]`, whose numbers are `kept`, `[R]`, where row F is row 0 again; like all that
/// twins read they are floats, which hold whole numbers exactly up to 2^24.
pub fn gather(dim: usize, x: &[f32], kept: &[f32], y: &mut [f32]) {
    for (row, y) in kept.iter().zip(y.chunks_mut(dim)) {
        y.copy_from_slice(&x[*row as usize % (x.len() / dim) * dim..][..dim]);
    }
}
