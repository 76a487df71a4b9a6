//! Where weights come from, and how pictures must be prepared for them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{HostTensor, Tensors, architecture};
use crate::config::{ModelConfig, Positions, RunConfig, Sampling};
use crate::data::{EvalTransform, Geometry, InputFormat, Interpolation};
use crate::error::{Error, Kind, Result};

/// Which of a checkpoint's two encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// The moving average, which the published results use.
    #[default]
    Target,
    /// The one that gradients train.
    Context,
}

/// In what form weights were stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// PyTorch's own, as the published checkpoints.
    Pytorch,
    /// A folder of Hugging Face's transformers, or its weights alone.
    HuggingFace,
    /// A run of this crate.
    Run,
    /// Safetensors with the published names.
    Safetensors,
}

/// What must be known of weights before their features may be compared with others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Which encoder; none where the file does not say.
    pub encoder: Option<Which>,
    /// In what form the weights were stored.
    pub format: Format,
    /// The model in words.
    pub model: String,
    /// How a picture becomes an input.
    pub preprocessing: Preprocessing,
    /// Side of the square input, in pixels.
    // Checkpoints that were written before 0.1.0 call this and the sum otherwise.
    #[serde(alias = "resolution")]
    pub image_size: usize,
    /// BLAKE3 of the encoder's tensors, the same in every form in which they can be stored; see [`sum`].
    #[serde(alias = "blake3")]
    pub weights_blake3: String,
}

/// How a picture becomes an input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Mean of each channel, for values from 0 to 1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, for values from 0 to 1.
    pub std: Vec<f32>,
    /// To which size the picture is resized.
    pub resize: Resize,
    /// Side of the square that is cut from the centre afterwards.
    pub crop: Option<usize>,
    /// How the resize weighs pixels.
    pub interpolation: Interpolation,
    /// How films become clips; none where a film is seen as a picture, the frame in its middle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clips: Option<Clips>,
}

/// How films become clips.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clips {
    /// Frames of a clip.
    pub frames: usize,
    /// Which frames, and of how many clips and views.
    pub sampling: Sampling,
}

impl Clips {
    /// None where it asks for a picture.
    fn of(frames: usize, sampling: Sampling) -> Option<Self> {
        (frames > 1 || sampling != Sampling::ONE).then_some(Self { frames, sampling })
    }

    /// Those of the published recipes for `model`.
    pub(super) fn published(model: &ModelConfig) -> Option<Self> {
        let sampling = match (model.frames, model.positions) {
            (..2, _) => Sampling::ONE,
            (_, Positions::Rope) => Sampling { fps: 4.0, ..Sampling::ONE },
            _ => Sampling { stride: 4, ..Sampling::ONE },
        };
        Self::of(model.frames, sampling)
    }
}

/// To which size a picture is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The short side to this many pixels, the shape kept.
    ShortSide(usize),
    /// To this height and width, whatever the shape was.
    Squash(usize, usize),
    /// Not at all.
    None,
}

/// ImageNet's statistics, with which the published checkpoints were trained.
pub(super) const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// Most pixels of a picture's short side: its area is counted in 64 bits with room to spare.
const MOST_SIDE: usize = 1 << 20;
/// Most frames of a clip, far above every model.
const MOST_FRAMES: usize = 1 << 14;

impl Preprocessing {
    /// That of a run, outside training.
    pub fn of(config: &RunConfig) -> Self {
        Self {
            mean: config.data.mean.clone(),
            std: config.data.std.clone(),
            resize: Resize::ShortSide(config.data.resize),
            crop: Some(config.model.image_size),
            interpolation: Interpolation::of_evaluation(config.model.frames),
            clips: Clips::of(config.model.frames, config.data.sampling),
        }
    }

    /// That of the published evaluation: 256 for a crop of 224, and in proportion for others.
    pub fn published(model: &ModelConfig) -> Self {
        let (mean, std) = match model.channels {
            3 => (IMAGENET.0.to_vec(), IMAGENET.1.to_vec()),
            channels => (vec![0.5; channels], vec![0.5; channels]),
        };
        let resize = Resize::ShortSide(model.image_size * 8 / 7);
        let (crop, clips) = (Some(model.image_size), Clips::published(model));
        Self { mean, std, resize, crop, interpolation: Interpolation::of_evaluation(model.frames), clips }
    }

    /// The transform that prepares pictures or clips as this says, to squares of `side` pixels.
    ///
    /// # Errors
    /// A data error where what it says does not end in such squares, or is not among what this crate does.
    pub fn transform(&self, side: usize) -> Result<EvalTransform> {
        let interpolation = self.interpolation;
        let geometry = match (self.resize, self.crop) {
            (Resize::ShortSide(resize), Some(crop)) if crop == side && resize <= MOST_SIDE => {
                Geometry::CentreCrop { resize, interpolation }
            }
            (Resize::Squash(height, width), crop) if [height, width, crop.unwrap_or(side)] == [side; 3] => {
                Geometry::Squash { interpolation }
            }
            _ => {
                let message = format!("the weights ask for {self}, which does not give {side}x{side} pixels");
                return Err(Error::new(Kind::Data, message).with_remedy(
                    "correct the folder's preprocessor_config.json: a resize and a crop to the model's image_size",
                ));
            }
        };
        let Clips { frames, sampling } = self.clips.unwrap_or(Clips { frames: 1, sampling: Sampling::ONE });
        let mut problems = sampling.problems();
        if frames > MOST_FRAMES {
            problems.push(format!("frames = {frames} is more than {MOST_FRAMES}"));
        }
        if !problems.is_empty() {
            let message = format!("the weights ask for clips of {frames} frames, {sampling}: {}", problems.join("; "));
            return Err(Error::new(Kind::Data, message).with_remedy("compile or train them again"));
        }
        let squares = InputFormat::new(side, &self.mean, &self.std)?;
        Ok(EvalTransform::new(squares.of_clips(frames), geometry)?.sampled(sampling))
    }
}

