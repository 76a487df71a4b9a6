//! `anyjepa compile PRESET|WEIGHTS`: the encoder as a graph, as a plan, as shaders.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyjepa::compile::{Dtype, Plan, compile, graph_of, wgsl};
use anyjepa::config::{Layers, ModelConfig, Preset};
use anyjepa::error::{Error, Result};
use anyjepa::extract::package::{self, Contents};
use anyjepa::extract::{FeatureDtype, Provenance, ReadOut, Views};
use anyjepa::weights::{self, Loaded, Which};
use clap::{Args, ValueEnum};

use super::output::{print, print_json, say};
use super::{DtypeArg, EncoderArg, OutputArgs, TokensArg};

/// `anyjepa compile PRESET|WEIGHTS`
#[derive(Debug, Args)]
pub struct Command {
    /// A preset, or weights of any form
    #[arg(value_name = "PRESET|WEIGHTS")]
    encoder: String,
    /// Images of a batch
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: u16,
    /// How weights and most values are stored; sums are of 32 bits always
    #[arg(long, value_enum, default_value_t)]
    dtype: DtypeArg,
    /// The last so many blocks, joined
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    layers: u16,
    /// One vector a picture, the mean of its patches', or one a patch
    #[arg(long, value_enum, default_value_t)]
    tokens: TokensArg,
    /// Write a package into this new folder: all that `extract --package` needs
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Which of a checkpoint's encoders
    #[arg(long = "encoder", value_enum)]
    which: Option<EncoderArg>,
    /// What to print
    #[arg(long, value_enum, default_value_t)]
    print: PrintArg,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum PrintArg {
    /// The recognised operations and their shapes
    Graph,
    /// The dispatches and the memory between them
    #[default]
    Plan,
    /// Every shader that the plan needs, once
    Wgsl,
}

impl Command {
    pub fn run(self) -> Result<()> {
        let subject = subject(&self.encoder, self.which.map(Into::into))?;
        let model = subject.model();
        let read_out = self.read_out().compiled(model.depth);
        let batch = usize::from(self.batch);
        if let PrintArg::Graph = self.print {
            return print(&graph_of(model, batch, read_out)?.to_string());
        }
        let plan = compile(model, batch, read_out, self.dtype.into())?;
        if let Some(out) = &self.out {
            subject.package(out, &plan, self.which, self.read_out())?;
            say(&format!("{}: a package of {} weights", out.display(), plan.dtype));
        }
        if self.output.json {
            return print_json(&plan);
        }
        let PrintArg::Wgsl = self.print else { return print(&plan.to_string()) };
        let mut seen = BTreeSet::new();
        for dispatch in &plan.dispatches {
            let stored: Vec<Dtype> = dispatch.operands.iter().map(|&operand| plan.buffer(operand).dtype).collect();
            let shader = wgsl::shader(&dispatch.kernel, &stored, None)?;
            if seen.insert(shader.permutation.clone()) {
                print(&format!("// {}, first for {}\n{}", shader.permutation, dispatch.label, shader.source))?;
            }
        }
        Ok(())
    }

    fn read_out(&self) -> ReadOut {
        let layers = if self.layers == 1 { Layers::Last } else { Layers::LastOf(self.layers.into()) };
        ReadOut { layers, tokens: self.tokens.into(), views: Views::One }
    }
}

/// What is compiled: weights where there are any at the path, else a preset.
enum Subject {
    Weights(Box<Loaded>),
    Preset(Box<ModelConfig>),
}

fn subject(encoder: &str, which: Option<Which>) -> Result<Subject> {
    match Path::new(encoder) {
        path if path.exists() => Ok(Subject::Weights(Box::new(weights::open(path, which)?))),
        _ => Ok(Subject::Preset(Box::new(Preset::find(encoder)?.config().model))),
    }
}

impl Subject {
    fn model(&self) -> &ModelConfig {
        match self {
            Self::Weights(loaded) => &loaded.model,
            Self::Preset(model) => model,
        }
    }

    fn package(&self, out: &Path, plan: &Plan, which: Option<EncoderArg>, read_out: ReadOut) -> Result<()> {
        let Self::Weights(loaded) = self else {
            return Err(
                Error::usage("a preset has no weights to write").with_remedy("name weights, or leave out --out")
            );
        };
        let which = which.map(Into::into).unwrap_or_default();
        let provenance =
            Provenance { precision: plan.dtype, ..Provenance::of(loaded, which, read_out, FeatureDtype::F32)? };
        package::write(out, &Contents { loaded, plan, provenance: &provenance })
    }
}
