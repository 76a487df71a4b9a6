//! From a picture or a clip to a network's input: crop, resize, flip, channels, normalisation.
//!
//! Shapes: `C` channels, `T` frames, `H` rows, `W` columns. What is drawn is drawn once for all frames of a clip.

use super::crop::{RandomCrop, centre, short_side_to};
use super::picture::Picture;
use super::resize::{Interpolation, Pixels, Region, Resize, Resizer};
use crate::config::{RunConfig, Sampling};
use crate::error::{Error, Result};
use crate::random::Stream;

/// The form of a network's input: normalised squares, `[C, T, size, size]`.
#[derive(Debug, Clone, PartialEq)]
pub struct InputFormat {
    size: usize,
    frames: usize,
    /// For each channel, what each of the 256 levels becomes.
    levels: Vec<[f32; 256]>,
}

impl InputFormat {
    /// Squares of `size` pixels, each channel as `(level / 255 - mean) / std`; one mean is grey, three are RGB.
    ///
    /// # Errors
    /// A usage error where there are not one or three means and as many positive standard deviations.
    pub fn new(size: usize, mean: &[f32], std: &[f32]) -> Result<Self> {
        if size == 0 || !matches!(mean.len(), 1 | 3) || std.len() != mean.len() {
            return Err(Error::usage(format!(
                "an input has a size, 1 or 3 means and as many standard deviations; found size {size}, mean {mean:?}, std {std:?}"
            )));
        }
        if !std.iter().all(|std| *std > 0.0) {
            return Err(Error::usage(format!("standard deviations are positive, found {std:?}")));
        }
        // Reference: the division by 255 comes first, in f32.
        let level = |mean: f32, std: f32| std::array::from_fn(|level| (level as f32 / 255.0 - mean) / std);
        Ok(Self { size, frames: 1, levels: mean.iter().zip(std).map(|(mean, std)| level(*mean, *std)).collect() })
    }

    /// The input of a configuration's model.
    ///
    /// # Errors
    /// As [`InputFormat::new`].
    pub fn of(config: &RunConfig) -> Result<Self> {
        let squares = Self::new(config.model.image_size, &config.data.mean, &config.data.std)?;
        Ok(squares.of_clips(config.model.frames))
    }

    /// The same squares, `frames` of them.
    #[must_use]
    pub fn of_clips(self, frames: usize) -> Self {
        Self { frames: frames.max(1), ..self }
    }

    /// Frames of one input; 1 is a picture.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// `[C T, H, W]`: the frames of a channel stand side by side.
    pub fn shape(&self) -> [usize; 3] {
        [self.levels.len() * self.frames, self.size, self.size]
    }

    /// Values of one input.
    pub fn values(&self) -> usize {
        self.levels.len() * self.frames * self.size * self.size
    }

