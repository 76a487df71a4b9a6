//! Weights from every form, and what happens to those that do not fit or mean harm.

mod forms;
mod hostile;

use std::path::{Path, PathBuf};

use super::{HostTensor, Tensors};
use crate::config::{ModelConfig, Preset};

/// A file or folder of the reference fixtures.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference").join(name)
}

/// The architecture of the fixture `ijepa_p16`.
fn p16() -> ModelConfig {
    let base = Preset::find("ijepa-vit-tiny16").unwrap().config().model;
    ModelConfig { image_size: 64, patch_size: 16, dim: 24, depth: 3, heads: 3, mlp: 96, ..base }
}

/// A whole encoder of `model`, each value another.
fn encoder(model: &ModelConfig) -> Tensors {
    let shapes = super::architecture::layout(model).into_iter().enumerate();
    let tensor = |i: usize, shape: Vec<usize>| {
        let values = (0..shape.iter().product()).map(|j: usize| i as f32 + j as f32 / 1024.0).collect();
        HostTensor { shape, values }
    };
    shapes.map(|(i, (name, shape))| (name, tensor(i, shape))).collect()
}

/// An error's text with its remedy, without the folder of the test.
fn told(error: &crate::error::Error, folder: &Path) -> String {
    let text = format!("{error}\nhelp: {}", error.remedy().unwrap_or("none"));
    text.replace(&format!("{}/", folder.display()), "").replace(&folder.display().to_string(), "FOLDER")
}
