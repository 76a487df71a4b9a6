//! Completions and the manual pages.

use std::fs;
use std::path::PathBuf;

use anyjepa::error::{Error, IoContext as _, Result};
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
pub struct Man {
    /// Write one page a command into this folder, rather than print all of them
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    pub fn run(self, mut command: clap::Command) -> Result<()> {
        command.build();
        let mut pages = Vec::new();
        render(&command, &mut pages)?;
        let Some(out) = self.out else {
            let texts: Vec<_> = pages.into_iter().map(|(_, text)| text).collect();
            return super::output::print(&texts.join("\n"));
        };
        fs::create_dir_all(&out).at("create", &out)?;
        for (name, text) in &pages {
            let path = out.join(format!("{name}.1"));
            fs::write(&path, text).map_err(|error| Error::writing(&path, text.len() as u64, error))?;
        }
        super::output::say(&format!("{} pages in {}", pages.len(), out.display()));
        Ok(())
    }
}

/// Name and text of a command's page, and of those of the commands below it.
fn render(command: &clap::Command, pages: &mut Vec<(String, String)>) -> Result<()> {
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command.clone());
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    page.render(&mut text).at("write", "the manual page")?;
    pages.push((name, String::from_utf8_lossy(&text).into_owned()));
    command.get_subcommands().filter(|below| below.get_name() != "help").try_for_each(|below| render(below, pages))
}
