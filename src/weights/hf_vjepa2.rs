//! Hugging Face's folders of V-JEPA 2: `config.json`, and the predictor that stands beside the encoder.

use std::path::Path;

use serde::Deserialize;

use super::{HostTensor, Source, Tensors, Which, names};
use crate::config::{ModelConfig, Positions, PredictorConfig};
use crate::error::{Error, Result};

/// What `config.json` calls the model.
pub(super) const MODEL_TYPE: &str = "vjepa2";

/// `config.json` of a V-JEPA 2; what is left out has the library's default.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    crop_size: usize,
    patch_size: usize,
    frames_per_clip: usize,
    tubelet_size: usize,
    in_chans: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    mlp_ratio: f64,
    layer_norm_eps: f64,
    hidden_act: String,
    qkv_bias: bool,
    pred_hidden_size: usize,
    pred_num_hidden_layers: usize,
    pred_num_attention_heads: usize,
    pred_mlp_ratio: f64,
    pred_num_mask_tokens: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            crop_size: 256,
            patch_size: 16,
            frames_per_clip: 64,
            tubelet_size: 2,
            in_chans: 3,
            hidden_size: 1024,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            mlp_ratio: 4.0,
            layer_norm_eps: 1e-6,
            hidden_act: "gelu".into(),
            qkv_bias: true,
            pred_hidden_size: 384,
            pred_num_hidden_layers: 12,
            pred_num_attention_heads: 12,
            pred_mlp_ratio: 4.0,
            pred_num_mask_tokens: 10,
        }
    }
}

impl Config {
    /// The encoder and the predictor it describes.
    pub fn model(&self) -> Result<ModelConfig, String> {
        if self.hidden_act != "gelu" || !self.qkv_bias {
            let act = &self.hidden_act;
            return Err(format!("hidden_act is `{act}` and qkv_bias {}, expected `gelu` and true", self.qkv_bias));
        }
        // A ratio such as 48/11 is stored rounded.
        let hidden = |dim: usize, ratio: f64| {
            let exact = dim as f64 * ratio;
            if (exact - exact.round()).abs() < 1e-6 { exact.round() as usize } else { exact as usize }
        };
        let (dim, small) = (self.hidden_size, self.pred_hidden_size);
        let model = ModelConfig {
            image_size: self.crop_size,
            patch_size: self.patch_size,
            frames: self.frames_per_clip,
            tubelet: self.tubelet_size,
            channels: self.in_chans,
            dim,
            depth: self.num_hidden_layers,
            heads: self.num_attention_heads,
            mlp: hidden(dim, self.mlp_ratio),
            norm_eps: self.layer_norm_eps,
            positions: Positions::Rope,
            predictor: PredictorConfig {
                dim: small,
                depth: self.pred_num_hidden_layers,
                heads: self.pred_num_attention_heads,
                mlp: hidden(small, self.pred_mlp_ratio),
                mask_tokens: self.pred_num_mask_tokens,
            },
        };
        match model.problems() {
            problems if problems.is_empty() => Ok(model),
            problems => Err(format!("no such model can be made: {}", problems.join("; "))),
        }
    }
}

/// The predictor that the folder at `path` holds beside the encoder, by the published names.
///
/// # Errors
/// A data error where it holds none, or one with tensors that have no name here.
pub fn open_predictor(path: &Path) -> Result<Tensors> {
    let source = Source::at(path, Which::default())?;
    let stored: Vec<&String> = source.store.entries.keys().collect();
    let selection = names::hugging_face_predictor(&stored);
    if selection.sources.is_empty() || !selection.left_over.is_empty() {
        let left_over = selection.left_over.join(", ");
        let problem =
            if left_over.is_empty() { "it holds no predictor".into() } else { format!("unknown: {left_over}") };
        return Err(Error::data(path, problem).with_remedy("give the folder of a V-JEPA 2 model"));
    }
    let mut tensors = Tensors::new();
    for (name, stored) in &selection.sources {
        let tensor = source.read(stored).map_err(|error| Error::data(path, format!("{name}: {error}")))?;
        match name.as_str() {
            "mask_tokens" => tensors.extend(apart(name, &tensor)),
            _ => drop(tensors.insert(name.clone(), tensor)),
        }
    }
    Ok(tensors)
}

/// The tensors that are joined along their first axis in `tensor`, called `NAME.0`, `NAME.1`, ...
fn apart(name: &str, tensor: &HostTensor) -> Vec<(String, HostTensor)> {
    let shape: Vec<usize> = tensor.shape.iter().skip(1).copied().collect();
    let size = shape.iter().product::<usize>().max(1);
    let one = |(i, values): (usize, &[f32])| {
        (format!("{name}.{i}"), HostTensor { shape: shape.clone(), values: values.to_vec() })
    };
    tensor.values.chunks(size).enumerate().map(one).collect()
}
