//! The mean over the tokens of an image.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Tokens that are summed before their sum is added to the whole, for the sake of rounding.
const STRETCH: usize = 64;

/// Writes the mean over the tokens of `x`, `[B, N, D]`, to `y`, `[B, D]`.
pub fn pool(arch: Arch, [tokens, dim]: [usize; 2], x: &[f32], y: &mut [f32]) {
    y.par_chunks_exact_mut(dim).zip(x.par_chunks_exact(tokens * dim)).for_each(|(y, x)| arch.dispatch(Mean { x, y }));
}

/// The tokens of one image and their mean.
struct Mean<'a, 'b> {
    x: &'a [f32],
    y: &'b mut [f32],
}

impl WithSimd for Mean<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        /// Columns that are summed side by side.
        const WIDTH: usize = 16;
        let Self { x, y } = self;
        let dim = y.len();
        for (block, y) in y.chunks_mut(WIDTH).enumerate() {
            let mut total = [0.0; WIDTH];
            for x in x.chunks(STRETCH * dim) {
                let mut sums = [0.0; WIDTH];
                for row in x.chunks_exact(dim) {
                    let row = &row[block * WIDTH..][..y.len()];
                    sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                }
                total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            }
            let count = (x.len() / dim) as f32;
            y.iter_mut().zip(total).for_each(|(y, total)| *y = total / count);
        }
    }
}
