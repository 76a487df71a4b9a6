//! Images cut into patches, each a row of a matrix.

use rayon::prelude::*;

/// The sizes of images and patches; the sides are multiples of the patch's.
#[derive(Debug, Clone, Copy)]
pub struct Shapes {
    /// C
    pub channels: usize,
    /// H
    pub height: usize,
    /// W
    pub width: usize,
    /// P
    pub patch: usize,
}

/// Copies the patches of `images`, `[B, C, H, W]`, to `rows`, `[B N, C P P]`, in raster order; the values of a patch are
/// ordered as channel, row, column.
pub fn patchify(images: &[f32], shapes: Shapes, rows: &mut [f32]) {
    let Shapes { channels, height, width, patch } = shapes;
    let across = width / patch;
    let tokens = height / patch * across;
    rows.par_chunks_exact_mut(channels * patch * patch).enumerate().for_each(|(row, to)| {
        let (sample, token) = (row / tokens, row % tokens);
        let (top, left) = (token / across * patch, token % across * patch);
        for (i, to) in to.chunks_exact_mut(patch).enumerate() {
            let (channel, y) = (i / patch, i % patch);
            let start = ((sample * channels + channel) * height + top + y) * width + left;
            to.copy_from_slice(&images[start..start + patch]);
        }
    });
}
