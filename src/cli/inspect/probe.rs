//! What `anyjepa inspect` says of an attentive probe.

use std::path::Path;

use anyjepa::error::{Error, Result};
use anyjepa::eval::{FittedAttentive, ProbeCard};
use anyjepa::extract::Provenance;
use anyjepa::model::AttentiveShape;
use serde::Serialize;

use super::shortened;
use crate::cli::attentive::learnt_from;
use crate::cli::output::Shown;

/// A probe that `probe attentive --out` wrote. Every tensor of it is read, so that there is nothing more to verify.
#[derive(Serialize)]
pub struct ProbeLines {
    path: Shown,
    heads: usize,
    depth: usize,
    dim: usize,
    class_count: usize,
    classes: Vec<String>,
    lr: f64,
    weight_decay: f64,
    seed: u64,
    features: Provenance,
    verified: bool,
}

impl ProbeLines {
    /// Reads the probe at `path`; none where the file does not say that it is one.
    pub fn of(path: &Path) -> Result<Option<Self>> {
        if !FittedAttentive::stands_at(path) {
            return Ok(None);
        }
        let (FittedAttentive { shape, .. }, Some(card)) = FittedAttentive::load(path, None)? else { return Ok(None) };
        let features = learnt_from(&card).map_err(|problem| Error::data(path, problem))?;
        let AttentiveShape { dim, heads, depth, classes: class_count, .. } = shape;
        let ProbeCard { classes, lr, weight_decay, seed, .. } = card;
        Ok(Some(Self {
            path: path.to_path_buf().into(),
            heads,
            depth,
            dim,
            class_count,
            classes,
            lr,
            weight_decay,
            seed,
            features,
            verified: true,
        }))
    }

    pub fn to_text(&self) -> String {
        let Self { path, heads, depth, dim, class_count, lr, weight_decay, seed, features, .. } = self;
        let mut text = format!(
            "{}: an attentive probe of {depth} blocks of {heads} heads, for tokens of {dim} values",
            path.display()
        );
        text += &format!("\n{class_count} classes");
        if !self.classes.is_empty() {
            text += &format!(": {}", shortened(&self.classes));
        }
        text += &format!("\nlearnt with rate {lr}, weight decay {weight_decay}, seed {seed}");
        text += &format!("\nfrom features of the {} encoder: {}", features.encoder, features.model);
        text += &format!("\nBLAKE3 of the encoder: {}", features.weights_blake3);
        text + "\nverified: every tensor is there and finite"
    }
}