    /// Puts a normalised picture, which has the input's size, at the frames `at` of the input `out`.
    fn put(
        &self,
        (picture, channels): (&[u8], usize),
        facing: Facing,
        at: impl Iterator<Item = usize>,
        out: &mut [f32],
    ) {
        let plane = self.size * self.size;
        for t in at {
            for (channel, levels) in self.levels.iter().enumerate() {
                let out = &mut out[(channel * self.frames + t) * plane..][..plane];
                // Grey is repeated in each channel.
                let channel = channel.min(channels - 1);
                let rows = picture.chunks_exact(self.size * channels).zip(out.chunks_exact_mut(self.size));
                for (row, out) in rows {
                    let values = row.chunks_exact(channels).map(|pixel| levels[usize::from(pixel[channel])]);
                    match facing {
                        Facing::Kept => out.iter_mut().zip(values).for_each(|(out, value)| *out = value),
                        Facing::Flipped => out.iter_mut().rev().zip(values).for_each(|(out, value)| *out = value),
                    }
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Facing {
    Kept,
    Flipped,
}

/// Which part of every frame is seen, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    resize: Resize,
    facing: Facing,
}

impl Cut {
    /// Puts what is seen of `picture` at the frames `at` of each of the inputs `outs`, of the form `input`.
    pub fn put<'a, At: Iterator<Item = usize>>(
        &self,
        input: &InputFormat,
        picture: &Picture,
        scratch: &mut Scratch,
        outs: impl Iterator<Item = (At, &'a mut [f32])>,
    ) {
        let channels = scratch.resize(picture, input.levels.len(), self.resize);
        for (at, out) in outs {
            input.put((&scratch.resized, channels), self.facing, at, out);
        }
    }

    /// Appends what is seen of `picture` as an input of its own, the same in all frames.
    pub fn append(&self, input: &InputFormat, picture: &Picture, scratch: &mut Scratch, out: &mut Vec<f32>) {
        let start = out.len();
        out.resize(start + input.values(), 0.0);
        self.put(input, picture, scratch, std::iter::once((0..input.frames, &mut out[start..])));
    }
}

/// Memory that transforms use again and again; each thread has its own.
#[derive(Debug, Default)]
pub struct Scratch {
    resizer: Resizer,
    resized: Vec<u8>,
}

impl Scratch {
    /// Puts the window of the resized picture into `self.resized`; gives its channels, at most `channels`.
    fn resize(&mut self, picture: &Picture, channels: usize, resize: Resize) -> usize {
        let wanted = picture.channels.min(channels);
        let Picture { width, channels, pixels: ref values, .. } = *picture;
        self.resizer.resize(Pixels { width, channels, wanted, values }, &resize, &mut self.resized);
        wanted
    }
}

/// What of a picture is seen outside training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Geometry {
    /// The short side is resized to `resize`, then the centre is cropped: the papers' evaluation, bicubic.
    CentreCrop {
        /// The short side before the crop, at least the input's size.
        resize: usize,
        /// How the resize weighs pixels.
        interpolation: Interpolation,
    },
    /// The whole picture is resized to the square, whatever its aspect: the Hugging Face processor, bilinear.
    Squash {
        /// How the resize weighs pixels.
        interpolation: Interpolation,
    },
}

/// The transform outside training: nothing in it is random.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalTransform {
    input: InputFormat,
    geometry: Geometry,
    sampling: Sampling,
}

impl EvalTransform {
    /// Inputs of the form `input`, seen as `geometry` says.
    ///
    /// # Errors
    /// A usage error where no crop of the input's size fits into the resized picture.
    pub fn new(input: InputFormat, geometry: Geometry) -> Result<Self> {
        match geometry {
            Geometry::CentreCrop { resize, .. } if resize < input.size => {
                Err(Error::usage(format!("a picture resized to {resize} has no centre crop of {}", input.size))
                    .with_remedy(format!("set data.resize to {} or more", input.size)))
            }
            _ => Ok(Self { input, geometry, sampling: Sampling::ONE }),
        }
    }

    /// The same, of the clips and views that `sampling` says.
    #[must_use]
    pub fn sampled(self, sampling: Sampling) -> Self {
        Self { sampling, ..self }
    }

    /// Which clips of a film are seen, and how often.
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// The evaluation of a configuration: its `data.sampling`, then its `data.resize` and the centre.
    ///
    /// # Errors
    /// As [`EvalTransform::new`] and [`InputFormat::new`].
    pub fn of(config: &RunConfig) -> Result<Self> {
        let interpolation = Interpolation::of_evaluation(config.model.frames);
        let geometry = Geometry::CentreCrop { resize: config.data.resize, interpolation };
        Ok(Self::new(InputFormat::of(config)?, geometry)?.sampled(config.data.sampling))
    }

    /// The form of the inputs.
    pub fn input(&self) -> &InputFormat {
        &self.input
    }

    /// The square before normalisation, as a picture: what a report shows.
    pub fn square(&self, picture: &Picture, scratch: &mut Scratch) -> Picture {
        let channels =
            scratch.resize(picture, self.input.levels.len(), self.cut(picture.width, picture.height, 0.5).resize);
        let (width, height) = (self.input.size, self.input.size);
        Picture { width, height, channels, pixels: scratch.resized.clone() }
    }

    /// Appends the input, `[C, T, size, size]`, to `out`: the centre, the same in all frames.
    pub fn append(&self, picture: &Picture, scratch: &mut Scratch, out: &mut Vec<f32>) {
        self.cut(picture.width, picture.height, 0.5).append(&self.input, picture, scratch, out);
    }

    /// The views of frames of this size, from one end of the longer side to the other; one is in the middle.
    pub(super) fn cuts(&self, width: usize, height: usize) -> Vec<Cut> {
        let place = |view: usize| match self.sampling.views {
            ..2 => 0.5,
            views => view as f64 / (views - 1) as f64,
        };
        (0..self.sampling.views.max(1)).map(|view| self.cut(width, height, place(view))).collect()
    }

    /// The view that lies at `place`, from 0 to 1, on the longer side.
    fn cut(&self, width: usize, height: usize, place: f64) -> Cut {
        let source = Region::whole(width, height);
        let side = self.input.size;
        let resize = match self.geometry {
            Geometry::CentreCrop { resize, interpolation } => {
                let size = short_side_to(width, height, resize);
                let mut window = centre(size.0, size.1, side);
                // The middle is where `centre` has it, halves to the even side.
                if place != 0.5 {
                    let on_it = |space: usize| (space as f64 * place) as usize;
                    match size.0 > size.1 {
                        true => window.left = on_it(size.0 - side),
                        false => window.top = on_it(size.1 - side),
                    }
                }
                Resize { source, size, window, interpolation }
            }
            Geometry::Squash { interpolation } => {
                Resize { source, size: (side, side), window: Region::whole(side, side), interpolation }
            }
        };
        Cut { resize, facing: Facing::Kept }
    }
}

/// The transform of training: a random crop, resized (bilinear; clips without antialiasing), and a random flip.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainTransform {
    input: InputFormat,
    crop: RandomCrop,
    flip: f64,
    sampling: Sampling,
}

impl TrainTransform {
    /// Inputs of the form `input` from crops drawn by `crop`, mirrored with the probability `flip`.
    pub fn new(input: InputFormat, crop: RandomCrop, flip: f64) -> Self {
        Self { input, crop, flip, sampling: Sampling::ONE }
    }

