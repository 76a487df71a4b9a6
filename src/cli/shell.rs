//! Completions and the manual page.

use anyjepa::error::{IoContext as _, Result};
use clap::Args;
use clap_complete::Shell;

/// `anyjepa completions SHELL`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub fn run(self, mut command: clap::Command) -> Result<()> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut command, "anyjepa", &mut text);
        super::output::print(&String::from_utf8_lossy(&text))
    }
}

/// `anyjepa man`
#[derive(Debug, Args)]
pub struct Man {}

impl Man {
    pub fn run(self, command: &clap::Command) -> Result<()> {
        let mut text = Vec::new();
        clap_mangen::Man::new(command.clone()).render(&mut text).at("write", "the manual page")?;
        super::output::print(&String::from_utf8_lossy(&text))
    }
}
