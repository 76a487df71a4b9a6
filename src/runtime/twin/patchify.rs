//! What `shaders/patchify.wgsl` computes, as plain loops.

/// Sizes of images `[B, C, H, W]` that are cut into patches.
pub struct Patchify {
    /// C
    pub channels: usize,
    /// H
    pub height: usize,
    /// W
    pub width: usize,
    /// P
    pub patch: usize,
}

/// Writes the rows, `[B N, C P P]`.
pub fn patchify(sizes: &Patchify, images: &[f32], rows: &mut [f32]) {
    let Patchify { channels, height, width, patch } = *sizes;
    let columns = width / patch;
    let tokens = height / patch * columns;
    for (row, values) in rows.chunks_mut(channels * patch * patch).enumerate() {
        let (image, token) = (row / tokens, row % tokens);
        for channel in 0..channels {
            for y in 0..patch {
                for x in 0..patch {
                    let line = (image * channels + channel) * height + token / columns * patch + y;
                    values[(channel * patch + y) * patch + x] = images[line * width + token % columns * patch + x];
                }
            }
        }
    }
}
