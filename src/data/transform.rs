//! From a picture to a network's input: crop, resize, flip, channels, normalisation.

use super::crop::{RandomCrop, centre, short_side_to};
use super::picture::Picture;
use super::resize::{Interpolation, Pixels, Region, Resize, Resizer};
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::random::Stream;

/// The form of a network's input: a normalised square, `[channels, size, size]`.
#[derive(Debug, Clone, PartialEq)]
pub struct InputFormat {
    size: usize,
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
        Ok(Self { size, levels: mean.iter().zip(std).map(|(mean, std)| level(*mean, *std)).collect() })
    }

    /// The input of a configuration's model.
    ///
    /// # Errors
    /// As [`InputFormat::new`].
    pub fn of(config: &RunConfig) -> Result<Self> {
        Self::new(config.model.image_size, &config.data.mean, &config.data.std)
    }

    /// `[channels, height, width]`.
    pub fn shape(&self) -> [usize; 3] {
        [self.levels.len(), self.size, self.size]
    }

    /// Values of one input.
    pub fn values(&self) -> usize {
        self.levels.len() * self.size * self.size
    }

    /// Appends the normalised `picture`, which has the input's size.
    fn append(&self, picture: &[u8], channels: usize, facing: Facing, out: &mut Vec<f32>) {
        out.reserve(self.values());
        for (channel, levels) in self.levels.iter().enumerate() {
            // Grey is repeated in each channel.
            let channel = channel.min(channels - 1);
            for row in picture.chunks_exact(self.size * channels) {
                let values = row.chunks_exact(channels).map(|pixel| levels[usize::from(pixel[channel])]);
                match facing {
                    Facing::Kept => out.extend(values),
                    Facing::Flipped => out.extend(values.rev()),
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Facing {
    Kept,
    Flipped,
}

/// Memory that transforms use again and again; each thread has its own.
#[derive(Debug, Default)]
pub struct Scratch {
    resizer: Resizer,
    grey: Vec<u8>,
    resized: Vec<u8>,
}

impl Scratch {
    /// Puts the window of the resized picture into `self.resized`; gives its channels, at most `channels`.
    fn resize(&mut self, picture: &Picture, channels: usize, resize: Resize) -> usize {
        let pixels = Pixels { width: picture.width, channels: picture.channels, values: &picture.pixels };
        if picture.channels <= channels {
            self.resizer.resize(pixels, &resize, &mut self.resized);
            return picture.channels;
        }
        // Pillow turns a picture grey when it is opened, before it is resized.
        let Region { left, top, width, height } = resize.source;
        self.grey.clear();
        for y in top..top + height {
            let row = &picture.pixels[(y * picture.width + left) * 3..][..width * 3];
            self.grey.extend(row.chunks_exact(3).map(luma));
        }
        let pixels = Pixels { width, channels: 1, values: &self.grey };
        let resize = Resize { source: Region::whole(width, height), ..resize };
        self.resizer.resize(pixels, &resize, &mut self.resized);
        1
    }
}

/// ITU-R 601 luma, (299 R + 587 G + 114 B) / 1000, in Pillow's 16-bit fixed point.
fn luma(rgb: &[u8]) -> u8 {
    let weighted = 19_595 * u32::from(rgb[0]) + 38_470 * u32::from(rgb[1]) + 7_471 * u32::from(rgb[2]);
    ((weighted + 0x8000) >> 16) as u8
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
            _ => Ok(Self { input, geometry }),
        }
    }

    /// The evaluation of a configuration: its `data.resize`, then the centre.
    ///
    /// # Errors
    /// As [`EvalTransform::new`] and [`InputFormat::new`].
    pub fn of(config: &RunConfig) -> Result<Self> {
        let interpolation = Interpolation::Bicubic;
        Self::new(InputFormat::of(config)?, Geometry::CentreCrop { resize: config.data.resize, interpolation })
    }

    /// The form of the inputs.
    pub fn input(&self) -> &InputFormat {
        &self.input
    }

    /// The square before normalisation, as a picture: what a report shows.
    pub fn square(&self, picture: &Picture, scratch: &mut Scratch) -> Picture {
        let channels = self.resize(picture, scratch);
        let (width, height) = (self.input.size, self.input.size);
        Picture { width, height, channels, pixels: scratch.resized.clone() }
    }

    /// Appends the input, `[channels, size, size]`, to `out`.
    pub fn append(&self, picture: &Picture, scratch: &mut Scratch, out: &mut Vec<f32>) {
        let channels = self.resize(picture, scratch);
        self.input.append(&scratch.resized, channels, Facing::Kept, out);
    }

    fn resize(&self, picture: &Picture, scratch: &mut Scratch) -> usize {
        let source = Region::whole(picture.width, picture.height);
        let side = self.input.size;
        let resize = match self.geometry {
            Geometry::CentreCrop { resize, interpolation } => {
                let size = short_side_to(picture.width, picture.height, resize);
                Resize { source, size, window: centre(size.0, size.1, side), interpolation }
            }
            Geometry::Squash { interpolation } => {
                Resize { source, size: (side, side), window: Region::whole(side, side), interpolation }
            }
        };
        scratch.resize(picture, self.input.levels.len(), resize)
    }
}

/// The transform of training: a random crop, resized (bilinear), and a random flip.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainTransform {
    input: InputFormat,
    crop: RandomCrop,
    flip: f64,
}

impl TrainTransform {
    /// Inputs of the form `input` from crops drawn by `crop`, mirrored with the probability `flip`.
    pub fn new(input: InputFormat, crop: RandomCrop, flip: f64) -> Self {
        Self { input, crop, flip }
    }

    /// The training of a configuration.
    ///
    /// # Errors
    /// As [`InputFormat::new`].
    pub fn of(config: &RunConfig) -> Result<Self> {
        let crop = RandomCrop { scale: config.data.crop_scale, aspect: config.data.crop_aspect };
        Ok(Self::new(InputFormat::of(config)?, crop, config.data.flip))
    }

    /// The form of the inputs.
    pub fn input(&self) -> &InputFormat {
        &self.input
    }

    /// Appends the input, `[channels, size, size]`, to `out`; what is random in it comes from `stream`.
    pub fn append(&self, picture: &Picture, stream: &mut Stream, scratch: &mut Scratch, out: &mut Vec<f32>) {
        let source = self.crop.draw(stream, picture.width, picture.height);
        let facing = if stream.unit() < self.flip { Facing::Flipped } else { Facing::Kept };
        let channels = self.resize(picture, source, scratch);
        self.input.append(&scratch.resized, channels, facing, out);
    }

    fn resize(&self, picture: &Picture, source: Region, scratch: &mut Scratch) -> usize {
        let side = self.input.size;
        let window = Region::whole(side, side);
        let resize = Resize { source, size: (side, side), window, interpolation: Interpolation::Bilinear };
        scratch.resize(picture, self.input.levels.len(), resize)
    }
}
