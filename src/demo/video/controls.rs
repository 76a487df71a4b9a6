//! Controls: what becomes of a probe when the frames of a clip come in another order, or are all the same.

use serde::Serialize;

use crate::data::Batch;
use crate::error::Result;
use crate::extract::{FeatureEngine, Shape};
use crate::matrix::Matrix;
use crate::random::{Purpose, Stream};

/// What is done to the frames of a clip before the encoder sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Nothing.
    None,
    /// The frame in the middle stands for all: there is no motion to be seen.
    Repeated,
    /// They come in an order of their own for each clip: there is motion, but no direction.
    Shuffled,
    /// They come backwards: the direction is the opposite.
    Reversed,
}

impl Control {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Repeated, Self::Shuffled, Self::Reversed];

    /// As it stands in tables and before clips.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "as they are",
            Self::Repeated => "one frame repeated",
            Self::Shuffled => "frames shuffled",
            Self::Reversed => "backwards",
        }
    }

    /// Which frame stands at each place of a clip of `sample`.
    fn order(self, frames: usize, sample: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..frames).collect();
        match self {
            Self::None => (),
            Self::Repeated => order.fill(frames / 2),
            Self::Shuffled => Stream::new(0, 0, sample, Purpose::Shuffle).shuffle(&mut order),
            Self::Reversed => order.reverse(),
        }
        order
    }

    /// The batch of clips of `frames` frames as the encoder is to see it.
    pub(super) fn apply(self, batch: &Batch, frames: usize) -> Batch {
        let mut seen = batch.clone();
        let [inputs, planes, height, width] = batch.shape;
        let (plane, clip) = (height * width, planes * height * width);
        for input in 0..inputs {
            let order = self.order(frames, batch.samples[input]);
            for at in 0..planes {
                // The frames of a channel stand side by side.
                let from = at / frames * frames + order[at % frames];
                let source = &batch.pixels[input * clip + from * plane..][..plane];
                seen.pixels[input * clip + at * plane..][..plane].copy_from_slice(source);
            }
        }
        seen
    }
}

/// An engine that sees clips of `frames` frames under a control.
pub(super) struct Controlled<'a> {
    pub engine: &'a dyn FeatureEngine,
    pub frames: usize,
    pub control: Control,
}

impl FeatureEngine for Controlled<'_> {
    fn encode(&self, batch: &Batch) -> Result<Matrix> {
        self.engine.encode(&self.control.apply(batch, self.frames))
    }

    fn shape(&self) -> Shape {
        self.engine.shape()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two clips of three frames, two channels and one pixel: the value is `100 input + 10 channel + frame`.
    fn batch() -> Batch {
        let value = |at: usize| (100 * (at / 6) + 10 * (at / 3 % 2) + at % 3) as f32;
        Batch { pixels: (0..12).map(value).collect(), shape: [2, 6, 1, 1], samples: vec![4, 9], ..Batch::default() }
    }

    #[test]
    fn frames_are_moved_within_their_channel_and_clip() {
        let seen = |control: Control| control.apply(&batch(), 3).pixels;
        assert_eq!(seen(Control::None), batch().pixels);
        assert_eq!(seen(Control::Repeated), [1., 1., 1., 11., 11., 11., 101., 101., 101., 111., 111., 111.]);
        assert_eq!(seen(Control::Reversed), [2., 1., 0., 12., 11., 10., 102., 101., 100., 112., 111., 110.]);
    }

    #[test]
    fn a_clip_is_shuffled_by_its_number_alone_and_alike_in_all_channels() {
        let order = |sample| Control::Shuffled.order(16, sample);
        assert_eq!(order(3), order(3));
        assert_ne!(order(3), order(4));
        let mut sorted = order(3);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..16).collect::<Vec<_>>());
        let pixels = Control::Shuffled.apply(&batch(), 3).pixels;
        let clips = pixels.chunks_exact(6);
        assert!(clips.clone().all(|clip| (0..3).all(|t| clip[t] + 10.0 == clip[3 + t])));
    }
}