    /// The same, of clips as `sampling` says.
    #[must_use]
    pub fn sampled(self, sampling: Sampling) -> Self {
        Self { sampling, ..self }
    }

    /// How the frames of a clip lie in a film.
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// The training of a configuration.
    ///
    /// # Errors
    /// As [`InputFormat::new`].
    pub fn of(config: &RunConfig) -> Result<Self> {
        let crop = RandomCrop { scale: config.data.crop_scale, aspect: config.data.crop_aspect };
        Ok(Self::new(InputFormat::of(config)?, crop, config.data.flip).sampled(config.data.sampling))
    }

    /// The form of the inputs.
    pub fn input(&self) -> &InputFormat {
        &self.input
    }

    /// Appends the input, `[C, T, size, size]`, to `out`; what is random in it comes from `stream`.
    pub fn append(&self, picture: &Picture, stream: &mut Stream, scratch: &mut Scratch, out: &mut Vec<f32>) {
        self.cut(picture.width, picture.height, stream).append(&self.input, picture, scratch, out);
    }

    /// The part of frames of this size that is seen of a whole clip.
    pub(super) fn cut(&self, width: usize, height: usize, stream: &mut Stream) -> Cut {
        let source = self.crop.draw(stream, width, height);
        let facing = if stream.unit() < self.flip { Facing::Flipped } else { Facing::Kept };
        let side = self.input.size;
        // Reference: pictures are resized by Pillow, clips by torch.
        let interpolation = if self.input.frames > 1 { Interpolation::Linear } else { Interpolation::Bilinear };
        let resize = Resize { source, size: (side, side), window: Region::whole(side, side), interpolation };
        Cut { resize, facing }
    }
}
