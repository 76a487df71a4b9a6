//! `anyjepa compile PRESET|WEIGHTS`: the encoder as a graph, as a plan, as shaders.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use anyjepa::compile::schedule::schedule;
use anyjepa::compile::{Dtype, Plan, graph_of, wgsl};
use anyjepa::config::{Layers, ModelConfig, Preset};
use anyjepa::error::{Error, Result};
use anyjepa::extract::package::{self, Contents};
use anyjepa::extract::{FeatureDtype, Provenance, ReadOut, Tokens, Views};
use anyjepa::weights::Loaded;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::arguments::count;
use super::frozen::parse_layers;
use super::output::{print, print_json, say};
use super::weights::of_weights;
use super::{DtypeArg, EncoderArg, OutputArgs};

/// `anyjepa compile PRESET|WEIGHTS`
#[derive(Debug, Args)]
pub struct Command {
    /// A preset, or weights of any form
    #[arg(value_name = "PRESET|WEIGHTS")]
    encoder: String,
    /// The preset whose weights these are, where they do not say it themselves
    #[arg(long, value_name = "PRESET")]
    model: Option<String>,
    /// Images or clips of a batch
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count::<u16>(1..=1024))]
    batch: u16,
    /// How weights and most values are stored, with bf16 the weights alone; sums are of 32 bits always
    #[arg(long, value_enum, default_value_t)]
    dtype: DtypeArg,
    /// The last block, or the last N joined as -N.., each after the final norm
    #[arg(long, value_name = "last|-N..", default_value = "last", value_parser = parse_layers, allow_hyphen_values = true)]
    layers: Layers,
    /// One vector a picture, the mean of its patches', or one a patch
    #[arg(long, value_enum, default_value_t)]
    tokens: PlanTokensArg,
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

/// What a plan takes of the tokens of a picture or clip.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum PlanTokensArg {
    /// One vector, the mean of all
    #[default]
    Pooled,
    /// One vector a patch, or a tubelet of a clip
    Patch,
}

impl From<PlanTokensArg> for Tokens {
    fn from(tokens: PlanTokensArg) -> Self {
        match tokens {
            PlanTokensArg::Pooled => Self::Pooled,
            PlanTokensArg::Patch => Self::Patch,
        }
    }
}

/// The shaders of a plan, each once.
#[derive(Serialize)]
struct Shaders {
    shaders: Vec<Shader>,
}

#[derive(Serialize)]
struct Shader {
    permutation: String,
    /// The first dispatch that launches it.
    first_for: String,
    /// Threads of a workgroup.
    threads: u32,
    /// Memory of a workgroup.
    workgroup_bytes: u32,
    source: String,
}

impl Command {
    pub fn run(self) -> Result<()> {
        if let (DtypeArg::Bf16, PrintArg::Wgsl) = (self.dtype, self.print) {
            return Err(Error::usage("no shader knows values of bf16, which are for the CPU")
                .with_remedy("print shaders with --dtype f16 or f32"));
        }
        let subject = self.subject()?;
        let model = subject.model();
        let read_out = ReadOut { layers: self.layers, tokens: self.tokens.into(), views: Views::One };
        read_out.blocks(model.depth)?;
        let graph = graph_of(model, self.batch.into(), read_out.compiled(model.depth))?;
        // A graph may hold what no kernel computes yet.
        if let (PrintArg::Graph, None) = (self.print, &self.out) {
            return self.show(&graph);
        }
        let plan = schedule(&graph, self.dtype.into())?;
        if let Some(out) = &self.out {
            subject.package(out, &plan, self.which, read_out)?;
            say(&format!("{}: a package of {} weights", out.display(), plan.dtype));
        }
        match self.print {
            PrintArg::Graph => self.show(&graph),
            PrintArg::Plan => self.show(&plan),
            PrintArg::Wgsl => self.show(&Shaders::of(&plan)?),
        }
    }

    fn subject(&self) -> Result<Subject> {
        match of_weights(&self.encoder, self.which, self.model.as_deref())? {
            Some(loaded) => Ok(Subject::Weights(Box::new(loaded))),
            None => Ok(Subject::Preset(Box::new(Preset::find(&self.encoder)?.config().model))),
        }
    }

    fn show<T: fmt::Display + Serialize>(&self, result: &T) -> Result<()> {
        if self.output.json { print_json(result) } else { print(&result.to_string()) }
    }
}

impl Shaders {
    fn of(plan: &Plan) -> Result<Self> {
        let (mut seen, mut shaders) = (BTreeSet::new(), Vec::new());
        for dispatch in &plan.dispatches {
            let stored: Vec<Dtype> = dispatch.operands.iter().map(|&operand| plan.buffer(operand).dtype).collect();
            let wgsl::Shader { permutation, source, threads, workgroup_bytes, .. } =
                wgsl::shader(&dispatch.kernel, &stored, None)?;
            if seen.insert(permutation.clone()) {
                let first_for = dispatch.label.clone();
                shaders.push(Shader { permutation, first_for, threads, workgroup_bytes, source });
            }
        }
        Ok(Self { shaders })
    }
}

impl fmt::Display for Shaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shaders = self.shaders.iter();
        shaders.try_for_each(|shader| {
            writeln!(f, "// {}, first for {}\n{}", shader.permutation, shader.first_for, shader.source.trim_end())
        })
    }
}

/// What is compiled: weights where there are any at the path, else a preset.
enum Subject {
    Weights(Box<Loaded>),
    Preset(Box<ModelConfig>),
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
