//! A clip as it was decoded: what reports and demonstrations show.

use crate::data::picture::Picture;

/// Frames of a film. `T` frames, `H` rows, `W` columns, `C` channels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Clip {
    /// `T`.
    pub frames: usize,
    /// `H`.
    pub height: usize,
    /// `W`.
    pub width: usize,
    /// `C`: 1 for grey, 3 for red, green, blue.
    pub channels: usize,
    /// `[T, H, W, C]`.
    pub pixels: Vec<u8>,
    /// When each frame is shown, in seconds from the film's start.
    pub times: Vec<f64>,
}

impl Clip {
    /// Frame `t`, which is below `frames`, as a picture.
    pub fn picture(&self, t: usize) -> Picture {
        let Self { height, width, channels, .. } = *self;
        let size = height * width * channels;
        Picture { width, height, channels, pixels: self.pixels[t * size..][..size].to_vec() }
    }

    /// Puts `picture` at the frames `at`, after making room for all of them where this is the first.
    pub(in crate::data) fn put(&mut self, picture: &Picture, at: impl Iterator<Item = usize>) {
        let size = picture.pixels.len();
        if self.pixels.is_empty() {
            (self.height, self.width, self.channels) = (picture.height, picture.width, picture.channels);
            self.pixels.resize(self.frames * size, 0);
        }
        at.for_each(|t| self.pixels[t * size..][..size].copy_from_slice(&picture.pixels));
    }
}
