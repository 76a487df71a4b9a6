//! Some rows of a matrix that stands again and again, by their numbers.

use rayon::prelude::*;

/// Writes the rows of `x`, `[F, D]`, whose numbers are `kept`, `[R]`, to `y`, `[R, D]`; row F is row 0 again.
pub fn gather(dim: usize, x: &[f32], kept: &[u32], y: &mut [f32]) {
    let from = x.len() / dim;
    let rows = y.par_chunks_exact_mut(dim).zip(kept);
    rows.for_each(|(y, row)| y.copy_from_slice(&x[*row as usize % from * dim..][..dim]));
}
