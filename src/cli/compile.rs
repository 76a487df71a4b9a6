//! `anyjepa compile PRESET|WEIGHTS`: the encoder as a graph, as a plan, as shaders.

use std::collections::BTreeSet;
use std::path::Path;

use anyjepa::compile::{Dtype, ReadOut, Take, compile, graph_of, wgsl};
use anyjepa::config::{ModelConfig, Preset};
use anyjepa::error::Result;
use anyjepa::weights;
use clap::{Args, ValueEnum};

use super::OutputArgs;
use super::output::{print, print_json};

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
    /// What to print
    #[arg(long, value_enum, default_value_t)]
    print: PrintArg,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum DtypeArg {
    #[default]
    F32,
    F16,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum TokensArg {
    #[default]
    Pooled,
    Patch,
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
        let model = model(&self.encoder)?;
        let take = match self.tokens {
            TokensArg::Pooled => Take::Mean,
            TokensArg::Patch => Take::Tokens,
        };
        let dtype = match self.dtype {
            DtypeArg::F32 => Dtype::F32,
            DtypeArg::F16 => Dtype::F16,
        };
        let read_out = ReadOut { layers: usize::from(self.layers).min(model.depth), take };
        let batch = usize::from(self.batch);
        if let PrintArg::Graph = self.print {
            return print(&graph_of(&model, batch, read_out)?.to_string());
        }
        let plan = compile(&model, batch, read_out, dtype)?;
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
}

/// The architecture that `encoder` names: of weights where there are any at this path, else of a preset.
fn model(encoder: &str) -> Result<ModelConfig> {
    match Path::new(encoder) {
        path if path.exists() => Ok(weights::open(path, None)?.model),
        _ => Ok(Preset::find(encoder)?.config().model),
    }
}
