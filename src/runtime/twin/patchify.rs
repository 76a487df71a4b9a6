//! What `shaders/patchify.wgsl` computes, as plain loops.

/// Sizes of clips `[B, C, F, H, W]` that are cut into tubelets; of pictures F and T are 1.
pub struct Patchify {
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

/// Writes the rows, `[B N, C T P P]`.
pub fn patchify(sizes: &Patchify, images: &[f32], rows: &mut [f32]) {
    let Patchify { channels, frames, height, width, tubelet, patch } = *sizes;
    let columns = width / patch;
    let area = height / patch * columns;
    let tokens = frames / tubelet * area;
    for (row, values) in rows.chunks_mut(channels * tubelet * patch * patch).enumerate() {
        let (clip, token) = (row / tokens, row % tokens);
        let (time, top, left) = (token / area * tubelet, token % area / columns * patch, token % columns * patch);
        for channel in 0..channels {
            for t in 0..tubelet {
                for y in 0..patch {
                    for x in 0..patch {
                        let line = ((clip * channels + channel) * frames + time + t) * height + top + y;
                        values[((channel * tubelet + t) * patch + y) * patch + x] = images[line * width + left + x];
                    }
                }
            }
        }
    }
}
