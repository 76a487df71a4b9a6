//! The batches of steps whose loss or gradient was not finite, written aside for whoever looks for the reason.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::batch::MicroBatch;
use super::tally::Numbers;
use crate::atomic;
use crate::checkpoint::State;
use crate::data::Dataset;
use crate::error::{Error, IoContext as _, Kind, Result};
use crate::masks::{IndexMask, Masks};
use crate::weights::{HostTensor, Metadata, Tensors, place};

/// The folder in a run's folder.
const FOLDER: &str = "nonfinite";

/// A step that was left out, and all that it was made of.
pub(super) struct Offence<'a> {
    /// Where the run stood before it.
    pub state: &'a State,
    /// What came out.
    pub numbers: Numbers,
    /// What went in.
    pub parts: &'a [MicroBatch],
    /// The masks of each part, one entry a pass.
    pub masks: &'a [Vec<Masks>],
}

#[derive(Serialize)]
struct Record {
    /// The number of the step that this would have been.
    step: usize,
    epoch: usize,
    seed: u64,
    loss: String,
    grad_norm_encoder: String,
    grad_norm_predictor: String,
    parts: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    samples: Vec<u64>,
    names: Vec<String>,
    /// By mask and sample, the tokens that are kept.
    context: Vec<Vec<Vec<u32>>>,
    targets: Vec<Vec<Vec<u32>>>,
}

impl Offence<'_> {
    /// Writes samples, masks and numbers as JSON.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(super) fn note(&self, run: &Path, data: &Dataset) -> Result<PathBuf> {
        let part = |(part, masks): (&MicroBatch, &Vec<Masks>)| Part {
            samples: part.samples.clone(),
            names: part.samples.iter().map(|sample| data.name(*sample as usize)).collect(),
            context: masks.iter().flat_map(|pass| &pass.context).map(rows).collect(),
            targets: masks.iter().flat_map(|pass| &pass.targets).map(rows).collect(),
        };
        let [encoder, predictor] = self.numbers.norms;
        let record = Record {
            step: self.state.step + 1,
            epoch: self.state.epoch,
            seed: self.state.seed,
            // JSON has no word for what is not finite.
            loss: self.numbers.loss.to_string(),
            grad_norm_encoder: encoder.to_string(),
            grad_norm_predictor: predictor.to_string(),
            parts: self.parts.iter().zip(self.masks).map(part).collect(),
        };
        let text = serde_json::to_vec_pretty(&record).map_err(|error| Error::new(Kind::Other, error.to_string()))?;
        let path = self.place(run, "json")?;
        atomic::write(&path, &text)?;
        Ok(path)
    }

    /// Writes the pixels as well, as the networks saw them: `part0` of `[B, C F, H, W]`, and so on.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(super) fn keep_pixels(&self, run: &Path) -> Result<PathBuf> {
        let pixels = self.parts.iter().enumerate().map(|(i, part)| {
            let tensor = HostTensor::new(part.shape.to_vec(), part.pixels.clone())?;
            Ok((format!("part{i}"), tensor))
        });
        let path = self.place(run, "safetensors")?;
        place(&path, &pixels.collect::<Result<Tensors>>()?, &Metadata::new())?;
        Ok(path)
    }

    fn place(&self, run: &Path, ending: &str) -> Result<PathBuf> {
        let folder = run.join(FOLDER);
        fs::create_dir_all(&folder).at("create", &folder)?;
        Ok(folder.join(format!("step-{:08}.{ending}", self.state.step + 1)))
    }
}

fn rows(mask: &IndexMask) -> Vec<Vec<u32>> {
    (0..mask.batch).map(|row| mask.row(row).to_vec()).collect()
}
