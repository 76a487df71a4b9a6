//! Hugging Face's folders: `config.json`, `preprocessor_config.json`, and weights in one file or several.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Clips, Preprocessing, Resize, Store, Which, hf_vjepa2};
use crate::config::{ModelConfig, Positions, PredictorConfig};
use crate::data::Interpolation;
use crate::error::{Error, IoContext as _, Result};

pub(super) const CONFIG: &str = "config.json";
pub(super) const PREPROCESSOR: &str = "preprocessor_config.json";
/// Where a model of clips has it.
const VIDEO_PREPROCESSOR: &str = "video_preprocessor_config.json";
pub(super) const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// `config.json` of an I-JEPA; what is left out has the library's default.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    architectures: Vec<String>,
    model_type: String,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    layer_norm_eps: f64,
    image_size: Side,
    patch_size: Side,
    num_channels: usize,
    qkv_bias: bool,
    /// Ours: which encoder it is. The library keeps what it does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    anyjepa_encoder: Option<Which>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            architectures: vec!["IJepaModel".into()],
            model_type: "ijepa".into(),
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-12,
            image_size: Side::Square(224),
            patch_size: Side::Square(16),
            num_channels: 3,
            qkv_bias: true,
            anyjepa_encoder: None,
        }
    }
}

/// A side, or height and width.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum Side {
    Square(usize),
    Both([usize; 2]),
}

impl Side {
    fn square(self) -> Option<usize> {
        match self {
            Self::Square(side) => Some(side),
            Self::Both([height, width]) => (height == width).then_some(height),
        }
    }
}

impl Config {
    /// The configuration that the library needs for `model`.
    pub fn of(model: &ModelConfig, encoder: Option<Which>) -> Self {
        Self {
            hidden_size: model.dim,
            num_hidden_layers: model.depth,
            num_attention_heads: model.heads,
            intermediate_size: model.mlp,
            layer_norm_eps: model.norm_eps,
            image_size: Side::Square(model.image_size),
            patch_size: Side::Square(model.patch_size),
            num_channels: model.channels,
            anyjepa_encoder: encoder,
            ..Self::default()
        }
    }

    /// The encoder it describes; the layout has no predictor, so `predictor` stands in for it.
    fn model(&self) -> Result<ModelConfig, String> {
        if self.model_type != "ijepa" {
            return Err(format!("the model type is `{}`, expected `ijepa` or `vjepa2`", self.model_type));
        }
        if self.hidden_act != "gelu" {
            return Err(format!("hidden_act is `{}`, expected `gelu`, the exact one", self.hidden_act));
        }
        if !self.qkv_bias {
            return Err("qkv_bias is false; I-JEPA's encoders have one".into());
        }
        let square = |side: Side, name: &str| side.square().ok_or_else(|| format!("{name} is no square"));
        let (image_size, patch_size) = (square(self.image_size, "image_size")?, square(self.patch_size, "patch_size")?);
        let model = ModelConfig {
            image_size,
            patch_size,
            frames: 1,
            tubelet: 1,
            channels: self.num_channels,
            dim: self.hidden_size,
            depth: self.num_hidden_layers,
            heads: self.num_attention_heads,
            mlp: self.intermediate_size,
            norm_eps: self.layer_norm_eps,
            positions: Positions::Ijepa,
            predictor: published_predictor(self.num_attention_heads),
        };
        match model.encoder_problems() {
            problems if problems.is_empty() => Ok(model),
            problems => Err(format!("no such model can be made: {}", problems.join("; "))),
        }
    }
}

/// The predictor of the published recipes, for weights that come without one.
fn published_predictor(heads: usize) -> PredictorConfig {
    PredictorConfig { dim: 384, depth: 12, heads, mlp: 1536, mask_tokens: 1 }
}

/// Whether `folder` holds a model of the library.
pub(super) fn is_folder(folder: &Path) -> bool {
    folder.join(CONFIG).is_file() && [WEIGHTS, INDEX].iter().any(|name| folder.join(name).is_file())
}

/// The model that the folder's `config.json` describes, and which encoder it is.
///
/// # Errors
/// A data error where it describes anything else than an I-JEPA or a V-JEPA 2.
pub(super) fn model(folder: &Path) -> Result<(ModelConfig, Which)> {
    let path = folder.join(CONFIG);
    let kind: BTreeMap<String, Value> = json(&path)?;
    // Defaults are for what is left out of an I-JEPA's configuration, not for a file of another kind.
    if !kind.contains_key("model_type") {
        return Err(Error::data(&path, "no configuration of a model: it names no `model_type`"));
    }
    let (model, encoder) = match kind.get("model_type").and_then(Value::as_str) {
        Some(hf_vjepa2::MODEL_TYPE) => (json::<hf_vjepa2::Config>(&path)?.model(), None),
        _ => {
            let config: Config = json(&path)?;
            (config.model(), config.anyjepa_encoder)
        }
    };
    let model = model.map_err(|problem| {
        Error::data(&path, problem).with_remedy("give the folder of an I-JEPA or a V-JEPA 2 model")
    })?;
    // The conversions of the published checkpoints ship the encoder that gradients trained.
    Ok((model, encoder.unwrap_or(Which::Context)))
}

