//! Pictures cut into patches and clips into tubelets, each a row of a matrix.

use rayon::prelude::*;

/// The sizes of clips and tubelets; frames and sides beyond whole tubelets are left out. A picture is a clip of one frame.
#[derive(Debug, Clone, Copy)]
pub struct Shapes {
    /// C
    pub channels: usize,
    /// F
    pub frames: usize,
    /// H
    pub height: usize,
    /// W
    pub width: usize,
    /// T
    pub tubelet: usize,
    /// P
    pub patch: usize,
}

/// Copies the tubelets of `images`, `[B, C, F, H, W]`, to `rows`, `[B N, C T P P]`, time after time in raster order; the
/// values of a tubelet are ordered as channel, frame, row, column.
pub fn patchify(images: &[f32], shapes: Shapes, rows: &mut [f32]) {
    let Shapes { channels, frames, height, width, tubelet, patch } = shapes;
    let (times, down, across) = (frames / tubelet, height / patch, width / patch);
    rows.par_chunks_exact_mut(channels * tubelet * patch * patch).enumerate().for_each(|(row, to)| {
        let (place, left) = (row / across, row % across * patch);
        let (place, top) = (place / down, place % down * patch);
        let (sample, first) = (place / times, place % times * tubelet);
        for (i, to) in to.chunks_exact_mut(patch).enumerate() {
            let (plane, y) = (i / patch, i % patch);
            let (channel, t) = (plane / tubelet, plane % tubelet);
            let frame = (sample * channels + channel) * frames + first + t;
            let start = (frame * height + top + y) * width + left;
            to.copy_from_slice(&images[start..start + patch]);
        }
    });
}
