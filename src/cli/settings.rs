//! Configuration from preset, file, environment and `--set`.

use std::path::PathBuf;

use anyjepa::config::{RunConfig, Sources, resolve};
use anyjepa::error::Result;
use clap::{ArgGroup, Args};

/// Where a command's configuration comes from.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("recipe").required(true).multiple(true).args(["preset", "config"]))]
#[group(skip)]
pub struct ConfigArgs {
    /// A preset, such as ijepa-vit-h14; `anyjepa inspect` lists them
    pub preset: Option<String>,
    /// A TOML file over the preset, or one that names its own
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One key over everything else, such as optim.lr=1e-3
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// The resolved and checked configuration.
    pub fn resolve(&self) -> Result<RunConfig> {
        resolve(&Sources {
            preset: self.preset.as_deref(),
            file: self.config.as_deref(),
            // What is not UTF-8 cannot be one of our keys' values.
            environment: std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
            set: &self.set,
        })
    }
}