/// The tensors of the folder's weights.
///
/// # Errors
/// A data error where a file is missing or damaged.
pub(super) fn store(folder: &Path) -> Result<Store> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index = folder.join(INDEX);
    if !index.is_file() {
        return Store::safetensors(&folder.join(WEIGHTS));
    }
    let Index { weight_map } = json(&index)?;
    let files: BTreeSet<&String> = weight_map.values().collect();
    let mut whole: Option<Store> = None;
    for file in files {
        // A shard stands beside its index; a path could lead anywhere.
        if Path::new(file).file_name() != Some(file.as_ref()) {
            return Err(Error::data(&index, format!("`{file}` is no file's name")));
        }
        let shard = Store::safetensors(&folder.join(file))?;
        match &mut whole {
            None => whole = Some(shard),
            Some(whole) => whole.entries.extend(shard.entries),
        }
    }
    let whole = whole.ok_or_else(|| Error::data(&index, "it names no file"))?;
    match weight_map.keys().find(|name| !whole.entries.contains_key(*name)) {
        Some(name) => Err(Error::data(&index, format!("{name} stands in no file of the folder"))),
        None => Ok(whole),
    }
}

/// `preprocessor_config.json`, as far as it is understood.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Preprocessor {
    image_processor_type: String,
    do_resize: bool,
    size: Size,
    resample: u8,
    do_center_crop: bool,
    crop_size: Option<Size>,
    do_rescale: bool,
    rescale_factor: f64,
    do_normalize: bool,
    image_mean: Vec<f32>,
    image_std: Vec<f32>,
}

/// The defaults of the library's ViT image processor.
impl Default for Preprocessor {
    fn default() -> Self {
        Self {
            image_processor_type: "ViTImageProcessor".into(),
            do_resize: true,
            size: Size::Exact { height: 224, width: 224 },
            resample: BILINEAR,
            do_center_crop: false,
            crop_size: None,
            do_rescale: true,
            rescale_factor: RESCALE,
            do_normalize: true,
            image_mean: vec![0.5; 3],
            image_std: vec![0.5; 3],
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum Size {
    Short { shortest_edge: usize },
    Exact { height: usize, width: usize },
    Square(usize),
}

/// Pillow's numbers.
const BILINEAR: u8 = 2;
const BICUBIC: u8 = 3;
/// From 8 bits to 0..1.
const RESCALE: f64 = 1.0 / 255.0;

/// What the folder says of preprocessing; none where it says nothing.
///
/// # Errors
/// A data error where it asks for something that this crate does not do.
pub(super) fn preprocessing(folder: &Path, model: &ModelConfig) -> Result<Option<Preprocessing>> {
    let of_clips = if model.frames > 1 { Some(VIDEO_PREPROCESSOR) } else { None };
    let names = of_clips.into_iter().chain([PREPROCESSOR]);
    let Some(path) = names.map(|name| folder.join(name)).find(|path| path.is_file()) else { return Ok(None) };
    let stated: Preprocessor = json(&path)?;
    stated.preprocessing(model).map(Some).map_err(|problem| Error::data(&path, problem))
}

impl Preprocessor {
    /// What the library needs to prepare pictures as `preprocessing` says.
    pub fn of(preprocessing: &Preprocessing) -> Self {
        let side = |side| Size::Exact { height: side, width: side };
        let (do_resize, size) = match preprocessing.resize {
            Resize::ShortSide(side) => (true, Size::Short { shortest_edge: side }),
            Resize::Squash(height, width) => (true, Size::Exact { height, width }),
            Resize::None => (false, side(preprocessing.crop.unwrap_or_default())),
        };
        Self {
            do_resize,
            size,
            resample: match preprocessing.interpolation {
                // The library has no word for the difference between the two.
                Interpolation::Bilinear | Interpolation::Linear => BILINEAR,
                Interpolation::Bicubic => BICUBIC,
            },
            do_center_crop: preprocessing.crop.is_some(),
            crop_size: preprocessing.crop.map(side),
            image_mean: preprocessing.mean.clone(),
            image_std: preprocessing.std.clone(),
            ..Self::default()
        }
    }

    /// What the file says; of films it says nothing.
    fn preprocessing(self, model: &ModelConfig) -> Result<Preprocessing, String> {
        let channels = model.channels;
        let interpolation = match self.resample {
            // The library's processors of clips have antialiasing as those of pictures.
            BILINEAR => Interpolation::Bilinear,
            BICUBIC => Interpolation::Bicubic,
            other => return Err(format!("resample is {other}, expected 2 (bilinear) or 3 (bicubic)")),
        };
        if !self.do_rescale || (self.rescale_factor - RESCALE).abs() > 1e-9 {
            return Err("values are not rescaled by 1/255".into());
        }
        let resize = match (self.do_resize, self.size) {
            (false, _) => Resize::None,
            (true, Size::Short { shortest_edge }) => Resize::ShortSide(shortest_edge),
            (true, Size::Exact { height, width }) => Resize::Squash(height, width),
            (true, Size::Square(side)) => Resize::Squash(side, side),
        };
        let crop = match (self.do_center_crop, self.crop_size) {
            (false, _) => None,
            (true, Some(Size::Square(side) | Size::Short { shortest_edge: side })) => Some(side),
            (true, Some(Size::Exact { height, width })) if height == width => Some(height),
            (true, _) => return Err("crop_size is no square".into()),
        };
        let (mean, std) = match self.do_normalize {
            true => (self.image_mean, self.image_std),
            false => (vec![0.0; channels], vec![1.0; channels]),
        };
        if mean.len() != channels || std.len() != channels || !std.iter().all(|std| *std > 0.0) {
            return Err(format!("mean {mean:?} and std {std:?} are not those of {channels} channels"));
        }
        Ok(Preprocessing { mean, std, resize, crop, interpolation, clips: Clips::published(model) })
    }
}

fn json<T: DeserializeOwned>(path: &PathBuf) -> Result<T> {
    let text = std::fs::read_to_string(path).at("read", path)?;
    serde_json::from_str(&text).map_err(|error| Error::data(path, error))
}
