//! Some rows of a matrix, by their numbers.

use rayon::prelude::*;

/// Writes the rows of `x`, `[F, D]`, whose numbers are `kept`, `[R]`, to `y`, `[R, D]`; every number is below F.
pub fn gather(dim: usize, x: &[f32], kept: &[u32], y: &mut [f32]) {
    let rows = y.par_chunks_exact_mut(dim).zip(kept);
    rows.for_each(|(y, row)| y.copy_from_slice(&x[*row as usize * dim..][..dim]));
}
