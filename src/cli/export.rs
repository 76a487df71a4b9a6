//! `anyjepa export WEIGHTS --out DIR`: an encoder in the layout of Hugging Face's transformers.

use std::path::PathBuf;

use anyjepa::error::Result;
use anyjepa::weights::{self, Provenance};
use clap::Args;
use serde::Serialize;

use super::output::{Shown, print, print_json};
use super::weights::open;
use super::{EncoderArg, OutputArgs};

/// `anyjepa export WEIGHTS --out DIR`
#[derive(Debug, Args)]
pub struct Command {
    /// A run, a checkpoint, or weights of any form
    weights: PathBuf,
    /// A new folder for config.json, model.safetensors and preprocessor_config.json
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Which of a checkpoint's encoders; without it the target encoder, or whichever a Hugging Face folder holds
    #[arg(long, value_enum)]
    encoder: Option<EncoderArg>,
    /// The preset whose weights these are, where they do not say it themselves
    #[arg(long, value_name = "PRESET")]
    model: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Exported {
    out: Shown,
    tensors: usize,
    provenance: Provenance,
}

impl Command {
    pub fn run(self) -> Result<()> {
        let which = self.encoder.map(Into::into);
        let loaded = open(&self.weights, which, self.model.as_deref())?;
        weights::export_hf(&self.out, &loaded)?;
        let exported = Exported { out: self.out.into(), tensors: loaded.tensors.len(), provenance: loaded.provenance };
        if self.output.json {
            return print_json(&exported);
        }
        print(&format!("{}: {}, {} tensors", exported.out.display(), exported.provenance.model, exported.tensors))
    }
}
