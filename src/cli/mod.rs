//! What the command line takes, and how a command ends.

mod arguments;
#[cfg(feature = "train")]
mod attentive;
#[cfg(feature = "train")]
mod bench;
#[cfg(feature = "train")]
mod compile;
#[cfg(feature = "train")]
mod demo;
mod devices;
#[cfg(feature = "train")]
mod export;
mod extract;
mod frozen;
mod inspect;
#[cfg(not(feature = "train"))]
mod lacking;
#[cfg(any(feature = "wgpu-unfused", feature = "cuda"))]
mod lost;
#[cfg(feature = "train")]
mod masks;
mod output;
#[cfg(feature = "train")]
mod parity;
#[cfg(feature = "train")]
mod plan;
#[cfg(feature = "train")]
mod probe;
mod progress;
#[cfg(feature = "train")]
mod ready;
mod sampling;
#[cfg(feature = "train")]
mod settings;
mod shell;
mod signals;
#[cfg(feature = "train")]
mod sources;
#[cfg(feature = "train")]
mod train;
#[cfg(feature = "train")]
mod training;
#[cfg(feature = "train")]
mod verify;
#[cfg(feature = "train")]
mod weights;

use std::process::ExitCode;

use anyjepa::error::{Error, Result};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use arguments::{DeviceArgs, DtypeArg, EncoderArg, FeatureDtypeArg, OutputArgs, TokensArg};
#[cfg(not(feature = "train"))]
use lacking::{bench, compile, demo, export, masks, parity, plan, probe, train, verify};

/// JEPA training and feature extraction on any GPU.
#[derive(Debug, Parser)]
#[command(name = "anyjepa", version, about, max_term_width = 100, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    verbosity: Verbosity,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 other failure, 2 usage or configuration, 3 finished but too many bad \
    inputs, 4 invalid or incompatible data, 5 diverged or collapsed, 6 device, 7 locked, 75 stopped by a time limit, \
    130 and 143 interrupted.";

/// Behind every option of a command's own; clap's `--help` is 999.
const LAST: usize = 900;

#[derive(Debug, Args)]
struct Verbosity {
    /// Print results and errors only
    #[arg(short, long, global = true, display_order = LAST, conflicts_with = "verbose")]
    quiet: bool,
    /// Say more on standard error; twice for everything
    #[arg(short, long, global = true, display_order = LAST, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch a vision transformer learn from real pictures, in minutes on a CPU
    Demo(demo::Command),
    /// Pre-train I-JEPA on pictures, or V-JEPA on films
    Train(train::Command),
    /// Compute the features of pictures or films with a frozen encoder
    Extract(extract::Command),
    /// Fit a linear, nearest-neighbour or attentive probe on frozen features
    Probe(probe::Command),
    /// Draw masks: pictures, a coverage map, and what the cut to a common size costs
    Masks(masks::Command),
    /// Show any checkpoint, run, weights file, feature file or preset
    Inspect(inspect::Command),
    /// Write an encoder as a folder that Hugging Face's transformers loads
    Export(export::Command),
    /// Print what a run will cost, and what cannot work
    Plan(plan::Command),
    /// Compile an encoder to a plan of GPU kernels, and print it or write it as a package
    Compile(compile::Command),
    /// Compare this build with golden values of the original PyTorch code
    Verify(verify::Command),
    /// Compare every way to run an encoder, layer by layer
    Parity(parity::Command),
    /// Measure how fast a device extracts and trains, beside its measured peak
    Bench(bench::Command),
    /// List the devices of this machine
    Devices(devices::Command),
    /// Print the completions of a shell
    Completions(shell::Completions),
    /// Print the manual pages, or write them
    Man(shell::Man),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let wanted = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // A closed pipe is no reason to fail: `anyjepa --help | head`.
            let _ = error.print();
            let ours = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Error>());
            if let Some(remedy) = ours.and_then(Error::remedy) {
                output::help(remedy);
            }
            return ExitCode::from(if wanted { 0 } else { 2 });
        }
    };
    if let Err(error) = output::init(cli.verbosity.quiet, cli.verbosity.verbose) {
        return output::fail(&error);
    }
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    #[cfg(any(feature = "wgpu-unfused", feature = "cuda"))]
    let ended = lost::watched(|| run(cli.command));
    #[cfg(not(any(feature = "wgpu-unfused", feature = "cuda")))]
    let ended = run(cli.command);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&error),
    }
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Demo(command) => command.run(),
        Command::Train(command) => command.run(),
        Command::Extract(command) => command.run(),
        Command::Probe(command) => command.run(),
        Command::Masks(command) => command.run(),
        Command::Inspect(command) => command.run(),
        Command::Export(command) => command.run(),
        Command::Plan(command) => command.run(),
        Command::Compile(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Parity(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Devices(command) => command.run(),
        Command::Completions(command) => command.run(Cli::command()),
        Command::Man(command) => command.run(Cli::command()),
    }
}