/// BLAKE3 of tensors' names, shapes and values, in the order of their names.
pub fn sum(tensors: &Tensors) -> String {
    let mut sum = Sum::default();
    tensors.iter().for_each(|(name, tensor)| sum.add(name, tensor));
    sum.finish()
}

/// The sum of tensors that come one after the other, in the order of their names; see [`sum`].
#[derive(Default)]
pub(super) struct Sum(blake3::Hasher);

impl Sum {
    pub fn add(&mut self, name: &str, tensor: &HostTensor) {
        // Lengths come first, so that no two different sets give the same bytes.
        self.number(name.len());
        self.0.update(name.as_bytes());
        self.number(tensor.shape.len());
        tensor.shape.iter().for_each(|side| self.number(*side));
        self.0.update(bytemuck::cast_slice(&tensor.values));
    }

    pub fn finish(&self) -> String {
        self.0.finalize().to_hex().to_string()
    }

    fn number(&mut self, number: usize) {
        self.0.update(&(number as u64).to_le_bytes());
    }
}

impl Provenance {
    pub(super) fn new(
        encoder: Option<Which>,
        format: Format,
        model: &ModelConfig,
        preprocessing: Preprocessing,
        weights_blake3: String,
    ) -> Self {
        Self {
            encoder,
            format,
            model: architecture::summary(model),
            preprocessing,
            image_size: model.image_size,
            weights_blake3,
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target => "target",
            Self::Context => "context",
        })
    }
}

impl fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.interpolation {
            Interpolation::Bilinear => "bilinear",
            Interpolation::Bicubic => "bicubic",
            Interpolation::Linear => "linear without antialiasing",
        };
        if let Some(Clips { frames, sampling }) = self.clips {
            write!(f, "{frames} frames, {sampling}, ")?;
        }
        match self.resize {
            Resize::ShortSide(side) => write!(f, "short side to {side} ({how}), ")?,
            Resize::Squash(height, width) => write!(f, "squashed to {height}x{width} ({how}), ")?,
            Resize::None => {}
        }
        if let Some(side) = self.crop {
            write!(f, "centre crop {side}, ")?;
        }
        write!(f, "mean {:?}, std {:?}", self.mean, self.std)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_depends_on_names_shapes_and_values() {
        let tensors = |name: &str, shape: Vec<usize>, values: Vec<f32>| {
            sum(&Tensors::from([(name.to_owned(), HostTensor { shape, values })]))
        };
        let one = tensors("a", vec![2, 1], vec![1.0, 2.0]);
        for other in [
            tensors("b", vec![2, 1], vec![1.0, 2.0]),
            tensors("a", vec![1, 2], vec![1.0, 2.0]),
            tensors("a", vec![2, 1], vec![1.0, 2.5]),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(one, tensors("a", vec![2, 1], vec![1.0, 2.0]));
    }

    #[test]
    fn pictures_are_not_resized_to_sides_whose_area_cannot_be_counted() {
        let model = crate::config::Preset::find("ijepa-vit-h14").unwrap().config().model;
        for resize in [1 << 20, 1 << 60] {
            let resize = Resize::ShortSide(resize);
            let transform = Preprocessing { resize, ..Preprocessing::published(&model) }.transform(224);
            assert_eq!(transform.is_ok(), resize == Resize::ShortSide(MOST_SIDE));
        }
    }

    #[test]
    fn clips_that_no_film_is_cut_into_are_refused_with_the_reason() {
        let model = crate::config::Preset::find("vjepa2-vit-l").unwrap().config().model;
        let published = Preprocessing::published(&model);
        let sampling = published.clips.unwrap().sampling;
        let refused = [(1 << 16, sampling), (16, Sampling { clips: 1 << 40, views: 1 << 40, ..sampling })];
        let said = refused.map(|(frames, sampling)| {
            let clips = Some(Clips { frames, sampling });
            Preprocessing { clips, ..published.clone() }.transform(256).unwrap_err().to_string()
        });
        insta::assert_snapshot!(said.join("\n"), @"
        the weights ask for clips of 65536 frames, 4 a second: frames = 65536 is more than 16384
        the weights ask for clips of 16 frames, 4 a second, 1099511627776 clips x 1099511627776 views: clips = 1099511627776 must be from 1 to 4096; views = 1099511627776 must be from 1 to 4096
        ");
    }

    #[test]
    fn preprocessing_reads_as_a_sentence() {
        let model = crate::config::Preset::find("ijepa-vit-h14").unwrap().config().model;
        insta::assert_snapshot!(Preprocessing::published(&model), @"
        short side to 256 (bicubic), centre crop 224, mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225]
        ");
        let mut run = crate::config::Preset::find("vjepa2-vit-l").unwrap().config();
        assert_eq!(Preprocessing::published(&run.model).clips, Preprocessing::of(&run).clips);
        run.data.sampling.views = 3;
        insta::assert_snapshot!(Preprocessing::of(&run), @"
        16 frames, 4 a second, 1 clips x 3 views, short side to 292 (linear without antialiasing), centre crop 256, mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225]
        ");
    }
}
